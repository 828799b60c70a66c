"""The pages of the paper: what another scale gave; branches that leave the trained network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from examples.paper.asked import asked_fits
from examples.paper.claims import judge_what_is_there
from examples.paper.evidence import Evidence
from examples.paper.judged import Judged
from examples.paper.plan import BATCH, SCALES, Branch, rate_sweep, sweeps
from examples.paper.stayed import stayed
from examples.paper.tables import by_lag, left, side_by_side

TRAINED = {"test_accuracy": 0.79, "test_graphs": 10_000, "scale": "trained", "epochs": 600}


def answer(coefficient: str, **values: float) -> dict[str, Any]:
    records = [
        {"layer": layer, "coefficient": coefficient, "value": value, "low": value - 0.1, "high": value + 0.1,
         "runs": 35, "intervals": "per-seed"}
        for layer, value in values.items()
    ]  # fmt: skip
    return {"records": records}


def scale(folder: Path, name: str, shift: float, lags: tuple[str, ...]) -> Judged:
    gcn = folder / name / "gcn"
    gcn.mkdir(parents=True)
    rate = {"lags": {lag: answer("b", conv1=2 + shift, out=2.1 + shift) for lag in lags}}
    contents = {"accounts": {}, "sgd-rate": answer("b", conv1=2 + shift, out=2.1 + shift), "sgd-rate-lags": rate}
    for file, content in contents.items():
        (gcn / f"{file}.json").write_text(json.dumps({"quantity": "fit", **content}))
    models = {kind: Evidence(kind, folder / name / kind) for kind in ("gcn", "gat", "cnn")}
    return Judged(name, models, {}, ())


def test_what_another_scale_gave_stands_below_each_row(tmp_path: Path) -> None:
    own, beside = scale(tmp_path, "large", 0.0, ("1", "100")), scale(tmp_path, "small", 0.5, ("1",))
    assert [model.kind for model in own.known] == ["gcn"]
    lines = by_lag(own.known, beside)
    first = lines.index("| layer | L = 1 | L = 100 |")
    assert lines[first + 2 : first + 6] == [
        "| conv1 | 2.000 [1.900, 2.100] | 2.000 [1.900, 2.100] |",
        "| *small* | *2.500 [2.400, 2.600]* | *–* |",
        "| out | 2.100 [2.000, 2.200] | 2.100 [2.000, 2.200] |",
        "| *small* | *2.600 [2.500, 2.700]* | *–* |",
    ]
    (row,) = [line for line in side_by_side(own.known, beside) if line.startswith("| conv1")]
    assert row.startswith("| conv1 | 2.000 [1.900, 2.100] | – |")
    assert sum("*small*" in line for line in side_by_side(own.known, beside)) == 2


def test_without_another_scale_there_is_one_row_a_layer(tmp_path: Path) -> None:
    own = scale(tmp_path, "small", 0.0, ("1",))
    assert not any("*" in line for line in [*by_lag(own.known, None), *side_by_side(own.known, None)])


def account(run: Branch, accuracy: float) -> dict[str, Any]:
    return {"name": run.name, "optimizer": run.optimizer, "learning_rate": run.learning_rate,
            "batch_size": run.batch_size, "seed": run.seed, "test_accuracy": accuracy}  # fmt: skip


def accounts_with_one_that_leaves() -> list[dict[str, Any]]:
    gone = Branch("sgd", 2e-3, BATCH, 1)
    return [account(run, 0.53 if run == gone else 0.75) for run in sweeps(SCALES["trained"], "sgd")]


def test_a_setting_is_left_out_whole_if_one_of_its_runs_leaves() -> None:
    """The other seeds at that rate are those that stayed by chance."""
    runs = sweeps(SCALES["trained"], "sgd")
    kept = stayed(runs, accounts_with_one_that_leaves(), TRAINED)
    assert set(runs) - set(kept) == {Branch("sgd", 2e-3, BATCH, seed) for seed in range(5)}
    assert stayed(runs, accounts_with_one_that_leaves(), None) == runs, "nothing to compare with"
    few = [one | {"test_graphs": 100} for one in accounts_with_one_that_leaves()]
    assert stayed(runs, few, TRAINED) == runs, "accuracies on other graphs"
    lower = [account(run, 0.60) | {"test_graphs": 100} for run in runs]
    assert stayed(runs, lower, TRAINED | {"test_graphs": 100}) == runs, "100 graphs tell no 9 points from chance"
    assert stayed(runs, [account(run, 0.70) for run in runs], TRAINED) == runs, "noise of a few points"


def test_fits_are_of_runs_that_stay_and_one_is_of_all() -> None:
    scale, runs = SCALES["trained"], sweeps(SCALES["trained"], "sgd")
    kept = stayed(runs, accounts_with_one_that_leaves(), TRAINED)
    asked = {one.name: one for one in asked_fits(scale, "sgd", runs, kept)}
    for name in ("rate", "rate-lags", "joint"):
        assert {run.learning_rate for run in asked[name].runs if run.batch_size == BATCH} == {
            7e-4, 1e-3, 1.3e-3, 1.6e-3, 2.5e-3, 3e-3
        }  # fmt: skip
    assert set(asked["rate-all"].runs) == set(rate_sweep(scale, "sgd"))
    assert "rate-all" not in {one.name for one in asked_fits(scale, "sgd", runs, runs)}


def test_pages_say_which_branches_leave(tmp_path: Path) -> None:
    gat = tmp_path / "gat"
    gat.mkdir()
    contents: dict[str, Any] = {
        "accounts": {"planned": 71, "training": TRAINED, "branches": accounts_with_one_that_leaves()},
        "sgd-rate": answer("b", out2=2.16),
        "sgd-rate-all": answer("b", out2=2.66),
    }
    for seed, rate in enumerate((1e-3, 2e-3)):
        told = "drifting" if seed else "stationary"
        rows = [{"quantity": "temperature", "of": "out2", "verdict": told, "drift": None, "drift_percent": 9.0}]
        contents[f"equilibrium-sgd-{rate:g}-32-0"] = {"records": rows}
    for file, content in contents.items():
        (gat / f"{file}.json").write_text(json.dumps(content))
    known = Evidence("gat", gat)
    assert "| gat | SGD | 0.002 | 32 | 1 of 5 | 79.0% | 53.0% to 75.0% |" in left([known])
    nothing = Evidence("gcn", tmp_path / "gcn")
    (found,) = [one for one in judge_what_is_there(nothing, known, nothing) if one.claim == "C14"]
    assert "b = out2 2.160 [2.060, 2.260]" in found.measured
    assert "over all rates b = out2 2.660" in found.measured
    assert "at η = 0.002, leaves the trained network (test accuracy down to 53%)" in found.measured
    assert "drifts" not in found.measured, "only the run that is left out drifts"
