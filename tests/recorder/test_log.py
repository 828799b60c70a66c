"""Scalars that are logged: whose frame they belong to, their names and values."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from recorder import Recorder
from recorder.errors import UsageError
from recorder.root import check_scalar_name
from tests.recorder.runs import Scripted, assert_frames_are_scripted, open_tree, read_array, train


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
    assert capfd.readouterr().err.count("the optimizer has 2 parameter groups, but had 1 when recording began") == 1


@pytest.mark.parametrize("name", ["step", "parameters", "learning_rate", "a/b", ".hidden", "__x"])
def test_scalar_names_that_are_no_paths_are_recorded_beside_what_the_store_keeps_for_itself(tmp_path, name):
    model = nn.Linear(1, 1)
    with Recorder(tmp_path / "run.zarr", model, Scripted(model.parameters())) as recorder:
        recorder.start()
        recorder.log(**{name: 2.0})
    root = open_tree(tmp_path / "run.zarr").to_dataset()
    (array,) = (array for array in root.values() if array.attrs.get("name") == name)
    assert array.to_numpy().tolist() == [2.0]
    assert root["step"].to_numpy().tolist() == [0]
    assert root["learning_rate"].dims == ("step", "param_group")


def test_an_empty_name_is_refused():
    with pytest.raises(UsageError, match="expected a name for each value, got ''"):
        check_scalar_name("")


def test_a_name_that_the_store_cannot_hold_is_said_once_and_left_out(tmp_path, capfd):
    with Recorder(tmp_path / "run.zarr", nn.Linear(1, 1)) as recorder:
        recorder.start()
        for number in range(3):
            recorder.step()
            recorder.log(**{"": 1.0}, number=number)
    assert capfd.readouterr().err.count("expected a name for each value") == 1
    assert read_array(tmp_path / "run.zarr", "number")[1:].tolist() == [0, 1, 2]


class Broken:
    """Raises what nobody expects when it is asked for its number."""

    def __float__(self):
        raise KeyError("no number")


BAD = [
    "3",
    b"3",
    torch.zeros(3),
    np.zeros(2),
    1j,
    torch.tensor(1j),
    [1.0],
    {},
    object(),
    10**400,
    Broken(),
    np.str_("1"),
]


@pytest.mark.parametrize("stride", [1, 2])
def test_a_value_that_is_no_scalar_is_said_once_and_left_out(tmp_path, capfd, stride):
    with Recorder(tmp_path / "run.zarr", nn.Linear(1, 1), stride=stride) as recorder:
        recorder.start()
        for _ in range(4):
            recorder.step()
            for number, value in enumerate(BAD):
                recorder.log(**{f"bad{number}": value})
            recorder.log(late="nothing yet", none=None)
        recorder.log(late=2.0)
    told = capfd.readouterr().err
    for number, value in enumerate(BAD):
        kind = type(value).__name__
        assert (
            told.count(f"log(bad{number}=…): expected a number or an array or tensor of one element, got {kind}") == 1
        )
    assert told.count("log(late=…)") == 1
    assert "none" not in told
    tree = open_tree(tmp_path / "run.zarr")
    assert set(tree.data_vars) == {"late"}
    assert tree["late"].to_numpy()[-1] == 2.0


def test_numbers_of_every_kind_are_stored(tmp_path):
    values = {
        "array": np.array([[2.5]]),
        "scalar": np.float32(2.5),
        "whole": np.int64(3),
        "flag": True,
        "numpy_flag": np.bool_(True),
        "tensor": torch.tensor([[3.0]], requires_grad=True),
        "half": torch.tensor(0.5, dtype=torch.bfloat16),
        "fraction": Fraction(1, 4),
        "infinite": float("inf"),
    }
    with Recorder(tmp_path / "run.zarr", nn.Linear(1, 1)) as recorder:
        recorder.start()
        recorder.log(**values)
    expected = dict(zip(values, [2.5, 2.5, 3.0, 1.0, 1.0, 3.0, 0.5, 0.25, np.inf], strict=True))
    assert {name: float(read_array(tmp_path / "run.zarr", name)[0]) for name in values} == expected


def test_more_names_than_columns_are_said_once_and_overwrite_nothing(tmp_path, capfd):
    with Recorder(tmp_path / "run.zarr", nn.Linear(1, 1)) as recorder:
        recorder.start()
        for number in range(3):
            recorder.log(bad="no column is lost to it")
            recorder.log(**{f"value_{i}": number + i for i in range(70)})
    assert read_array(tmp_path / "run.zarr", "value_63").tolist() == [65.0]
    assert "value_64" not in open_tree(tmp_path / "run.zarr")
    told = capfd.readouterr().err
    assert told.count("log(value_64=…): expected at most 64 names") == told.count("names in one recording") == 1


def test_what_waits_for_the_next_frame_is_stored_as_it_was_when_it_was_logged(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    total, array = torch.zeros(()), np.zeros(1)
    with Recorder(tmp_path / "run.zarr", model, optimizer, stride=2) as recorder:
        for _ in range(4):
            optimizer.step()
            total += 1
            array += 1
            if total % 2:
                recorder.log(total=total, array=array)
    assert read_array(tmp_path / "run.zarr", "total")[1:].tolist() == [1, 3]
    assert read_array(tmp_path / "run.zarr", "array")[1:].tolist() == [1, 3]
