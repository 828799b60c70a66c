"""The paper's claims C1 to C20: what was measured, and a verdict by rules that stand here and in `exponents.py`.

A verdict is "holds", "does not hold" or "not decidable". It is "not decidable" wherever the error bars, the number of
seeds or the scale allow neither of the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import binom, t

from .evidence import Evidence, Row, mean_and_error, rank_correlations
from .exponents import c12, c18, of_those_that_stay, parabolic, steeper, straight, under_drift
from .needs import complete
from .plan import Scale
from .verdict import FAILS, HOLDS, OPEN, Verdict, span

EPOCHS = 600
"""Of the paper's training."""
SMALL = "this model is not the paper's: it saw "


def c1(gcn: Evidence, gat: Evidence) -> Verdict:
    """Whether numpy, from the raw arrays, gives the same temperatures."""
    checks = [run for model in (gcn, gat) for run in model.independent()]
    worst = max((d for run in checks for d in run["largest_relative_difference"].values()), default=math.nan)
    verdict = OPEN if not checks else HOLDS if worst < 1e-12 else FAILS
    runs = f"{len(checks)} run{'s' * (len(checks) != 1)}"
    measured = f"largest relative difference from plain numpy {worst:.1e}, over {runs}, whole and by epoch"
    return Verdict("C1", "𝒯(t) = K/(k_B d), m = 1", measured, verdict, "a definition; numpy checks how we read it")


def c2(gcn: Evidence, gat: Evidence) -> Verdict:
    """Whether the scatter of T between windows falls as 1/√length, and agrees with the standard error of one window.

    Where it does not, T itself may change along the run. Then an average tells its window, and there is no τ that is
    long enough.
    """
    slopes, ratios, apart, all_drift = [], [], [], True
    for model in (gcn, gat):
        content = model.content("windows-sgd") or {"run": "", "layers": {}}
        drifting = model.drifting_layers(content["run"])
        for layer, rows in content["layers"].items():
            some = [row for row in rows if row["windows"] >= 4]
            if len(some) < 2:
                continue
            first, last = some[0], some[-1]
            slope = math.log(last["scatter"] / first["scatter"]) / math.log(last["window"] / first["window"])
            ratio = 1.0 if last["claimed"] is None else last["claimed"] / last["scatter"]
            slopes.append(slope)
            ratios.append(ratio)
            if not (-0.8 < slope < -0.2 and 0.4 < ratio < 2.5):
                apart.append(f"{model.kind.upper()} {layer}")
                all_drift &= layer in drifting
    if not slopes:
        return Verdict("C2", _C2, "too few windows", OPEN, "no run is long enough to be cut into windows")
    measured = (f"scatter of T between windows ∝ length^({span(slopes)}), −0.5 expected of independent samples; "
                f"standard error ÷ scatter in the longest windows {span(ratios)}")  # fmt: skip
    if not apart:
        why = "T converges as the window grows, and its error bar agrees with its scatter"
        return Verdict("C2", _C2, measured, HOLDS, why)
    whose = ", ".join(apart)
    if not all_drift or not is_the_papers(gcn.accounts()["training"] or {}):
        return Verdict(
            "C2", _C2, measured, OPEN, f"the scatter does not fall as that of independent samples in {whose}"
        )
    why = f"T itself drifts along the run in {whose} (C8): its average depends on the window"
    return Verdict("C2", _C2, measured, FAILS, why)


_C2 = "T is the time average over a long enough τ"


def c3(gcn: Evidence, gat: Evidence) -> Verdict:
    """T divided by its floor, also in the coldest part of the run."""
    models = [model for model in (gcn, gat) if model.findings("sgd", "floor")]
    rows = [row for model in models for row in model.findings("sgd", "floor")]
    says = "a residual velocity persists at equilibrium"
    if not rows:
        return Verdict("C3", says, "not measured", OPEN, "no physical check was run")
    least = min(rows, key=lambda row: float(row["measured"]))
    persists = all(row["verdict"] == "persists" for row in rows)
    whose = " and ".join(model.kind.upper() for model in models)
    measured = f"T/floor at least {least['measured']:.1e} ({least['group']}), in {len(rows)} layers of {whose}"
    why = "T is far above what rounding alone gives" if persists else "some T is near what rounding alone gives"
    return Verdict("C3", says, measured, HOLDS if persists else FAILS, why)


