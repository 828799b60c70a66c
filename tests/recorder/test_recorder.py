"""What counts as a step, what is recorded of it, and what is refused."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from recorder import Recorder, RecorderError, hooks
from recorder.errors import (
    DiskSpaceError,
    ParameterChangedError,
    SchemaError,
    SelectionError,
    StoreExistsError,
    StoreFormatError,
    StoreMissingError,
    UsageError,
)
from tests.recorder.runs import Scripted, Zoo, assert_frames_are_scripted, open_tree, read_array, weights_at


def train(model, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        sum(p.square().sum() for p in model.parameters() if p.requires_grad).backward()
        optimizer.step()


# -- steps --------------------------------------------------------------------------------------


def test_stride_records_every_nth_update_and_carries_logs_to_the_next_frame(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, stride=3) as recorder:
        for step in range(1, 11):
            optimizer.step()
            recorder.log(loss=step)
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.array([0, 3, 6, 9]))
    np.testing.assert_array_equal(read_array(tmp_path / "run.zarr", "loss"), [np.nan, 3, 6, 9])
    assert recorder.report.steps == 10
    assert recorder.report.frames == 4


def test_an_epoch_logged_between_two_frames_is_not_lost(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, stride=4) as recorder:
        for epoch in range(4):
            for _ in range(3):
                optimizer.step()
            recorder.log(epoch=epoch)
    np.testing.assert_array_equal(read_array(tmp_path / "run.zarr", "epoch"), [np.nan, 0, 1, 3])


def test_without_an_optimizer_the_user_says_when(tmp_path):
    model = nn.Linear(3, 2)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model) as recorder:
        recorder.start()
        for _ in range(5):
            optimizer.step()
            recorder.step()
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(6))
    assert "learning_rate" not in open_tree(tmp_path / "run.zarr")


def test_several_optimizers_make_one_frame_after_the_last(tmp_path):
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    model = nn.ModuleList([first, second])
    optimizers = [torch.optim.SGD(first.parameters(), lr=0.1), torch.optim.SGD(second.parameters(), lr=0.2)]
    with Recorder(tmp_path / "run.zarr", model, optimizers):
        for _ in range(4):
            loss = sum(p.square().sum() for p in model.parameters())
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
    rates = read_array(tmp_path / "run.zarr", "learning_rate")
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(rates[1:], np.tile([0.1, 0.2], (4, 1)))
    np.testing.assert_array_equal(
        read_array(tmp_path / "run.zarr", "parameters/1/weight")[..., -1], second.weight.detach()
    )


def test_gradient_accumulation_counts_updates_not_backward_passes(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        for batch in range(8):
            model(torch.ones(1, 2)).sum().backward()
            if batch % 4 == 3:
                optimizer.step()
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1, 2]


def test_a_closure_is_evaluated_often_and_recorded_once(tmp_path):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)
    calls = 0

    def closure():
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        loss = model(torch.ones(3, 2)).square().sum()
        loss.backward()
        return loss

    with Recorder(tmp_path / "run.zarr", model, optimizer):
        for _ in range(3):
            optimizer.step(closure)
    assert calls > 3
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("fused", [False, True], ids=["hook not called", "found_inf rides along"])
def test_updates_that_a_gradient_scaler_skips_are_not_steps(tmp_path, fused):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    truth = []
    with Recorder(tmp_path / "run.zarr", model, optimizer) as recorder:
        recorder.start()
        truth.append(model.weight.detach().clone())
        for batch in range(10):
            optimizer.zero_grad()
            scale = float("inf") if batch in (3, 4, 9) else 1.0
            scaler.scale(model(torch.ones(1, 2)).sum() * scale).backward()
            scaler.step(optimizer)
            scaler.update()
            if scale == 1.0:
                truth.append(model.weight.detach().clone())
                recorder.log(batch=batch)
    stored = read_array(tmp_path / "run.zarr", "parameters/weight")
    assert read_array(tmp_path / "run.zarr", "step").tolist() == list(range(8))
    assert stored.tobytes() == torch.stack(truth, -1).numpy().tobytes()
    assert read_array(tmp_path / "run.zarr", "batch")[1:].tolist() == [0, 1, 2, 5, 6, 7, 8]
    assert open_tree(tmp_path / "run.zarr").attrs["skipped_updates"] == (3 if fused else 0)


@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"fused": True}], ids=str)
@pytest.mark.parametrize("kind", ["Adam", "SGD"])
def test_every_implementation_of_an_optimizer_is_followed(tmp_path, kind, options):
    model = nn.Linear(4, 3)
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.01, **options)
    truth = [model.weight.detach().clone()]
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        for _ in range(6):
            train(model, optimizer, 1)
            truth.append(model.weight.detach().clone())
    assert read_array(tmp_path / "run.zarr", "parameters/weight").tobytes() == torch.stack(truth, -1).numpy().tobytes()


def test_lazy_layers_are_described_at_the_first_step(tmp_path):
    model = nn.Sequential(nn.LazyLinear(3), nn.LazyLinear(2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        for _ in range(2):
            model(torch.ones(1, 4)).sum().backward()
            optimizer.step()
    assert read_array(tmp_path / "run.zarr", "parameters/0/weight").shape == (3, 4, 3)


def test_start_before_a_lazy_layer_saw_a_batch_is_refused_by_name(tmp_path):
    recorder = Recorder(tmp_path / "run.zarr", nn.Sequential(nn.LazyLinear(3)))
    with pytest.raises(SchemaError, match=r"parameter 0\.weight: expected a shape.*Run the model once"):
        recorder.start()
    assert not (tmp_path / "run.zarr").exists()


def test_tied_weights_are_recorded_once_and_frozen_ones_too(tmp_path):
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    model["b"].bias.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        train(model, optimizer, 3)
    tree = open_tree(tmp_path / "run.zarr")
    assert tree["parameters/a/weight"].attrs["aliases"] == ["b.weight"]
    assert "weight" not in tree["parameters/b"]
    assert tree["parameters/b/bias"].attrs["requires_grad"] is False


def test_weights_that_move_in_memory_are_followed(tmp_path):
    """EMA swaps, `load_state_dict(assign=True)`, `.data =`: the place changes, shape and type do not."""
    model = nn.Linear(3, 2)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        for step in range(12):
            if step % 4 == 1:
                model.weight.data = model.weight.data.clone()
            if step % 4 == 2:
                model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
                optimizer.param_groups[0]["params"] = list(model.parameters())
            if step % 4 == 3:
                model.weight.data = model.weight.data.t().contiguous().t()  # not contiguous any more
            optimizer.step()
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(13))


def test_an_average_swapped_in_for_evaluation_leaves_no_trace(tmp_path):
    model = nn.Linear(3, 2)
    optimizer = Scripted(model.parameters())
    average = torch.full((2, 3), 7.0)
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        for _ in range(6):
            optimizer.step()
            own, model.weight.data = model.weight.data, average
            model(torch.ones(1, 3))
            model.weight.data = own
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(7))


def test_a_copied_optimizer_does_not_record(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        train(model, optimizer, 2)
        copy.deepcopy(optimizer).step()
        train(model, optimizer, 1)
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1, 2, 3]


def test_a_compiled_training_step_has_no_graph_break_from_the_hook(tmp_path):
    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def forward(batch):
        return model(batch).square().sum()

    explained = torch._dynamo.explain(forward)(torch.ones(2, 4))
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        compiled = torch.compile(forward, backend="eager", fullgraph=True)
        truth = [model.weight.detach().clone()]
        for _ in range(4):
            optimizer.zero_grad()
            compiled(torch.ones(2, 4)).backward()
            optimizer.step()
            truth.append(model.weight.detach().clone())
        assert torch._dynamo.explain(forward)(torch.ones(2, 4)).graph_break_count == explained.graph_break_count == 0
    assert read_array(tmp_path / "run.zarr", "parameters/weight").tobytes() == torch.stack(truth, -1).numpy().tobytes()


def test_a_compiled_optimizer_step_is_recorded_outside_of_the_compiled_code(tmp_path):
    """Dynamo runs the hooks of `optimizer.step` as they are: one frame a step, over several segments."""
    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    truth = [model.weight.detach().clone()]
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16) as recorder:
        step = torch.compile(optimizer.step, backend="eager")
        for number in range(20):
            optimizer.zero_grad()
            model(torch.ones(2, 4)).square().sum().backward()
            step()
            recorder.log(number=number)
            truth.append(model.weight.detach().clone())
    assert read_array(tmp_path / "run.zarr", "parameters/weight").tobytes() == torch.stack(truth, -1).numpy().tobytes()
    np.testing.assert_array_equal(read_array(tmp_path / "run.zarr", "number"), [np.nan, *range(20)])


@pytest.mark.parametrize("listed", [True, False], ids=["by the list of what it skips", "by turning it off"])
@pytest.mark.parametrize("limit", [1, 8], ids=["frames given up", "frames compiled"])
def test_dynamo_traces_nothing_of_the_recorder(tmp_path, monkeypatch, listed, limit):
    """Also where it gives a frame up after too many recompilations, and runs what is in it as it is."""
    traced = pytest.importorskip("torch._dynamo.eval_frame")._debug_get_cache_entry_list
    rules = torch._dynamo.trace_rules
    torch._dynamo.reset()
    hooks.untraced.cache_clear()
    monkeypatch.setattr(rules, "SKIP_DIRS", [each for each in rules.SKIP_DIRS if "/recorder/" not in each])
    rules._recompile_re()
    if not listed:
        monkeypatch.delattr(rules, "add")
    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    truth = [model.weight.detach().clone()]

    @torch.compile(backend="eager")
    def update(batch):
        optimizer.zero_grad()
        model(batch).square().sum().backward()
        optimizer.step()

    with (
        torch._dynamo.config.patch(recompile_limit=limit),
        Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16) as recorder,
    ):
        for number in range(20):
            update(torch.ones(2 + number % 4, 4))
            truth.append(model.weight.detach().clone())
        feed = recorder._feed
        for called in (Recorder._before_update, Recorder._after_update, Recorder._push, feed.push, feed._spool.reserve):
            assert not traced(called.__code__), called
    hooks.untraced.cache_clear()
    assert read_array(tmp_path / "run.zarr", "parameters/weight").tobytes() == torch.stack(truth, -1).numpy().tobytes()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # Dynamo's own, of a loss after its backward
@pytest.mark.parametrize("compare_every", [None, 5])
def test_what_a_compiled_function_calls_of_the_recorder_is_not_compiled(tmp_path, compare_every):
    """`log` and `step` in the middle of a compiled training step, over several segments: the values are right."""
    torch._dynamo.reset()
    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    truth = [model.weight.detach().clone()]
    with Recorder(tmp_path / "run.zarr", model, chunk_steps=16, compare_every=compare_every) as recorder:

        @torch.compile(backend="eager")
        def update(batch):
            optimizer.zero_grad()
            loss = model(batch).square().sum()
            loss.backward()
            optimizer.step()
            recorder.step()
            recorder.log(loss=loss.detach())
            return loss.detach()

        losses = []
        recorder.start()
        for number in range(40):
            losses.append(update(torch.ones(2 + number % 4, 4)))
            truth.append(model.weight.detach().clone())
    steps = read_array(tmp_path / "run.zarr", "step")
    assert len(steps) == 41 if compare_every is None else 41 > len(steps) > 15
    found = read_array(tmp_path / "run.zarr", "parameters/weight")
    assert found.tobytes() == torch.stack(truth, -1).numpy()[..., steps].tobytes()
    np.testing.assert_array_equal(
        read_array(tmp_path / "run.zarr", "loss")[1:], torch.stack(losses).numpy()[steps[1:] - 1]
    )


def test_a_square_parameter_that_is_transposed_is_recorded_in_its_own_order(tmp_path):
    """Strided memory has no bytes in the frame's order: it is copied anew at each step, also where it moves."""
    model = nn.Linear(3, 3, bias=False)
    model.weight.data = torch.arange(9.0).reshape(3, 3).t()
    truth = []
    with Recorder(tmp_path / "run.zarr", model) as recorder:
        recorder.start()
        truth.append(model.weight.detach().clone())
        for number in range(5):
            if number == 3:
                model.weight.data = (model.weight.detach() + 1).clone().t()
            model.weight.data.add_(1)
            recorder.step()
            truth.append(model.weight.detach().clone())
    found = read_array(tmp_path / "run.zarr", "parameters/weight")
    np.testing.assert_array_equal(found, torch.stack(truth, -1).numpy())


