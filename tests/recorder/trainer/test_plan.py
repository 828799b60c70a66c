"""What a recording will take is said, or refused, before it is made."""

from __future__ import annotations

import re

import pytest
from torch import nn

from recorder import Recorder
from recorder.errors import DiskSpaceError


def test_a_run_that_will_not_fit_is_refused_before_its_first_step(tmp_path, capfd):
    model = nn.Linear(1000, 1000)
    with pytest.raises(DiskSpaceError, match=r"Record fewer frames \(a stride that is [\d,]+ × as large\)"):
        Recorder(tmp_path / "run.zarr", model, expected_steps=10**10).start()
    assert not (tmp_path / "run.zarr").exists()
    with Recorder(tmp_path / "run.zarr", model, expected_steps=3) as recorder:
        recorder.start()
    told = capfd.readouterr().err
    assert "3 frames of 3.8 MiB" in told
    assert re.search(r"compression keeps up with about \d+ frames a second", told)
