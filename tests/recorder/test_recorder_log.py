"""Scalars that are logged: whose frame they belong to, their names and values."""

from __future__ import annotations

from collections.abc import Mapping
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


class Unprintable:
    """Raises when it is printed, in any way."""

    def __repr__(self):
        raise RuntimeError("of the user")


class UnprintableText(str):
    """A text that cannot be printed: a name all the same."""

    __slots__ = ()

    def __str__(self):
        raise RuntimeError("of the user")

    __format__ = __repr__ = __str__


@pytest.mark.parametrize("stride", [1, 2])
def test_a_name_that_cannot_be_printed_is_said_once_by_its_class(tmp_path, capfd, stride):
    name, value = Unprintable(), UnprintableText("value")
    with Recorder(tmp_path / "run.zarr", nn.Linear(1, 1), stride=stride) as recorder:
        recorder.start()
        for number in range(4):
            recorder.step()
            recorder.log({name: 1.0, value: "no number", "loss": number})
    told = capfd.readouterr().err
    assert told.count("log: expected a name for each value, got one of type Unprintable.") == 1
    assert told.count("log(<UnprintableText>=…): expected a number") == 1
    assert read_array(tmp_path / "run.zarr", "loss")[-1] == 3


class Broken:
    """Raises an unusual exception when it is asked for its number."""

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


class Rude(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Hostile:
    """Raises whatever it is asked."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error

    def __float__(self):
        raise self._error

    def __repr__(self):
        raise self._error

    __str__ = __index__ = __len__ = __bool__ = __repr__

    @property
    def item(self):
        raise self._error


class BadName(str):
    def __format__(self, spec):
        raise RuntimeError("no text")

    __str__ = __repr__ = lambda self: self.__format__("")


class BadMapping(Mapping):
    def __getitem__(self, name):
        return 1.0

    def __iter__(self):
        raise OSError("gone")

    def __len__(self):
        return 1


def endless() -> list:
    held: list = []
    held.append(held)
    return held


HOSTILE = {
    "rude": Hostile(Rude),
    "recursive": Hostile(RecursionError),
    "memory": Hostile(MemoryError),
    "stop": Hostile(StopIteration),
    "warning": Hostile(UserWarning),
    "meta": torch.zeros((), device="meta"),
    "two": torch.zeros(2).to_sparse(),
    "nested": torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged),
    "none": np.array([None]),
    "record": np.zeros(1, dtype=[("a", "f8")]),
    "text": np.array(["3"]),
    "empty": torch.zeros(0),
    "endless": endless(),
    "huge": -(10**5000),
    "complex": np.complex64(1),
    "type": float,
    "generator": (n for n in range(3)),
}


@pytest.mark.parametrize("on_error", ["raise", "warn"])
@pytest.mark.parametrize("stride", [1, 2])
def test_nothing_that_is_logged_ends_a_training(tmp_path, capfd, on_error, stride):
    with Recorder(tmp_path / "run.zarr", nn.Linear(1, 1), stride=stride, on_error=on_error) as recorder:
        recorder.start()
        for number in range(4):
            for name, value in HOSTILE.items():
                recorder.log(**{name: value})
            recorder.log({1: 1.0, None: 2.0, ("a", 1): 3.0, b"x": 1.0, BadName("bad"): 1.0, BadName("worse"): "1"})
            recorder.log("loss", 0.5)
            recorder.log(None, [("loss", 1.0)], BadMapping())
            recorder.log(*[{}] * 3)
            recorder.log({"fine": number}, also_fine=number, self=number, mappings=number)
            recorder.step()
    told = capfd.readouterr().err
    assert "Traceback" not in told
    assert "recording stops" not in told
    for name, value in HOSTILE.items():
        assert told.count(f"log({name}=…): expected a number or an array or tensor of one element, got") == 1, name
        assert f"got {type(value).__name__} (" in told
    assert told.count("log(…): expected names with their values, as in log(loss=loss)") == 1
    assert told.count("expected a name for each value, got 1.") == 1
    found = open_tree(tmp_path / "run.zarr")
    assert {"fine", "also_fine", "self", "mappings"} <= set(found.data_vars) <= {
        "fine", "also_fine", "self", "mappings", "bad"
    }  # fmt: skip
    assert found["fine"].to_numpy()[-1] == 3 if stride == 2 else found["fine"].to_numpy()[-2] == 3


def test_mappings_and_keywords_are_logged_together_and_the_last_one_counts(tmp_path):
    with Recorder(tmp_path / "run.zarr", nn.Linear(1, 1)) as recorder:
        recorder.start()
        recorder.log({"train/loss": 1.0, "epoch": 1}, {"epoch": 2, "accuracy": None}, epoch=3)
    root = open_tree(tmp_path / "run.zarr").to_dataset()
    assert {a.attrs["long_name"]: float(a.to_numpy()[0]) for a in root.values()} == {"train/loss": 1.0, "epoch": 3.0}


def test_a_name_of_nothing_but_nan_is_there_and_reads_as_nan(tmp_path):
    model = nn.Linear(1, 1)
    for mode, frames in (("w-", 20), ("a", 16), ("a", 1)):
        with Recorder(tmp_path / "run.zarr", model, mode=mode, chunk_steps=16) as recorder:
            recorder.start()
            for number in range(frames):
                with torch.no_grad():
                    model.weight.add_(1.0)
                recorder.step()
                recorder.log({"loss": float("nan"), f"only_{mode}": float("nan"), "value": number, "absent": None})
    tree = open_tree(tmp_path / "run.zarr")
    assert set(tree.data_vars) == {"loss", "only_w-", "only_a", "value"}
    for name in ("loss", "only_w-", "only_a"):
        assert np.isnan(read_array(tmp_path / "run.zarr", name)).all()
    assert tree.sizes["step"] == 38
    from tests.analyzer.shell import invoke

    assert invoke("verify", tmp_path / "run.zarr").exit_code == 0