def test_a_square_parameter_transposed_where_it_lies_is_recorded_in_its_own_order(tmp_path):
    model = nn.Linear(3, 3, bias=False)
    truth = []
    with Recorder(tmp_path / "run.zarr", model) as recorder:
        recorder.start()
        truth.append(model.weight.detach().clone())
        for _ in range(4):
            model.weight.data = model.weight.data.t()
            recorder.step()
            truth.append(model.weight.detach().clone())
    np.testing.assert_array_equal(read_array(tmp_path / "run.zarr", "parameters/weight"), torch.stack(truth, -1))


class Wrapper(torch.Tensor):
    """Holds its elements in another tensor, as FSDP2's parameters do: its own storage lies at address 0."""

    @staticmethod
    def __new__(cls, local):
        made = torch.Tensor._make_wrapper_subclass(cls, local.shape, dtype=local.dtype)
        made.local = local
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        inner = [each.local if isinstance(each, cls) else each for each in arguments]
        result = function(*inner, **(options or {}))
        return cls(result) if isinstance(result, torch.Tensor) else result


class Copied(nn.Parameter):
    """A parameter of which `detach` gives a copy."""

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        result = super().__torch_function__(function, types, arguments, options or {})
        return result.clone() if function is torch.Tensor.detach else result


@pytest.mark.parametrize(
    "weight",
    [
        nn.Parameter(torch.randn(1, 4)[:, 0]),
        nn.Parameter(torch.randn(1, 4).t()[:1]),
        nn.Parameter(torch.arange(10.0)[::5][:0]),
        nn.Parameter(torch._neg_view(torch.randn(3))),
        nn.Parameter(torch.randn(3, 2).t()),
        nn.Parameter(torch.randn(2).expand(3, 2)),
        nn.Parameter(torch.randn(8)[2:5]),
        Copied(torch.randn(3)),
    ],
    ids=["one of a column", "one of a row", "none", "negative", "transposed", "expanded", "part", "copied"],
)
def test_a_parameter_is_recorded_however_it_lies(tmp_path, weight):
    model = nn.Module()
    model.weight = weight
    truth = [weight.detach().clone()]
    with Recorder(tmp_path / "run.zarr", model) as recorder:
        recorder.start()
        for _ in range(2):
            model.weight.data = model.weight.data * 2
            recorder.step()
            truth.append(model.weight.detach().clone())
    np.testing.assert_array_equal(read_array(tmp_path / "run.zarr", "parameters/weight"), torch.stack(truth, -1))


