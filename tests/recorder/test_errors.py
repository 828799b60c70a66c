"""Errors of the recorder that no other test is about: their texts, and that the remedies in them work."""

from __future__ import annotations

import pytest
from torch import nn

from recorder import Recorder
from recorder.errors import NotInstalledError, RecorderError, StoreLockedError, named_if_missing
from tests.recorder.runs import read_array


def test_a_torch_that_is_missing_is_named_with_what_brings_it():
    needed = r"recorder: expected torch, got no package of that name.*pip install 'thermotrace\[recorder\]'"
    with pytest.raises(NotInstalledError, match=needed), named_if_missing():
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    with pytest.raises(ModuleNotFoundError, match="of the user") as caught, named_if_missing():
        raise ModuleNotFoundError("of the user", name="train")
    assert not isinstance(caught.value, RecorderError)


def test_a_store_has_one_writer(tmp_path):
    path, model = tmp_path / "run.zarr", nn.Linear(2, 1)
    with Recorder(path, model) as first:
        first.start()
        with (
            pytest.raises(StoreLockedError, match=r"run\.zarr: expected to be its only writer, but another recorder"),
            Recorder(path, model, mode="w") as second,
        ):
            second.start()
        first.step()
        with Recorder(tmp_path / "other.zarr", model) as other:  # "record into another store"
            other.start()
    with Recorder(path, model, mode="a") as third:  # "wait until it has closed"
        third.start()
        third.step()
    assert read_array(path, "step").tolist() == [0, 1, 2]
