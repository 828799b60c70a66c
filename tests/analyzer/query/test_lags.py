"""Lags of correlations and displacements: defaults, what users write, and lags of an epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import analyzer
from analyzer import errors
from analyzer.query.lags import TABLE, lags_in
from tests.stores import write_store


def test_what_a_user_writes_for_lags() -> None:
    assert lags_in("1,2, 5") == (1, 2, 5)
    assert lags_in("1:4") == (1, 2, 3, 4)
    assert lags_in("10:30:10,epoch") == (10, 20, 30, "epoch")
    assert lags_in("1:16:log") == (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16)
    for wrong in ("", "a", "1:", "5:1", "0:10:log", "1:10:0", "-1", "1:9999999"):
        with pytest.raises(errors.WindowError, match="--lags: expected lags in steps"):
            lags_in(wrong)
    assert TABLE[:12] == (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14)
    assert TABLE[-1] == 4096


def test_the_epochs_of_the_range_alone_count(tmp_path: Path) -> None:
    """Epochs of 20 steps up to step 300, then, with larger minibatches, of 10."""
    values = np.cumsum(np.random.default_rng(0).standard_normal((2, 2, 601)), axis=-1)
    update = np.arange(600)
    epoch = np.where(update < 300, update // 20, 15 + (update - 300) // 10)
    path = write_store(tmp_path / "run.zarr", {"lin.weight": values}, scalars={"epoch": np.append([0], epoch)})
    asked = analyzer.open_run(path).thermo
    for start, stop, steps in ((None, 300, 20), (300, None, 10), (100, 110, 20), (305, 400, 10)):
        assert asked.dynamics(lags="epoch", start=start, stop=stop)["lag"].values.tolist() == [steps]
    assert asked.spectrum(stop=300).attrs["steps_per_epoch"] == 20
    assert asked.spectrum(start=300).attrs["steps_per_epoch"] == 10
    with pytest.raises(errors.EpochError, match="in steps 0 to 600, got epochs of 10 to 20 steps"):
        asked.dynamics(lags="epoch")
    assert "no epochs of equal length" in asked.spectrum().attrs["epoch_lines"]
