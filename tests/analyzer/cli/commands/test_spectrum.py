"""`analyzer spectrum`."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr

import analyzer
from analyzer import errors
from tests.analyzer.quantities.motion.test_spectrum import walk
from tests.analyzer.shell import invoke
from tests.stores import write_store


def test_the_command(tmp_path: Path) -> None:
    path = write_store(tmp_path / "run.zarr", {"lin.weight": walk(4, 5, 3, 3000)})
    done = invoke("spectrum", path, "--steps-per-epoch", 50, "--plot", tmp_path / "figure.svg")
    assert done.exit_code == 0, done.stderr
    assert "lines of the epoch: marked at multiples of 1/50 step^-1" in done.stdout
    assert (tmp_path / "figure.svg").stat().st_size > 10_000
    done = invoke("spectrum", path, "--format", "netcdf", "--output", tmp_path / "a.nc")
    assert done.exit_code == 0, done.stderr
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as held:
        assert held["spectral_density"].attrs["units"] == "weight^2 step^-1"
    assert "expected stretches of at least 4096 velocities" in invoke("spectrum", path, "--sections", 4096).stderr
    with pytest.raises(errors.WindowError, match="--sections: expected 16 to 65,536 steps, got 3"):
        analyzer.open_run(path).thermo.spectrum(sections=3)
    with pytest.raises(errors.MemoryLimitError, match="shorter --sections"):
        analyzer.open_run(path).thermo.spectrum(memory_limit=1000)