def test_recorded_memory_can_still_be_resized(tmp_path):
    """torch never again resizes what `Tensor.numpy` has shown: the user's parameters would be changed by a look."""
    model = nn.Linear(2, 2)
    with Recorder(tmp_path / "run.zarr", model) as recorder:
        recorder.start()
        model.weight.untyped_storage().resize_(0)
        with pytest.raises(RecorderError, match=r"parameter weight: expected 16 bytes of memory of its own, got none"):
            recorder.step()
        model.weight.untyped_storage().resize_(16)
        model.weight.data.fill_(3.0)
        recorder.step()
    model.weight.data.resize_(100)
    assert (read_array(tmp_path / "run.zarr", "parameters/weight")[..., -1] == 3).all()


def test_a_parameter_without_memory_is_refused_before_anything_is_made(tmp_path):
    model = nn.Linear(3, 1)
    model.weight.untyped_storage().resize_(0)
    with pytest.raises(RecorderError, match="parameter weight: expected 12 bytes of memory"):
        Recorder(tmp_path / "run.zarr", model).start()
    with pytest.raises(RecorderError, match="parameter weight: expected .* on meta"):
        Recorder(tmp_path / "run.zarr", nn.Linear(3, 1, device="meta")).start()
    sharded = nn.Linear(3, 1)
    sharded.weight = nn.Parameter(Wrapper(sharded.weight.detach()))
    with pytest.raises(RecorderError, match=r"parameter weight: expected 12 bytes .* got none \(Wrapper"):
        Recorder(tmp_path / "run.zarr", sharded).start()
    assert not (tmp_path / "run.zarr").exists()