def c4(gcn: Evidence, gat: Evidence) -> Verdict:
    """K, V and their sum, step by step."""
    content = gcn.content("energy-sgd")
    says = "mechanical energy K + V is not constant"
    if not content:
        return Verdict("C4", says, "not measured", OPEN, "nothing was measured")
    mean, scatter = content["mean"], content["standard_deviation"]
    measured = (f"K = {mean['kinetic']:.2e} ± {scatter['kinetic']:.1e}, V = {mean['loss']:.3f} ± "
                f"{scatter['loss']:.3f}, K + V ± {scatter['sum']:.3f} (±: standard deviation between steps); "
                f"correlation of K and V {content['correlation']:.2f}")  # fmt: skip
    moves = scatter["sum"] > 10 * scatter["kinetic"]
    why = (
        "K + V changes from step to step with the minibatch's loss V; K is far smaller than these changes (m = 1)"
        if moves
        else "K + V changes by no more than ten times what K does"
    )
    return Verdict("C4", says, measured, HOLDS if moves else OPEN, why)


def c5(gcn: Evidence, gat: Evidence) -> Verdict:
    """No verdict: nothing can be measured."""
    return Verdict("C5", "entropy is not maximised", "–", OPEN, "the paper gives no estimator of the entropy")


def accuracy_of(claim: str, model: Evidence, paper: float, says: str) -> Verdict:
    """C6 and C7: the trained model's accuracy beside the paper's, and that of models that saw other data."""
    training = model.accounts()["training"]
    if not training:
        return Verdict(claim, says, "not trained", OPEN, "nothing was measured")
    value, error = accuracy_in(training)
    measured = f"{value:.1%} ± {error:.1%} of {training['test_graphs']:,} test graphs"
    epochs = training.get("epochs")
    if epochs is not None and epochs < EPOCHS and is_the_papers(training):
        measured += f", after {epochs} of {EPOCHS} epochs"
    others = {}
    for name, told in (("position", "with positions as features"), ("radius", "on graphs with edges within a radius")):
        other = Evidence(model.kind, model.folder.with_name(f"{model.kind}-{name}")).accounts()["training"]
        if other:
            others[name] = other
            measured += f"; {told} {accuracy_in(other)[0]:.1%}"
    if not is_the_papers(training):
        why = SMALL + f"{training['train_graphs']:,} graphs of 60,000 and {training['steps']:,} steps of 1,125,000"
        return Verdict(claim, says, measured, OPEN, why)
    least = paper - 0.02 - 2 * error
    if value >= least:
        beyond = value - paper - 0.02 > 2 * error
        why = "more than two points above the paper's" if beyond else "within two points of the paper's"
        return Verdict(claim, says, measured, HOLDS, why)
    why = (
        "more than two points below the paper's, on graphs with 19 incoming edges at every node, which makes GCNConv's "
    )
    why += "normalisation a plain mean; the degrees of the original graphs vary"
    if "radius" not in others:
        why += ". Whether that is the reason is open: the training on edges within a radius is still to be made"
    elif accuracy_in(others["radius"])[0] >= least:
        return Verdict(claim, says, measured, HOLDS, "on graphs whose degrees vary, as in the original")
    else:
        closed = (accuracy_in(others["radius"])[0] - value) / (paper - value)
        why += f". Edges within a radius, whose degrees vary, close {closed:.0%} of the gap"
    return Verdict(claim, says, measured, FAILS, why)


def is_the_papers(training: Mapping[str, Any]) -> bool:
    """Whether a training is of the paper's size: all graphs, the whole schedule."""
    return training.get("scale") in ("full", "trained")


def accuracy_in(training: Mapping[str, Any]) -> tuple[float, float]:
    """A training's test accuracy and standard error; if it is not finished, at the last epoch that was tested."""
    value = training["test_accuracy"] if "test_accuracy" in training else training["curve"][-1]["test_accuracy"]
    return value, math.sqrt(value * (1 - value) / training["test_graphs"])


