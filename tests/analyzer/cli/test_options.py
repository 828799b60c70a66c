"""Groups of one's own from the shell: `--group NAME=GLOB`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests import oracles
from tests.analyzer.shell import invoke

PAIRS = [(n, n + 1) for n in range(99)]


def test_groups_by_globs_equal_the_definition(store: Path, frames: dict[str, np.ndarray]) -> None:
    result = invoke(
        "temperature", store, "--group", "weights=*.weight", "--group", "biases=conv*.bias", "--group",
        "biases=lin.bias", "--format", "json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert json.loads(document["attrs"]["groups"]) == {"weights": ["*.weight"], "biases": ["conv*.bias", "lin.bias"]}
    found = {record["group"]: record for record in document["records"]}
    for title, names in {
        "weights": ["conv1.lin.weight", "lin.weight"],
        "biases": ["conv1.bias", "lin.bias"],
    }.items():
        truth = oracles.temperature([frames[name] for name in names], PAIRS)
        assert found[title]["temperature"] == pytest.approx(truth["temperature"], rel=1e-12)
        assert found[title]["weights"] == sum(frames[name][..., 0].size for name in names)


def test_velocities_pictures_and_files_have_the_groups_too(store: Path, tmp_path: Path) -> None:
    drawn, written = tmp_path / "a.png", tmp_path / "a.nc"
    arguments = ("--group", "first=conv1*", "--group", "last=lin*", "--plot", drawn, "--output", written)
    result = invoke("velocity", store, *arguments)
    assert result.exit_code == 0, result.stderr
    assert drawn.stat().st_size > 0
    with xr.open_dataset(written, engine="h5netcdf") as answer:
        assert answer["group"].values.tolist() == ["first", "last"]
    assert invoke("temperature", store, *arguments[:4], "--plot", drawn).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--group", "weights"), 2, "expected NAME=GLOB, as in biases='*.bias', got 'weights'"),
        (("--group", "=*"), 2, "expected NAME=GLOB"),
        (("--group", "a="), 2, "expected NAME=GLOB"),
        (("--group", "a=*", "--by", "row"), 2, "expected groups of your own or a kind of group, got --by as well"),
        (("--group", "a=x*"), 1, "--group a='x*': expected a pattern that matches one of: conv1.lin.weight"),
        (("--group", "a=conv1*", "--group", "b=*.bias"), 1, "--group b: expected parameters of its own, got 'conv1.b"),
        (("--group", "a=lin*", "--exclude", "lin*"), 1, "--group a='lin*': expected a pattern that matches"),
    ],
)
def test_groups_that_cannot_be(store: Path, arguments: tuple[str, ...], code: int, text: str) -> None:
    result = invoke("temperature", store, *arguments)
    assert result.exit_code == code
    assert text in result.stderr
    assert "Traceback" not in result.stderr


def test_a_name_may_hold_anything_but_an_equals_sign(make: Callable[..., Path]) -> None:
    result = invoke("temperature", make(), "--group", "Gewichte & mehr=*", "--format", "csv")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].startswith("Gewichte & mehr,0,99,122")