def test_a_module_that_was_wrapped_ends_the_recording_and_leaves_the_model_alone(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(tmp_path / "run.zarr", model, optimizer, on_error="warn", chunk_steps=16):
        train(model, optimizer, 2)
        model[0] = nn.Sequential(model[0])
        train(model, optimizer, 8)
    assert [name for name, _ in model.named_parameters()] == ["0.0.weight", "0.0.bias"]
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1, 2, 3]


def test_a_parameter_group_that_is_added_does_not_reach_into_the_logged_scalars(tmp_path, capfd):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD([model.weight], lr=0.1)
    with Recorder(tmp_path / "run.zarr", model, optimizer) as recorder:
        train(model, optimizer, 1)
        recorder.log(loss=1.0)
        optimizer.add_param_group({"params": [model.bias], "lr": 0.77})
        train(model, optimizer, 3)
        recorder.log(loss=2.0)
    np.testing.assert_array_equal(read_array(tmp_path / "run.zarr", "loss"), [np.nan, 1, np.nan, np.nan, 2])
    np.testing.assert_array_equal(read_array(tmp_path / "run.zarr", "learning_rate")[1:], np.full((4, 1), 0.1))
    assert capfd.readouterr().err.count("the optimizer has 2 parameter groups, 1 when recording began") == 1


