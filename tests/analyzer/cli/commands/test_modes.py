"""`analyzer modes`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import analyzer
from analyzer.statistics.modes import VERDICTS
from tests.analyzer.quantities.motion.test_modes import walk
from tests.analyzer.shell import invoke
from tests.stores import write_store


def test_the_command(tmp_path: Path) -> None:
    path = write_store(tmp_path / "run.zarr", {"a.weight": walk(0, 9, 7, 700), "b.weight": walk(1, 5, 700)})
    out = tmp_path / "weights.nc"
    done = invoke("modes", path, "--modes", 2, "--plot", tmp_path / "figure.png", "--weights", out)
    assert done.exit_code == 0, done.stderr
    assert "cosine content" in done.stdout
    with xr.open_dataset(out, engine="h5netcdf") as held:
        assert held["a.weight"].dims == ("mode", "a.weight_row", "a.weight_col")
        assert float((held["a.weight"].sel(mode=2) ** 2).sum()) == pytest.approx(1)
    records = json.loads(invoke("modes", path, "--modes", 2, "--format", "json").stdout)["records"]
    assert [(record["layer"], record["mode"]) for record in records] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    for column in ("variance_share", "participation_ratio", "cosine_content", "verdict"):
        assert records[0][column] is not None
    done = invoke("modes", path, "--format", "netcdf", "--output", tmp_path / "a.nc")
    assert done.exit_code == 0, done.stderr
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as held:
        assert held["projection"].dims == ("group", "mode", "frame")


def test_every_verdict_has_its_own_short_form(tmp_path: Path) -> None:
    from analyzer.cli.commands.modes import _SHORT

    assert set(_SHORT) == {*VERDICTS, ""}
    assert len(set(_SHORT.values())) == len(_SHORT)
    noise = np.random.default_rng(0).standard_normal((4, 5, 400)) + walk(1, 4, 5, 400) * [[[0.2]]]
    told = invoke("modes", write_store(tmp_path / "run.zarr", {"a.weight": noise}), "--modes", 8)
    found = analyzer.open_run(tmp_path / "run.zarr").thermo.modes(modes=8).compute()["verdict"].values.ravel()
    assert "undecided" in found
    rows = [line for line in told.stdout.splitlines() if line.startswith(" a ")]
    assert [row.count("undecided") for row in rows] == [int(verdict == "undecided") for verdict in found]