def _change(row: Row) -> float:
    """How far a series moves over its window, relative to its mean. Earlier versions answered with the slope alone."""
    if "drift_percent" in row:
        return float(abs(row["drift_percent"])) / 100
    return float(abs(row["drift"] * (row["stop_step"] - row["equilibrium_step"]) / row["mean"]))


def c8(gcn: Evidence, gat: Evidence) -> Verdict:
    """Drift of T, displacement and loss in every branch of one seed of the sweep.

    Layers of one run are correlated, runs are not. So the drifts of each series are counted over the runs, and give a
    chance of that many drifts. The smallest of these chances is multiplied by the number of series (Bonferroni).
    """
    says = "equilibrium is reached before the measurement"
    series: dict[tuple[str, str, str], list[Row]] = {}
    for model in (gcn, gat):
        for row in model.equilibria("sgd"):
            series.setdefault((model.kind, row["quantity"], row["of"]), []).append(row)
    if not series:
        return Verdict("C8", says, "not measured", OPEN, "nothing was measured")
    counts: dict[str, list[int]] = {}
    chances, changes = [], [0.0]
    for (_, quantity, _), rows in series.items():
        moving = [row for row in rows if row["verdict"] == "drifting"]
        chances.append(float(binom.sf(len(moving) - 1, len(rows), 0.05)))
        changes += [_change(row) for row in moving]
        total = counts.setdefault(quantity, [0, 0])
        total[0], total[1] = total[0] + len(moving), total[1] + len(rows)
    chance = min(1.0, len(series) * min(chances))
    measured = ", ".join(f"{quantity}: {moving} of {of} drift" for quantity, (moving, of) in counts.items())
    measured += (f" (SGD, one seed, p < 0.05 each; chance gives some series as many with p = {chance:.2g}); "
                 f"the largest drift over the window is {max(changes):.1%} of the mean")  # fmt: skip
    if chance < 0.01:
        trained = [model.accounts()["training"] or {} for model in (gcn, gat)]
        shorter = not any(is_the_papers(training) for training in trained)
        why = "more series drift than chance allows"
        if shorter:
            why += ", but the training was far shorter than the paper's: this says nothing about the paper's runs"
        return Verdict("C8", says, measured, OPEN if shorter else FAILS, why)
    if "displacement" not in counts:
        why = "neither T nor loss is shown to drift (p > 0.01); branches are too short to see the displacement drift"
        return Verdict("C8", says, measured, OPEN, why)
    return Verdict("C8", says, measured, HOLDS, "no series is shown to drift (p > 0.01)")


def rows_differ(claim: str, model: Evidence, parameter: str, says: str) -> Verdict:
    """C13 and C19: whether rows differ, by how much, and whether their order lasts in time and over seeds."""
    parts, verdicts = [], {}
    for optimizer in ("sgd", "adam"):
        test = model.tests(f"rows-{optimizer}-0").get(parameter)
        if not test:
            continue
        between = rank_correlations(model.heat_of_rows(optimizer, parameter))
        spread = test["hottest_over_coldest"]
        name = {"sgd": "SGD", "adam": "Adam"}[optimizer]
        order = f", between seeds {span(between)}" if between else ""
        parts.append(f"{name}: {test['verdict']}, hottest ÷ coldest "
                     f"{'∞' if spread is None else format(spread, '.3g')}, rank correlation between halves of the "
                     f"window {test['rank_stability']:.3f}{order}")  # fmt: skip
        verdicts[optimizer] = test["verdict"]
    if "sgd" not in verdicts:
        return Verdict(claim, says, "not measured", OPEN, "no run")
    verdict = {"differ": HOLDS, "no difference found": FAILS}.get(verdicts["sgd"], OPEN)
    if heads := model.heads():
        apart = sum(test["verdict"] == "differ" for test in heads.values())
        most = max(heads, key=lambda name: float(heads[name]["hottest_over_coldest"]))
        parts.append(f"heads differ in {apart} of {len(heads)} parameters, most in {most} (hottest ÷ coldest "
                     f"{heads[most]['hottest_over_coldest']:.3g})")  # fmt: skip
    why = f"judged by rows of {parameter} under plain SGD; T = η²C/(2 − ηh), and C, a unit's gradient noise, differs"
    return Verdict(claim, says, "; ".join(parts), verdict, why)