# -- selection ----------------------------------------------------------------------------------


def test_include_and_exclude_are_globs_over_dotted_names(tmp_path):
    with Recorder(tmp_path / "run.zarr", Zoo(), include=["lin.*", "conv.*"], exclude="*.bias") as recorder:
        recorder.start()
    names = {
        a.attrs["name"]
        for node in open_tree(tmp_path / "run.zarr")["parameters"].subtree
        for a in node.data_vars.values()
    }
    assert names == {"lin.weight", "conv.weight"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"include": "nothing*"},
            r"pattern 'nothing\*': expected it to match a parameter, it matches none of scale, empty, lin\.weight",
        ),
        ({"include": "lin.*", "exclude": "lin*"}, "is left"),
    ],
)
def test_a_selection_of_nothing_lists_what_there_is(tmp_path, options, message):
    with pytest.raises(SelectionError, match=message):
        Recorder(tmp_path / "run.zarr", Zoo(), **options).start()


def test_types_without_a_lossless_form_are_refused(tmp_path):
    model = nn.Module()
    model.wave = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(SchemaError, match="parameter wave: expected a real type.*complex64"):
        Recorder(tmp_path / "run.zarr", model).start()


# -- stores -------------------------------------------------------------------------------------


def test_an_existing_store_is_protected_by_default(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        optimizer.step()
    with pytest.raises(StoreExistsError, match="resume it") as caught:
        Recorder(tmp_path / "run.zarr", model, optimizer)
    assert isinstance(caught.value, FileExistsError)
    assert isinstance(caught.value, RecorderError)
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(2))


def test_mode_w_replaces_a_store_but_never_another_folder(tmp_path):
    model = nn.Linear(2, 2)
    for steps in (5, 2):
        optimizer = Scripted(model.parameters())
        with Recorder(tmp_path / "run.zarr", model, optimizer, mode="w"):
            for _ in range(steps):
                optimizer.step()
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(3))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("years of work")
    with pytest.raises(StoreFormatError, match="expected a trajectory store"):
        Recorder(tmp_path / "thesis", model, mode="w")
    assert (tmp_path / "thesis/chapter.tex").exists()


def test_resuming_from_the_last_frame_continues_the_trajectory(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    for _ in range(3):
        with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16, mode="a" if optimizer.updates else "w-"):
            for _ in range(10):
                optimizer.step()
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(31))
    segments = open_tree(tmp_path / "run.zarr").attrs["segments"]
    assert [(s["first_frame"], s["first_step"], s["continuous"]) for s in segments] == [
        (0, 0, False),
        (11, 11, True),
        (21, 21, True),
    ]


