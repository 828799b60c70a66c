"""The recorder's hooks on optimizers: on copies of them, and in steps that torch compiles."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from recorder import Recorder
from recorder.trainer.updates import hooks
from tests.recorder.runs import read_array, train


def test_a_copied_optimizer_does_not_record(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        train(model, optimizer, 2)
        copy.deepcopy(optimizer).step()
        train(model, optimizer, 1)
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1, 2, 3]


def test_a_recording_that_ends_inside_a_hook_leaves_the_other_hooks_alone(tmp_path):
    """torch walks through the hooks meanwhile: if one of them removed itself, the next would end the training."""
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(tmp_path / "run.zarr", model, optimizer, on_error="warn"):
        optimizer.register_step_pre_hook(lambda *_: None)
        optimizer.register_step_post_hook(lambda *_: None)
        train(model, optimizer, 1)
        model.bias = nn.Parameter(torch.zeros(3), requires_grad=False)
        train(model, optimizer, 2)
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1]


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
    """Dynamo runs the hooks of `optimizer.step` as they are: one frame a step, over several spool files."""
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
    """Also where Dynamo gives up a stack frame after too many recompilations, and runs its code uncompiled."""
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
    """`log` and `step` in the middle of a compiled training step, over several spool files: the values are right."""
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