def c17(gcn: Evidence, gat: Evidence) -> Verdict:
    """Whether 𝒯(t) of layers is correlated, and whether their exponents b differ."""
    says = "layer temperatures behave independently"
    parts, values = [], []
    for model in (gcn, gat):
        rows = model.findings("sgd", "correlation")
        if rows:
            numbers = [float(row["measured"]) for row in rows]
            values += [row["verdict"] == "correlated" for row in rows]
            parts.append(f"{model.kind.upper()}: correlations of 𝒯(t) between layers {span(numbers)}")
        found = model.exponents("sgd-rate", "b")
        if found:
            apart = sum(a.high < b.low or b.high < a.low for n, a in enumerate(found) for b in found[n + 1 :])
            pairs = len(found) * (len(found) - 1) // 2
            parts.append(f"intervals of b do not overlap in {apart} of {pairs} pairs of layers")
    if not values:
        return Verdict("C17", says, "; ".join(parts) or "not measured", OPEN, "no correlation was measured")
    share = sum(values) / len(values)
    why = f"{sum(values)} of {len(values)} pairs of layers are correlated in time: one backward pass moves all layers"
    return Verdict("C17", says, "; ".join(parts), FAILS if share > 0.5 else OPEN if share > 0.1 else HOLDS, why)


def c20(models: Sequence[Evidence]) -> Verdict:
    """How much accuracy is lost with some rows, paired over seeds."""
    says = "some rows are redundant (conjecture)"
    parts, spared, any_model = [], [], False
    tried = 4 * len(models)
    for model in models:
        content = model.content("prune")
        if not content or len(content["runs"]) < 2:
            continue
        any_model = True
        if min(run["whole"] for run in content["runs"]) < 0.15:
            parts.append(f"{model.kind.upper()}: the whole network is near chance: it has no accuracy to lose")
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
            parts.append(f"{model.kind.upper()} without 20 % of the rows of {where} loses these points: "
                         f"{', '.join(texts)} ({len(content['runs'])} seeds)")  # fmt: skip
    if not any_model:
        return Verdict("C20", says, "not measured", OPEN, "fewer than two seeds")
    verdict = HOLDS if any(spared) else OPEN
    why = "some fifth of conv2's rows costs less than one point (95 %, one-sided, corrected for all choices tried)"
    if not any(spared):
        why = "no fifth of conv2's rows is shown to cost less than one point"
    return Verdict("C20", says, "; ".join(parts), verdict, why)


def judge(gcn: Evidence, gat: Evidence, cnn: Evidence, scale: Scale) -> list[Verdict]:
    """All claims; "not yet" if branches are missing that a claim needs."""
    models = {"gcn": gcn, "gat": gat, "cnn": cnn}
    return [complete(verdict, models, scale) for verdict in judge_what_is_there(gcn, gat, cnn)]


def judge_what_is_there(gcn: Evidence, gat: Evidence, cnn: Evidence) -> list[Verdict]:
    """All claims, from the branches that are there, however few."""
    of_exponents: Mapping[str, Sequence[Evidence]] = {
        **dict.fromkeys(("C9", "C10", "C11"), (gcn,)),
        **dict.fromkeys(("C14", "C15", "C16"), (gat,)),
        "C12": (gcn, gat),
    }
    verdicts = [
        c1(gcn, gat),
        c2(gcn, gat),
        c3(gcn, gat),
        c4(gcn, gat),
        c5(gcn, gat),
        accuracy_of("C6", gcn, 0.64, "GCN reaches 64 % test accuracy"),
        accuracy_of("C7", gat, 0.74, "GAT reaches 74 % test accuracy"),
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
    of_rates = {"C9": (gcn,), "C10": (gcn,), "C12": (gcn, gat), "C14": (gat,), "C15": (gat,), "C17": (gcn, gat)}
    verdicts = [of_those_that_stay(verdict, *of_rates.get(verdict.claim, ())) for verdict in verdicts]
    return [under_drift(verdict, *of_exponents.get(verdict.claim, ())) for verdict in verdicts]