def test_resuming_from_an_older_checkpoint_numbers_on_and_marks_the_break(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16):
        for _ in range(20):
            optimizer.step()
    optimizer.updates = 12
    optimizer.write()
    with Recorder(tmp_path / "run.zarr", model, optimizer, mode="a", user_step=12):
        for _ in range(5):
            optimizer.step()
    assert read_array(tmp_path / "run.zarr", "step").tolist() == list(range(27))
    second = open_tree(tmp_path / "run.zarr").attrs["segments"][1]
    assert (second["first_frame"], second["first_step"], second["user_step"], second["continuous"]) == (
        21,
        21,
        12,
        False,
    )
    weights = read_array(tmp_path / "run.zarr", "parameters/weight")
    for frame, step in enumerate([12, 13, 14, 15, 16, 17], start=21):
        assert weights[..., frame].tobytes() == weights_at(step, 0, (2, 2)).numpy().tobytes()


def test_resuming_another_model_names_the_parameter(tmp_path):
    model = nn.Linear(2, 2)
    with Recorder(tmp_path / "run.zarr", model) as recorder:
        recorder.start()
    for other, message in (
        (nn.Linear(2, 3), r"parameter weight: the store holds shape \[2, 2\], float32, the model has \[3, 2\]"),
        (
            nn.Linear(2, 2).double(),
            r"parameter weight: the store holds shape \[2, 2\], float32, the model has .*float64",
        ),
        (nn.Linear(2, 2, bias=False), "parameter bias: the store holds it, the model to record has none"),
        (nn.ModuleDict({"x": nn.Linear(2, 2)}), r"parameter x\.weight: expected it in"),
    ):
        with pytest.raises(SchemaError, match=message):
            Recorder(tmp_path / "run.zarr", other, mode="a").start()
    with pytest.raises(SchemaError, match="stride: the store has 1, this recording 2"):
        Recorder(tmp_path / "run.zarr", model, mode="a", stride=2).start()
    assert open_tree(tmp_path / "run.zarr").attrs["status"] == "complete"


def test_resuming_needs_a_store_of_ours(tmp_path):
    with pytest.raises(StoreMissingError, match="expected a store to resume, there is none"):
        Recorder(tmp_path / "run.zarr", nn.Linear(2, 2), mode="a")
    (tmp_path / "run.zarr").mkdir()
    (tmp_path / "run.zarr/zarr.json").write_text(
        json.dumps({"attributes": {"format": "parameter-trajectory", "format_version": 2}})
    )
    with pytest.raises(StoreFormatError, match="expected format version 1, got 2"):
        Recorder(tmp_path / "run.zarr", nn.Linear(2, 2), mode="a")
    (tmp_path / "run.zarr/zarr.json").write_text("{")
    with pytest.raises(StoreFormatError, match="cannot be read"):
        Recorder(tmp_path / "run.zarr", nn.Linear(2, 2), mode="a")


def test_two_recorders_on_one_store_are_refused(tmp_path):
    model = nn.Linear(2, 2)
    with Recorder(tmp_path / "run.zarr", model) as recorder:
        recorder.start()
        with pytest.raises(RecorderError, match="another recorder is writing it"):
            Recorder(tmp_path / "run.zarr", model, mode="a").start()
        recorder.step()
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1]


# -- faults of the training ---------------------------------------------------------------------


@pytest.mark.parametrize("how", ["slice", "new data", "new parameter", "deleted", "replaced module", "double"])
def test_a_parameter_that_changes_ends_the_recording_by_name_and_keeps_what_was(tmp_path, how):
    model = nn.Sequential(nn.Linear(3, 2))
    optimizer = Scripted(model.parameters())
    rounds = 0
    with (
        pytest.raises(ParameterChangedError, match=r"parameter 0\.(weight|bias): expected"),
        Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16),
    ):
        for _ in range(5):
            optimizer.step()
        if how == "slice":
            model[0].weight.data = model[0].weight.data[:1]
        elif how == "new data":
            model[0].weight.data = torch.zeros(7)
        elif how == "new parameter":
            model[0].weight = nn.Parameter(torch.zeros(4, 4))
        elif how == "deleted":
            del model[0].weight
        elif how == "replaced module":
            model[0] = nn.Linear(3, 2)
        else:
            model.double()
        for rounds in range(1, 10):
            optimizer.step()
    assert rounds == 1 or how == "replaced module"  # a replaced module is noticed once a segment
    assert open_tree(tmp_path / "run.zarr").attrs["status"] == "interrupted"
    assert len(read_array(tmp_path / "run.zarr", "step")) == 5 + rounds


