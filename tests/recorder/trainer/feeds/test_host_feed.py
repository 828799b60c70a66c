"""Parameters in host memory, in any layout, also if the memory moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from recorder import Recorder, RecorderError
from tests.recorder.runs import Scripted, assert_frames_are_scripted, read_array, train


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
    """torch no longer resizes a tensor after `Tensor.numpy`, so reading would change the user's parameters."""
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
