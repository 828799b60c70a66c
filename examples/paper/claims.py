"""The paper's claims C1 to C20: what was measured, and a verdict by rules that stand here.

A verdict is "holds", "does not hold" or "not decidable"; the last is the answer wherever the error bars, the number of
seeds or the scale do not allow one of the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, t

from .evidence import Evidence, Exponent, mean_and_error, rank_correlations

HOLDS, FAILS, OPEN = "holds", "does not hold", "not decidable"
SEEDS = 5
"""Seeds below which the exponents of C10 and C15 get no verdict (design of the sweep)."""
NEAR = 0.1
"""An exponent within so much of 1 is a straight line to the eye of a figure of seven points."""
SMALL = "at this scale the model is not the paper's: "


@dataclass(frozen=True)
class Verdict:
    """A claim judged."""

    claim: str
    says: str
    measured: str
    verdict: str
    why: str


def c1(gcn: Evidence, gat: Evidence) -> Verdict:
    """Recomputed from raw arrays."""
    checks = [run for model in (gcn, gat) for run in model.content("independent") or []]
    worst = max((d for run in checks for d in run["largest_relative_difference"].values()), default=math.nan)
    verdict = OPEN if not checks else HOLDS if worst < 1e-12 else FAILS
    measured = f"{len(checks)} runs, whole and by epoch: largest relative difference from plain numpy {worst:.1e}"
    return Verdict("C1", "𝒯(t) = K/(k_B d), m = 1", measured, verdict, "a definition; our reading of it is checked")


def c2(gcn: Evidence, gat: Evidence) -> Verdict:
    """Scatter of T between windows falls as 1/√length, and is what one window claims."""
    content = gcn.content("windows-sgd")
    if not content:
        return Verdict("C2", _C2, "no run", OPEN, "nothing was measured")
    slopes, ratios = [], []
    for rows in content["layers"].values():
        some = [row for row in rows if row["windows"] >= 4]
        if len(some) < 2:
            continue
        first, last = some[0], some[-1]
        slopes.append(math.log(last["scatter"] / first["scatter"]) / math.log(last["window"] / first["window"]))
        if last["claimed"] is not None:
            ratios.append(last["claimed"] / last["scatter"])
    if not slopes:
        return Verdict("C2", _C2, "too few windows", OPEN, "the run is too short to be cut")
    good = all(-0.8 < slope < -0.2 for slope in slopes) and all(0.4 < ratio < 2.5 for ratio in ratios)
    measured = (f"scatter between windows ∝ length^({_span(slopes)}) (−0.5 expected of enough independent samples); "
                f"claimed error over scatter, longest windows: {_span(ratios)}")  # fmt: skip
    why = "T converges as the window grows, and its error bar says how far" if good else "the scatter does not fall so"
    return Verdict("C2", _C2, measured, HOLDS if good else OPEN, why)


_C2 = "T is the time average over a long enough τ"


def c3(gcn: Evidence, gat: Evidence) -> Verdict:
    """T over its floor, also in the coldest stretch."""
    rows = [row for model in (gcn, gat) for row in model.findings("sgd", "floor")]
    says = "a residual velocity persists at equilibrium"
    if not rows:
        return Verdict("C3", says, "not measured", OPEN, "no physical check was run")
    least = min(rows, key=lambda row: float(row["measured"]))
    persists = all(row["verdict"] == "persists" for row in rows)
    measured = f"T/floor from {least['measured']:.1e} ({least['group']}) up, in {len(rows)} layers of GCN and GAT"
    return Verdict("C3", says, measured, HOLDS if persists else FAILS, "far above what rounding alone gives")


def c4(gcn: Evidence, gat: Evidence) -> Verdict:
    """K, V and their sum, step by step."""
    content = gcn.content("energy-sgd")
    says = "mechanical energy K + V is not constant"
    if not content:
        return Verdict("C4", says, "not measured", OPEN, "nothing was measured")
    mean, scatter = content["mean"], content["standard_deviation"]
    measured = (f"K = {mean['kinetic']:.2e} ± {scatter['kinetic']:.1e} (standard deviation of a step), V = "
                f"{mean['loss']:.3f} ± {scatter['loss']:.3f}, K + V ± {scatter['sum']:.3f}; correlation of K and V "
                f"{content['correlation']:.2f}")  # fmt: skip
    why = "K + V moves from step to step as the minibatch's loss does, by far more than K itself is (m = 1)"
    moves = scatter["sum"] > 10 * scatter["kinetic"]
    return Verdict("C4", says, measured, HOLDS if moves else OPEN, why)


def c5(gcn: Evidence, gat: Evidence) -> Verdict:
    """No estimator."""
    return Verdict("C5", "entropy is not maximised", "–", OPEN, "the paper gives no estimator of the entropy")


def accuracy_of(claim: str, model: Evidence, paper: float, says: str) -> Verdict:
    """C6 and C7: the trained model's accuracy beside the paper's."""
    training = model.accounts()["training"]
    if not training:
        return Verdict(claim, says, "not trained", OPEN, "nothing was measured")
    value, graphs = training["test_accuracy"], training["test_graphs"]
    error = math.sqrt(value * (1 - value) / graphs)
    measured = f"{value:.1%} ± {error:.1%} of {graphs:,} test graphs"
    with_position = (Evidence(model.kind, model.folder.with_name(f"{model.kind}-position")).accounts())["training"]
    if with_position:
        measured += f"; with positions as features {with_position['test_accuracy']:.1%}"
    if training["scale"] != "full":
        steps = training["steps"]
        why = SMALL + f"{training['train_graphs']:,} graphs of 60,000, {steps:,} steps of 1,125,000"
        return Verdict(claim, says, measured, OPEN, why)
    near = abs(value - paper) < 0.02 + 2 * error
    return Verdict(claim, says, measured, HOLDS if near else FAILS, "within two points of the paper's" if near else "")


def c8(gcn: Evidence, gat: Evidence) -> Verdict:
    """Drift of T, displacement and loss in every branch of the sweep."""
    says = "equilibrium is reached before the measurement"
    rows = [row for model in (gcn, gat) for row in model.equilibria("sgd")]
    if not rows:
        return Verdict("C8", says, "not measured", OPEN, "nothing was measured")
    kinds = {
        kind: [row for row in rows if row["quantity"] == kind] for kind in dict.fromkeys(r["quantity"] for r in rows)
    }
    drifting = sum(row["verdict"] == "drifting" for row in rows)
    chance = float(binom.sf(drifting - 1, len(rows), 0.05))
    parts = [
        f"{kind}: {sum(r['verdict'] == 'drifting' for r in some)} of {len(some)} drift" for kind, some in kinds.items()
    ]
    measured = f"{'; '.join(parts)} (SGD, one seed, p < 0.05 each; as many by chance: p = {chance:.2g})"
    if chance < 0.01:
        return Verdict("C8", says, measured, FAILS, "more series drift than chance allows")
    if not any("displacement" in kind for kind in kinds):
        why = "T and the loss are stationary, but branches are too short for the displacement over 256 steps"
        return Verdict("C8", says, measured, OPEN, why)
    return Verdict("C8", says, measured, HOLDS, "no more drift than by chance")


def parabolic(claim: str, model: Evidence, layer: str, says: str) -> Verdict:
    """C9 and C14: whether the interval of b holds 2, for one layer."""
    found = [e for e in model.exponents("sgd-rate", "b") if e.layer == layer]
    adam = [e for e in model.exponents("adam-rate", "b") if e.layer == layer]
    if not found:
        return Verdict(claim, says, "no fit", OPEN, "too few runs")
    one = found[0]
    measured = f"SGD: b = {one} ({one.runs} runs){'; Adam: b = ' + str(adam[0]) if adam else ''}"
    delta = model.answer("sgd-rate").get("delta_aicc", {}).get(layer, {})
    measured += _ranked(delta)
    if one.low <= 2 <= one.high:
        wide = one.high - one.low > 0.5
        return Verdict(
            claim, says, measured, OPEN if wide else HOLDS, "the interval holds 2" + (", and much else" if wide else "")
        )
    why = f"2 lies outside of the interval, by little: b − 2 = {one.value - 2:+.3f}; a figure would show a parabola"
    return Verdict(claim, says, measured, FAILS, why)


def steeper(claim: str, model: Evidence, layers: Callable[[str], bool], says: str) -> Verdict:
    """C10 and C15: whether b is above 2 for these layers."""
    found = [e for e in model.exponents("sgd-rate", "b") if layers(e.layer)]
    adam = [e for e in model.exponents("adam-rate", "b") if layers(e.layer)]
    if not found:
        return Verdict(claim, says, "no fit", OPEN, "too few runs")
    measured = f"SGD: b = {_list(found)}" + (f"; Adam: b = {_list(adam)}" if adam else "")
    seeds = len(
        {run["seed"] for run in model.accounts()["branches"] if run["optimizer"] == "sgd" and run["batch_size"] == 32}
    )
    above, below = [e for e in found if e.low > 2], [e for e in found if e.high <= 2]
    if below:
        return Verdict(claim, says, measured, FAILS, f"b is not above 2 in {', '.join(e.layer for e in below)}")
    if seeds < SEEDS or not all(e.seeds for e in found):
        return Verdict(claim, says, measured, OPEN, f"{seeds} seeds; a verdict takes {SEEDS}")
    if len(above) == len(found):
        return Verdict(claim, says, measured, HOLDS, "the lower bounds are above 2")
    rest = ", ".join(e.layer for e in found if e not in above)
    return Verdict(claim, says, measured, OPEN, f"the interval holds 2 in {rest}")


def straight(claim: str, model: Evidence, says: str, last: str | None = None) -> Verdict:
    """C11 and C16: whether T is linear in 1/β."""
    found = model.exponents("sgd-batch", "q")
    epoch = model.exponents("sgd-batch-lags", "q", "epoch")
    if not found:
        return Verdict(claim, says, "no fit", OPEN, "too few runs")
    measured = f"lag 1: q = {_list(found)}" + (f"; lag epoch: q = {_list(epoch)}" if epoch else "")
    delta = model.answer("sgd-inverse").get("delta_aicc", {})
    curved = [layer for layer, of in delta.items() if _number(of, "linear") - _number(of, "parabola") > 2]
    if delta:
        measured += f"; a parabola in 1/β beats a line by ΔAICc > 2 in: {', '.join(curved) or 'no layer'}"
    inside = [e for e in found if _straight(e)]
    outside = [e for e in found if e.high < 1 - NEAR or e.low > 1 + NEAR]
    exact = [e.layer for e in found if e.low <= 1 <= e.high]
    if last is not None:
        bent = [e for e in outside if e.layer == last]
        others = [e for e in outside if e.layer != last]
        if bent and not others and len(inside) == len(found) - 1:
            return Verdict(claim, says, measured, HOLDS, f"only {last} bends")
        if len(inside) == len(found):
            return Verdict(
                claim, says, measured, FAILS, f"all layers are within {NEAR} of 1, {last} bends no more than others"
            )
        return Verdict(claim, says, measured, OPEN, "some intervals reach beyond 0.1 of 1 on both sides")
    if len(inside) == len(found):
        why = f"every interval lies within {NEAR} of 1; 1 itself lies in that of {', '.join(exact) or 'none'}"
        return Verdict(claim, says, measured, HOLDS, why)
    if outside:
        return Verdict(claim, says, measured, FAILS, f"q is not near 1 in {', '.join(e.layer for e in outside)}")
    return Verdict(claim, says, measured, OPEN, f"some intervals reach beyond {NEAR} of 1")


def c12(gcn: Evidence, gat: Evidence) -> Verdict:
    """The joint fit and p = 1."""
    says = "T is not proportional to η/β"
    parts, rejected = [], []
    for model in (gcn, gat):
        for p_values in model.answer("sgd-joint").get("p_values", {}).values():
            value = p_values.get("p = 1")
            rejected.append(value is not None and value < 0.01)
        found = model.exponents("sgd-joint", "p"), model.exponents("sgd-joint", "q")
        if found[0]:
            parts.append(f"{model.kind.upper()}: p = {_span([e.value for e in found[0]])}, "
                         f"q = {_span([e.value for e in found[1]])} in T = a·η^p·β^−q")  # fmt: skip
    if not rejected:
        return Verdict("C12", says, "no joint fit", OPEN, "too few runs")
    verdict = HOLDS if all(rejected) else OPEN if any(rejected) else FAILS
    return Verdict(
        "C12",
        says,
        "; ".join(parts),
        verdict,
        f"p = 1 is rejected (p < 0.01) in {sum(rejected)} of {len(rejected)} layers",
    )


def rows_differ(claim: str, model: Evidence, parameter: str, says: str) -> Verdict:
    """C13 and C19: the test of rows, their spread and their order in time and over seeds."""
    parts, verdicts = [], {}
    for optimizer in ("sgd", "adam"):
        test = model.tests(f"rows-{optimizer}-0").get(parameter)
        if not test:
            continue
        between = rank_correlations(model.heat_of_rows(optimizer, parameter))
        spread = test["hottest_over_coldest"]
        name = {"sgd": "SGD", "adam": "Adam"}[optimizer]
        order = f", between seeds {_span(between)}" if between else ""
        parts.append(f"{name}: {test['verdict']}, hottest/coldest "
                     f"{'∞' if spread is None else format(spread, '.3g')}, rank correlation of half-windows "
                     f"{test['rank_stability']:.3f}{order}")  # fmt: skip
        verdicts[optimizer] = test["verdict"]
    if "sgd" not in verdicts:
        return Verdict(claim, says, "not measured", OPEN, "no run")
    verdict = {"differ": HOLDS, "no difference found": FAILS}.get(verdicts["sgd"], OPEN)
    heads = model.tests("heads-sgd")
    if heads:
        shown = [f"{name} {test['verdict']} ({test['hottest_over_coldest']:.2f}×)" for name, test in heads.items()
                 if test["hottest_over_coldest"] is not None]  # fmt: skip
        parts.append(f"heads: {', '.join(shown)}")
    why = f"rows of {parameter} under plain SGD; what differs is the gradient noise C of a unit: T = η²C/(2 − ηh)"
    return Verdict(claim, says, "; ".join(parts), verdict, why)


def c17(gcn: Evidence, gat: Evidence) -> Verdict:
    """Correlation of layers in time; b by layer."""
    says = "layer temperatures behave independently"
    parts, values = [], []
    for model in (gcn, gat):
        rows = model.findings("sgd", "correlation")
        if rows:
            numbers = [float(row["measured"]) for row in rows]
            values += [row["verdict"] == "correlated" for row in rows]
            parts.append(f"{model.kind.upper()}: correlations of 𝒯(t) between layers {_span(numbers)}")
        found = model.exponents("sgd-rate", "b")
        if found:
            apart = sum(a.high < b.low or b.high < a.low for n, a in enumerate(found) for b in found[n + 1 :])
            parts.append(
                f"exponents of {apart} of {len(found) * (len(found) - 1) // 2} pairs of layers have intervals apart"
            )
    if not values:
        return Verdict("C17", says, "; ".join(parts) or "not measured", OPEN, "no correlation was measured")
    share = sum(values) / len(values)
    why = f"{sum(values)} of {len(values)} pairs are correlated in time (one backward pass moves all layers)"
    return Verdict("C17", says, "; ".join(parts), FAILS if share > 0.5 else OPEN if share > 0.1 else HOLDS, why)


def c18(gcn: Evidence, cnn: Evidence) -> Verdict:
    """Exponents q of the CNN's layers beside the GCN's."""
    says = "T against 1/β differs from that of CNNs (linear in a CNN's output layer only)"
    ours, theirs = gcn.exponents("sgd-batch", "q"), cnn.exponents("sgd-batch", "q")
    if not ours or not theirs:
        return Verdict("C18", says, "no CNN" if ours else "no fit", OPEN, "too few runs")
    measured = f"CNN: q = {_list(theirs)}; GCN: q = {_span([e.value for e in ours])}"
    bent = [e for e in theirs[:-1] if e.high < 1 - NEAR or e.low > 1 + NEAR]
    line = [e for e in theirs if _straight(e)]
    if len(line) == len(theirs):
        return Verdict("C18", says, measured, FAILS, "the CNN's layers are as linear as the GCN's")
    if len(bent) == len(theirs) - 1:
        return Verdict("C18", says, measured, HOLDS, "no layer of the CNN but perhaps the last is linear")
    return Verdict("C18", says, measured, OPEN, "some layers of the CNN are linear, others not or undecided")


def c20(models: Sequence[Evidence]) -> Verdict:
    """Accuracy without some rows, paired over seeds."""
    says = "some rows are redundant (conjecture)"
    parts, spared, any_model = [], [], False
    tried = 4 * len(models)
    for model in models:
        content = model.content("prune")
        if not content or len(content["runs"]) < 2:
            continue
        any_model = True
        if min(run["whole"] for run in content["runs"]) < 0.15:
            parts.append(f"{model.kind.upper()}: the whole network is near chance, there is nothing to lose")
            continue
        place = content["fractions"].index(0.2)
        for where in ("conv2", "all hidden layers"):
            texts = []
            for way in ("hot", "cold", "random", "small_norm"):
                loss = [run["whole"] - run[where][way][place] for run in content["runs"]]
                mean, error = mean_and_error(loss)
                bound = mean + error * float(t.ppf(1 - 0.05 / tried, len(loss) - 1))
                if where == "conv2":
                    spared.append(bound < 0.01)
                texts.append(f"{way.replace('_', ' ')} {100 * mean:.1f} ± {100 * error:.1f}")
            parts.append(f"{model.kind.upper()}, 20 % of the rows of {where}: loss of {', '.join(texts)} points "
                         f"({len(content['runs'])} seeds)")  # fmt: skip
    if not any_model:
        return Verdict("C20", says, "not measured", OPEN, "fewer than two seeds")
    verdict = HOLDS if any(spared) else OPEN
    why = "some fifth of conv2's rows costs less than one point (95 %, one-sided, all kinds at once)"
    if not any(spared):
        why = "no fifth of conv2's rows is shown to cost less than one point"
    return Verdict("C20", says, "; ".join(parts), verdict, why)


def judge(gcn: Evidence, gat: Evidence, cnn: Evidence) -> list[Verdict]:
    """All claims."""
    return [
        c1(gcn, gat),
        c2(gcn, gat),
        c3(gcn, gat),
        c4(gcn, gat),
        c5(gcn, gat),
        accuracy_of("C6", gcn, 0.64, "GCN reaches 64 % test accuracy"),
        accuracy_of("C7", gat, 0.74, "GAT reaches 74 %"),
        c8(gcn, gat),
        parabolic("C9", gcn, "out", "GCN: T(η) parabolic for the linear layer"),
        steeper("C10", gcn, lambda layer: "conv" in layer, "GCN: exponent > 2 for the GCNConv layers"),
        straight("C11", gcn, "GCN: T linear in 1/β, all layers"),
        c12(gcn, gat),
        rows_differ(
            "C13", gcn, "conv2.lin.weight", 'rows of a layer have "completely different" mean squared velocity'
        ),
        parabolic("C14", gat, "out2", "GAT: T(η) parabolic for the final linear layer"),
        steeper("C15", gat, lambda layer: layer != "out2", "GAT: exponent > 2 for GATConv and the other linear layers"),
        straight("C16", gat, "GAT: T almost linear in 1/β, the last layer more parabolic", last="out2"),
        c17(gcn, gat),
        c18(gcn, cnn),
        rows_differ("C19", gat, "conv2.lin.weight", "areas of different temperature also in GAT"),
        c20((gcn, gat)),
    ]


def _straight(one: Exponent) -> bool:
    return one.low >= 1 - NEAR and one.high <= 1 + NEAR


def _list(found: Sequence[Exponent]) -> str:
    return ", ".join(map(str, found))


def _span(values: Sequence[float]) -> str:
    if not values:
        return "–"
    low, high = float(np.min(values)), float(np.max(values))
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"


def _ranked(delta: dict[str, float | None]) -> str:
    known = sorted((value, name) for name, value in delta.items() if value is not None)
    return f"; ΔAICc {', '.join(f'{name} {value:.1f}' for value, name in known)}" if known else ""


def _number(table: dict[str, float | None], name: str) -> float:
    value = table.get(name)
    return math.nan if value is None else float(value)