def test_step_before_start_is_said_once(tmp_path, capfd):
    model = nn.Linear(2, 2)
    with Recorder(tmp_path / "run.zarr", model) as recorder:
        recorder.step()
        recorder.step()
    assert capfd.readouterr().err.count("step() came before start()") == 1
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1, 2]


def test_not_a_number_is_recorded_as_it_is(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        train(model, optimizer, 2)
        model.weight.data[0, 0] = torch.nan
        train(model, optimizer, 1)
    weights = read_array(tmp_path / "run.zarr", "parameters/weight")
    assert np.isnan(weights[0, 0]).tolist() == [False, False, False, True]
    assert np.isfinite(weights[1]).all()


def test_an_exception_in_training_keeps_all_frames(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with pytest.raises(ZeroDivisionError), Recorder(tmp_path / "run.zarr", model, optimizer):
        for _ in range(7):
            optimizer.step()
        1 / 0
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(8))
    assert open_tree(tmp_path / "run.zarr").attrs["status"] == "interrupted"


def test_on_error_warn_lets_the_training_go_on(tmp_path, capfd):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, on_error="warn") as recorder:
        optimizer.step()
        model.weight = nn.Parameter(torch.zeros(5, 5))
        for _ in range(3):
            optimizer.step()
            recorder.log(loss=1.0)
    assert capfd.readouterr().err.count("recording stops, training goes on: parameter weight") == 1
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1]


# -- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "x"}, "mode: expected one of 'w-', 'w', 'a', got 'x'"),
        ({"compression": "zip"}, "compression: expected one of"),
        ({"on_pressure": "panic"}, "on_pressure: expected one of"),
        ({"on_error": "panic"}, "on_error: expected one of"),
        ({"stride": 0}, "stride: expected a positive number of steps, got 0"),
        ({"expected_steps": -1}, "expected_steps: expected a positive number"),
        ({"compare_every": 0}, "compare_every: expected a positive number"),
        ({"spool_limit": "many"}, "size 'many': expected a number of bytes"),
        ({"optimizer": "adam"}, "optimizer: expected a torch.optim.Optimizer, got str"),
    ],
)
def test_wrong_arguments_say_what_is_expected(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        Recorder(tmp_path / "run.zarr", nn.Linear(1, 1), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk_steps": 100}, "chunk_steps: expected a power of two of at least 16, got 100"),
        ({"chunk_steps": 8}, "chunk_steps: expected a power of two of at least 16, got 8"),
        ({"chunk_steps": 1024, "spool_limit": "1MiB"}, "chunk_steps=1024: expected three chunks of frames within"),
        ({"spool_limit": 100}, "spool: expected room for three chunks of 16 frames"),
    ],
)
def test_sizes_that_do_not_fit_name_both_numbers(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        Recorder(tmp_path / "run.zarr", nn.Linear(1, 1), **options).start()


def test_a_run_that_will_not_fit_is_refused_before_its_first_step(tmp_path, capfd):
    model = nn.Linear(1000, 1000)
    with pytest.raises(DiskSpaceError, match=r"Record every \d+th step"):
        Recorder(tmp_path / "run.zarr", model, expected_steps=10**10).start()
    assert not (tmp_path / "run.zarr").exists()
    with Recorder(tmp_path / "run.zarr", model, expected_steps=3) as recorder:
        recorder.start()
    told = capfd.readouterr().err
    assert "3 frames of 3.8 MiB" in told
    assert re.search(r"compression keeps up with about \d+ frames a second", told)


@pytest.mark.parametrize("name", ["step", "parameters", "learning_rate", "a/b", ".hidden", "__x", ""])
def test_scalar_names_that_the_store_cannot_hold(tmp_path, name):
    with Recorder(tmp_path / "run.zarr", nn.Linear(1, 1)) as recorder:
        recorder.start()
        with pytest.raises(UsageError, match="expected a plain name"):
            recorder.log(**{name: 1.0})


def test_scalars_must_be_scalars(tmp_path):
    with Recorder(tmp_path / "run.zarr", nn.Linear(1, 1)) as recorder:
        recorder.start()
        for value in ("text", torch.zeros(3), None):
            with pytest.raises(UsageError, match="expected a number or a one-element tensor"):
                recorder.log(loss=value)
        recorder.log(loss=np.float32(2.0), flag=True, tensor=torch.tensor([3.0], requires_grad=True))
    assert read_array(tmp_path / "run.zarr", "loss").tolist() == [2.0]


def test_more_names_than_slots_is_an_error_not_an_overwrite(tmp_path):
    with Recorder(tmp_path / "run.zarr", nn.Linear(1, 1)) as recorder:
        recorder.start()
        with pytest.raises(UsageError, match="expected at most 64 names"):
            recorder.log(**{f"value_{i}": i for i in range(70)})
    assert read_array(tmp_path / "run.zarr", "value_63").tolist() == [63.0]


def test_hyperparameters_of_any_kind_become_json(tmp_path):
    given = {
        "lr": np.float32(0.5),
        "beta": float("inf"),
        "dtype": torch.float32,
        "nested": {"seeds": (1, 2)},
        "t": torch.tensor(3),
    }
    with Recorder(tmp_path / "run.zarr", nn.Linear(1, 1), hyperparameters=given) as recorder:
        recorder.start()
    held = json.loads((tmp_path / "run.zarr/zarr.json").read_text())["attributes"]["hyperparameters"]
    assert held == {"lr": 0.5, "beta": "inf", "dtype": "torch.float32", "nested": {"seeds": [1, 2]}, "t": 3}


def test_closing_twice_and_stepping_after(tmp_path):
    recorder = Recorder(tmp_path / "run.zarr", nn.Linear(1, 1))
    recorder.start()
    recorder.close()
    recorder.close()
    with pytest.raises(UsageError, match="it is closed"):
        recorder.step()


def test_nothing_is_left_behind(tmp_path):
    def spools():
        digest = hashlib.sha256(os.fsencode(tmp_path / "run.zarr")).hexdigest()[:8]
        return [name for name in os.listdir("/dev/shm") if digest in name]

    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        optimizer.step()
        assert len(spools()) == 1
    assert spools() == []
    assert os.listdir(tmp_path) == ["run.zarr"]
    assert not [path for path in (tmp_path / "run.zarr").rglob("*") if path.name.endswith(".tmp")]


def test_the_report_adds_up(tmp_path, capfd):
    model = nn.Linear(10, 10)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer) as recorder:
        for _ in range(20):
            optimizer.step()
    report = recorder.report
    assert (report.steps, report.frames, report.dropped, report.skipped) == (20, 21, 0, 0)
    assert report.raw_bytes == 21 * 110 * 4
    stored = sum(p.stat().st_size for p in (tmp_path / "run.zarr").rglob("c/**/*") if p.is_file())
    assert report.stored_bytes == stored
    assert 0 < report.seconds < 10
    assert str(report) in capfd.readouterr().err


