"""Open recordings in a process: a second one of the same store."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recorder import Recorder
from recorder.errors import StoreLockedError
from tests.recorder.runs import read_array


def test_a_cell_that_ran_twice_is_told_of_the_first_recorder(tmp_path, capfd):
    path, model = tmp_path / "run.zarr", nn.Linear(2, 1)
    Recorder(path, model, torch.optim.SGD(model.parameters(), lr=0.1))
    idle = Recorder(path, model)
    first = Recorder(tmp_path / "." / "run.zarr", model)  # the idle one makes way
    assert capfd.readouterr().err.count("an earlier Recorder that had recorded nothing is closed, this one takes") == 1
    first.start()
    idle.close()
    for mode in ("w-", "w", "a"):
        with pytest.raises(StoreLockedError, match=r"in this process .* first: recorder\.close\(\)") as found:
            Recorder(path, model, mode=mode)
        assert found.value.recorder is first
    first.step()
    found.value.recorder.close()
    with Recorder(path, model, mode="w") as second:
        second.start()
    assert read_array(path, "step").tolist() == [0]
