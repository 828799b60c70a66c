"""The verdicts: each rule is shown to give each of its answers, from made-up files of the analyzer's form."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from examples.paper import claims
from examples.paper.evidence import Evidence, rank_correlations
from examples.paper.needs import NEEDS, complete
from examples.paper.plan import SCALES, branches, rate_sweep
from examples.paper.verdict import Verdict

LAYERS = ("conv1", "conv2", "out")


def write(folder: Path, name: str, content: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(content))


def fit(coefficient: str, intervals: dict[str, tuple[float, float]], kind: str = "per-seed") -> dict[str, Any]:
    records = [
        {"layer": layer, "coefficient": coefficient, "value": (low + high) / 2, "low": low, "high": high,
         "runs": 35, "intervals": kind}
        for layer, (low, high) in intervals.items()
    ]  # fmt: skip
    return {"quantity": "fit", "records": records}


def seeds(folder: Path, count: int) -> None:
    branches = [{"optimizer": "sgd", "batch_size": 32, "seed": seed} for seed in range(count)]
    write(folder, "accounts", {"planned": 71, "training": None, "branches": branches})


@pytest.fixture
def model(tmp_path: Path) -> Evidence:
    seeds(tmp_path / "gcn", 5)
    return Evidence("gcn", tmp_path / "gcn")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(1.98, 2.05, "holds"), (2.01, 2.05, "does not hold"), (1.9, 1.99, "does not hold"), (1.5, 2.5, "not decidable")],
)
def test_parabolic_is_an_interval_that_holds_2(model: Evidence, low: float, high: float, verdict: str) -> None:
    write(model.folder, "sgd-rate", fit("b", {"out": (low, high)}))
    assert claims.parabolic("C9", model, "out", "").verdict == verdict
    assert claims.parabolic("C9", model, "nowhere", "").verdict == "not decidable"


def test_exponents_of_windows_that_drift_say_so(model: Evidence) -> None:
    verdict = Verdict("C9", "", "b = 2.07", "does not hold", "")
    assert claims.under_drift(verdict, model) == verdict
    rows = [{"quantity": quantity, "verdict": verdict} for quantity in ("temperature", "loss")
            for verdict in ("drifting", "drifting", "stationary")]  # fmt: skip
    write(model.folder, "equilibrium-sgd-0.001-32-0", {"records": rows})
    assert "; T drifts in 2 of 3 series at constant η (C8)" in claims.under_drift(verdict, model).measured


@pytest.mark.parametrize(
    ("intervals", "count", "kind", "verdict"),
    [
        ({"conv1": (2.1, 2.2), "conv2": (2.05, 2.1)}, 5, "per-seed", "holds"),
        ({"conv1": (2.1, 2.2), "conv2": (2.05, 2.1)}, 3, "per-seed", "not decidable"),
        ({"conv1": (2.1, 2.2), "conv2": (2.05, 2.1)}, 5, "pooled", "not decidable"),
        ({"conv1": (2.1, 2.2), "conv2": (1.95, 2.1)}, 5, "per-seed", "not decidable"),
        ({"conv1": (2.1, 2.2), "conv2": (1.8, 1.9)}, 5, "per-seed", "does not hold"),
    ],
)
def test_steeper_needs_five_seeds_and_every_lower_bound(
    model: Evidence, intervals: dict[str, tuple[float, float]], count: int, kind: str, verdict: str
) -> None:
    seeds(model.folder, count)
    write(model.folder, "sgd-rate", fit("b", intervals, kind))
    assert claims.steeper("C10", model, lambda layer: True, "").verdict == verdict


@pytest.mark.parametrize(
    ("out", "verdict", "last_verdict"),
    [
        ((0.97, 1.03), "holds", "does not hold"),
        ((1.2, 1.3), "does not hold", "holds"),
        ((0.8, 1.3), "not decidable", "not decidable"),
    ],
)
def test_straight_is_an_exponent_near_1(
    model: Evidence, out: tuple[float, float], verdict: str, last_verdict: str
) -> None:
    write(model.folder, "sgd-batch", fit("q", {"conv1": (0.98, 1.02), "conv2": (1.01, 1.05), "out": out}))
    assert claims.straight("C11", model, "").verdict == verdict
    assert claims.straight("C16", model, "", last="out").verdict == last_verdict


@pytest.mark.parametrize(
    ("first", "last", "verdict"),
    [
        ((0.75, 0.79), (0.99, 1.01), "does not hold"),
        ((0.75, 0.79), (0.8, 1.02), "not decidable"),
        ((0.75, 1.02), (0.99, 1.01), "not decidable"),
        ((0.75, 0.79), (0.7, 0.8), "not decidable"),
    ],
)
def test_another_layer_bends_than_the_last(
    model: Evidence, first: tuple[float, float], last: tuple[float, float], verdict: str
) -> None:
    """The paper has the last layer bend most: it does not where another bends and the last is straight."""
    write(model.folder, "sgd-batch", fit("q", {"conv1": first, "conv2": (1.01, 1.05), "out": last}))
    assert claims.straight("C16", model, "", last="out").verdict == verdict


@pytest.mark.parametrize(
    ("theirs", "verdict"),
    [
        ({"conv1": (0.7, 0.8), "out": (0.99, 1.01)}, "holds"),
        ({"conv1": (0.98, 1.02), "out": (0.99, 1.01)}, "does not hold"),
        ({"conv1": (0.8, 1.02), "out": (0.99, 1.01)}, "not decidable"),
    ],
)
def test_the_cnn_differs_where_its_layers_bend(
    model: Evidence, tmp_path: Path, theirs: dict[str, tuple[float, float]], verdict: str
) -> None:
    write(model.folder, "sgd-batch", fit("q", {"conv1": (0.98, 1.02)}))
    cnn = Evidence("cnn", tmp_path / "cnn")
    assert claims.c18(model, cnn).verdict == "not decidable"
    write(cnn.folder, "sgd-batch", fit("q", theirs))
    assert claims.c18(model, cnn).verdict == verdict
    bent = fit("q", {"conv1": (0.5, 0.6), "conv2": (0.98, 1.01)})
    for ours, told in ((bent, "the GCN that is not, in conv1"), (fit("q", {"conv1": (0.98, 1.01)}), "as those of")):
        write(model.folder, "sgd-batch", ours)
        assert (told in claims.c18(model, cnn).why) == (verdict == "does not hold")
    lost = {"check": "floor", "group": "out", "measured": 2.4e-8, "verdict": "near rounding"}
    write(cnn.folder, "check-sgd", {"records": [lost]})
    found = claims.c18(model, cnn)
    assert found.verdict == "not decidable"
    assert "out 2.4e-08" in found.measured
    assert "lost in rounding" in found.why


@pytest.mark.parametrize(
    ("p", "verdict"), [([1e-9, 1e-5], "holds"), ([1e-9, 0.3], "not decidable"), ([0.2], "does not hold")]
)
def test_proportional_to_rate_over_batch_is_rejected_in_every_layer(
    model: Evidence, p: list[float], verdict: str
) -> None:
    write(model.folder, "sgd-joint", {"records": [], "p_values": {str(n): {"p = 1": x} for n, x in enumerate(p)}})
    assert claims.c12(model, Evidence("gat", model.folder.with_name("gat"))).verdict == verdict


@pytest.mark.parametrize(
    ("drifting", "scale", "verdict"),
    [(1, "small", "holds"), (5, "full", "does not hold"), (5, "small", "not decidable")],
)
def test_equilibrium_counts_drifts_of_a_series_over_runs_against_chance(
    model: Evidence, drifting: int, scale: str, verdict: str
) -> None:
    write(model.folder, "accounts", {"planned": 7, "training": {"scale": scale}, "branches": []})

    def records(n: int, quantities: tuple[str, ...]) -> dict[str, Any]:
        told = "drifting" if n < drifting else "stationary"
        known = {"of": "out", "drift": 1e-5, "mean": 1.0, "equilibrium_step": 0, "stop_step": 3000}
        return {"records": [{"quantity": quantity, "verdict": told, **known} for quantity in quantities]}

    gat = Evidence("gat", model.folder.with_name("gat"))
    for n in range(7):
        write(model.folder, f"equilibrium-sgd-{n}-32-0", records(n, ("temperature", "displacement")))
    found = claims.c8(model, gat)
    assert found.verdict == verdict
    assert f"temperature: {drifting} of 7 drift" in found.measured
    assert "3.0% of the mean" in found.measured
    slow = {"quantity": "displacement", "of": "out", "verdict": "drifting", "drift": None, "drift_percent": -99.4}
    write(model.folder, "equilibrium-sgd-0-32-1", {"records": [slow]})
    assert "99.4% of the mean" in claims.c8(model, gat).measured, "too few samples after t0 for a slope there"
    (model.folder / "equilibrium-sgd-0-32-1.json").unlink()
    for n in range(7):
        write(model.folder, f"equilibrium-sgd-{n}-32-0", records(n, ("temperature",)))
    if verdict == "holds":  # T alone is stationary long before the model is
        assert claims.c8(model, gat).verdict == "not decidable"


@pytest.mark.parametrize(
    ("exponent", "claimed", "told", "scale", "verdict"),
    [
        (-0.5, 1.0, "stationary", "trained", "holds"),
        (-0.5, 1.0, "drifting", "trained", "holds"),
        (-0.1, 1.0, "drifting", "trained", "does not hold"),
        (-0.5, 0.3, "drifting", "trained", "does not hold"),
        (-0.1, 1.0, "drifting", "small", "not decidable"),
        (-0.1, 1.0, "stationary", "trained", "not decidable"),
    ],
)
def test_a_time_average_settles_unless_t_drifts(
    model: Evidence, exponent: float, claimed: float, told: str, scale: str, verdict: str
) -> None:
    """Scatter ∝ length^exponent between windows; `claimed` is the standard error over it."""
    rows = []
    for window in (32, 128, 512):
        scatter = window**exponent
        rows.append({"window": window, "windows": 4096 // window, "scatter": scatter, "claimed": claimed * scatter})
    steady = [row | {"scatter": row["window"] ** -0.5, "claimed": row["window"] ** -0.5} for row in rows]
    name = "sgd-0.001-32-0"
    write(model.folder, "windows-sgd", {"run": name, "layers": {"conv1": rows, "out": steady}})
    series = [{"quantity": "temperature", "of": "conv1", "verdict": told},
              {"quantity": "displacement", "of": "conv1", "verdict": "drifting"}]  # fmt: skip
    write(model.folder, f"equilibrium-{name}", {"records": series})
    write(model.folder, "accounts", {"planned": 1, "training": {"scale": scale}, "branches": []})
    gat = Evidence("gat", model.folder.with_name("gat"))
    found = claims.c2(model, gat)
    assert found.verdict == verdict
    assert ("in GCN conv1" in found.why) == (verdict != "holds")
    assert "out" not in found.why
    assert claims.c2(gat, gat).verdict == "not decidable", "no run"


@pytest.mark.parametrize(
    ("hot", "verdict"),
    [([0.6, 0.601, 0.599], "holds"), ([0.5, 0.51, 0.49], "not decidable"), ([0.6, 0.5, 0.6], "not decidable")],
)
def test_rows_are_redundant_where_the_bound_of_the_loss_is_small(
    model: Evidence, hot: list[float], verdict: str
) -> None:
    runs = []
    for value in hot:
        table = {way: [0.3] for way in ("cold", "random", "small_norm")} | {"hot": [value]}
        runs.append({"run": "", "whole": 0.6, "conv2": table, "all hidden layers": table})
    write(model.folder, "prune", {"fractions": [0.2], "runs": runs})
    assert claims.c20([model]).verdict == verdict
    for run in runs:
        run["whole"] = 0.1
    write(model.folder, "prune", {"fractions": [0.2], "runs": runs})
    assert claims.c20([model]).verdict == "not decidable"


def test_ranks_between_seeds() -> None:
    import numpy as np

    one = np.array([3.0, 1.0, 2.0])
    assert rank_correlations({0: one, 1: 10 * one, 2: -one}) == pytest.approx([1, -1, -1])


def test_accuracy_at_a_smaller_scale_decides_nothing(model: Evidence) -> None:
    training = {"test_accuracy": 0.64, "test_graphs": 10_000, "train_graphs": 2_000, "steps": 3_720, "scale": "small"}
    write(model.folder, "accounts", {"planned": 1, "training": training, "branches": []})
    assert claims.accuracy_of("C6", model, 0.64, "").verdict == "not decidable"
    write(model.folder, "accounts", {"planned": 1, "training": training | {"scale": "full"}, "branches": []})
    assert claims.accuracy_of("C6", model, 0.64, "").verdict == "holds"
    assert claims.accuracy_of("C6", model, 0.74, "").verdict == "does not hold"


def test_an_accuracy_is_reached_also_where_it_is_passed(model: Evidence) -> None:
    curve = [{"epoch": 385, "loss": 0.5, "test_accuracy": 0.79}]
    training = {"curve": curve, "test_graphs": 10_000, "train_graphs": 60_000, "epochs": 385, "scale": "full"}
    write(model.folder, "accounts", {"planned": 1, "training": training, "branches": []})
    found = claims.accuracy_of("C7", model, 0.74, "")
    assert found.verdict == "holds"
    assert "after 385 of 600 epochs" in found.measured
    assert "above" in found.why


@pytest.mark.parametrize(("other", "verdict"), [(None, "does not hold"), (0.5, "does not hold"), (0.63, "holds")])
def test_edges_within_a_radius_decide_c6(model: Evidence, other: float | None, verdict: str) -> None:
    known = {"test_graphs": 10_000, "train_graphs": 60_000, "scale": "trained", "epochs": 600}
    write(model.folder, "accounts", {"planned": 1, "training": known | {"test_accuracy": 0.477}, "branches": []})
    if other is not None:
        told = {"planned": 1, "training": known | {"test_accuracy": other}, "branches": []}
        write(model.folder.with_name("gcn-radius"), "accounts", told)
    found = claims.accuracy_of("C6", model, 0.64, "")
    assert found.verdict == verdict
    assert ("still to be made" in found.why) == (other is None)
    assert ("close 14% of the gap" in found.why) == (other == 0.5)


def test_a_claim_without_its_branches_has_no_verdict_yet(model: Evidence) -> None:
    scale = SCALES["trained"]
    models = {kind: Evidence(kind, model.folder.with_name(kind)) for kind in ("gcn", "gat", "cnn")}
    names = [run.name for run in rate_sweep(scale, "sgd")]
    given = Verdict("C9", "parabolic", "b = 2", "holds", "the interval holds 2")
    for count in (0, 7, 34, 35):
        made = [{"name": name} for name in names[:count]]
        write(model.folder, "accounts", {"planned": 71, "training": None, "branches": made})
        found = complete(given, models, scale)
        if count == 35:
            assert found == given
            continue
        assert (found.verdict, found.why) == ("not yet", f"not yet: {count} of 35 branches")
        assert found.measured == ("so far: b = 2" if count else "–")
    both = complete(replace(given, claim="C17"), models, scale)
    assert both.why == "not yet: 35 of 70 branches (GCN 35 of 35, GAT 0 of 35)"
    assert complete(replace(given, claim="C5"), models, scale).verdict == "holds", "it takes no branch"


def test_every_claim_that_takes_branches_says_which_and_they_are_planned() -> None:
    told = {verdict.claim for verdict in claims.judge_what_is_there(*(Evidence("gcn", Path("nowhere")),) * 3)}
    assert set(NEEDS) == told - {"C5", "C6", "C7"}
    for claim, models in NEEDS.items():
        for scale in SCALES.values():
            for kind, runs in models.items():
                assert set(runs(scale)) <= set(branches(scale, kind)), (claim, scale.name)
                assert runs(scale), claim