def test_the_recorder_measures_its_own_cost(tmp_path, monkeypatch):
    """A clock that advances 1.5 a recorded step and 1.0 another one: the slowdown is 1.5, and frames alternate."""
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    clock = 0.0
    monkeypatch.setattr("recorder.overhead.time.perf_counter", lambda: clock)
    with Recorder(tmp_path / "run.zarr", model, optimizer, compare_every=5) as recorder:
        for step in range(60):
            optimizer.step()
            clock += 1.5 if step // 5 % 2 == 0 else 1.0
    overhead = recorder.report.overhead
    assert (overhead.slowdown, overhead.low, overhead.high) == (1.5, 1.5, 1.5)
    assert overhead.pairs == 8
    recorded = [step for step in range(1, 61) if (step - 1) // 5 % 2 == 0]
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.array([0, *recorded]))
    assert "1.5000× the time without" in str(recorder.report)


def test_the_spool_beside_the_store_works_like_that_in_memory(tmp_path):
    model = Zoo()
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16, spool=tmp_path / "spool"):
        optimizer.step()
        assert len(list((tmp_path / "spool").iterdir())) == 1
        for _ in range(100):
            optimizer.step()
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(102))
    assert list((tmp_path / "spool").iterdir()) == []


def test_the_training_process_loads_no_codec_and_the_writer_no_torch(tmp_path):
    code = (
        "import sys, recorder; recorder.Recorder; print([m for m in ('zarr', 'numcodecs', 'dask') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
    code = "import sys, recorder.writer; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )
