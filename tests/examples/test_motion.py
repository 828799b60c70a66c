"""The page on how the trained GCN moves: made from its files, and its whole chain on a run of a few epochs."""

from __future__ import annotations

from pathlib import Path

import pytest

import analyzer
from examples.paper import motion, motion_runs
from examples.paper.motion_page import page
from examples.paper.place import read_json


def test_the_page_is_that_of_its_files() -> None:
    answers = {name: read_json(motion.RESULTS / f"{name}.json") for name in motion.OPTIMIZERS}
    assert page(answers) == motion.PAGE.read_text(encoding="utf-8")
    for line in motion.PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("!["):
            assert (motion.PAGE.parent / line.rpartition("(")[2].rstrip(")")).exists(), line


def test_what_the_page_says_of_an_interval() -> None:
    """Of C(1)/C(0) = −0.5 ± 0.1 and 0.1 ± 0.1 the first is negative, the second is neither; so of exponents and 1."""
    answers = {name: read_json(motion.RESULTS / f"{name}.json") for name in motion.OPTIMIZERS}
    told = page(answers)
    assert "SGD: at τ = 1 the exponent is below 1 in every layer, above 1 in no layer; at τ = 2,048" in told
    assert (
        "Another criterion does tell conv2, conv3, out from a walk: there the exponent at τ = 2,048 is not 1." in told
    )
    layers = answers["sgd"]["motion"]["layers"]
    place = answers["sgd"]["motion"]["lags"].index(1)
    for layer, row in layers.items():
        value = -0.5 if layer == "conv1" else 0.1
        row["normalised_autocorrelation"][place], row["normalised_autocorrelation_error"][place] = value, 0.1
        row["exponent_error"] = [3.0] * len(row["exponent_error"])  # 1 lies in every interval
    told = page(answers)
    assert "Measured at τ = 1, C is negative in\nconv1; positive in no layer." in told
    assert "SGD: at τ = 1 the exponent is below 1 in no layer, above 1 in no layer; at τ = 2,048" in told
    assert "tell conv2, conv3, out from a walk" not in told


@pytest.mark.reproduction
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_the_chain(tmp_path: Path) -> None:
    sizes = ["--epochs", "4", "--short", "130", "--settle", "1"]
    assert motion_runs.main([*sizes, "--output", str(tmp_path / "runs")]) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*.json")}
    assert len(before) == 6
    assert motion_runs.main([*sizes, "--output", str(tmp_path / "runs")]) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in before.items()), "none is made again"
    paths = ["--runs", tmp_path / "runs", "--results", tmp_path / "results", "--output", tmp_path / "page.md"]
    assert motion.main([str(one) for one in paths]) == 0
    told = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "on\n2,000 graphs: 248 steps with SGD and 248 steps with Adam" in told
    answer = analyzer.open_run(tmp_path / "runs/adam-0.zarr").thermo.dynamics(lags=[0, 5]).compute()
    one = read_json(tmp_path / "results/adam.json")["motion"]
    kept = one["layers"]["out"]["normalised_autocorrelation"][one["lags"].index(5)]
    assert kept == pytest.approx(answer["normalised_autocorrelation"].sel(group="out", lag=5).item(), rel=1e-4)
    assert len(list((tmp_path / "results/figures").glob("*.png"))) == 6
