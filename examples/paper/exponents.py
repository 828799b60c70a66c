"""Verdicts on exponents: b of the learning rate, q of the batch size (claims C9 to C12, C14 to C16, C18)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from .evidence import Evidence, Exponent
from .verdict import FAILS, HOLDS, OPEN, Verdict, span

SEEDS = 5
"""Seeds that a verdict on C10 and C15 takes: the sweep has so many."""
NEAR = 0.1
"""An exponent this near to a whole number looks like that number in a figure of seven points."""


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
    for everywhere in model.exponents("sgd-rate-all", "b"):
        if everywhere.layer == layer:
            measured += f"; over all rates b = {everywhere}"
    if one.low <= 2 <= one.high:
        wide = one.high - one.low > 0.5
        why = "the interval holds 2" + (", but it is too wide for a verdict" if wide else "")
        return Verdict(claim, says, measured, OPEN if wide else HOLDS, why)
    why = f"2 lies outside the interval: b − 2 = {one.value - 2:+.3f}"
    if abs(one.value - 2) < NEAR:
        why += ", too little to be seen in a figure"
    if _number(delta, "parabola") == 0:
        why += "; of the curves tried, a parabola with a linear and a constant term fits best"
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
        why = f"there are {seeds} seeds; a verdict takes {SEEDS}, and intervals from the scatter between them"
        return Verdict(claim, says, measured, OPEN, why)
    if len(above) == len(found):
        return Verdict(claim, says, measured, HOLDS, "all lower bounds are above 2")
    rest = ", ".join(e.layer for e in found if e not in above)
    return Verdict(claim, says, measured, OPEN, f"the interval holds 2 in {rest}")


def under_drift(verdict: Verdict, *models: Evidence) -> Verdict:
    """Return a verdict on exponents whose measurement says so if temperatures of the sweep drift (claim C8)."""
    series = [
        row
        for model in models
        for row in model.equilibria("sgd", without_left=True)
        if row["quantity"] == "temperature"
    ]
    moving = [row for row in series if row["verdict"] == "drifting"]
    if not moving:
        return verdict
    said = f"T drifts in {len(moving)} of {len(series)} series at constant η (C8)"
    return replace(verdict, measured=f"{verdict.measured}; {said}: exponents of these windows, not of an equilibrium")


def of_those_that_stay(verdict: Verdict, *models: Evidence) -> Verdict:
    """Return a verdict whose measurement says so if some of the runs have left the trained network."""
    said = []
    for model in models:
        left = model.left("sgd")
        if left:
            rates = sorted({run["learning_rate"] for run in left})
            where = f"η = {rates[0]:g}" + (f" to {rates[-1]:g}" if len(rates) > 1 else "")
            which = f"{len(left)} runs" if len(left) > 1 else "one run"
            said.append(f"{which} of the {model.kind.upper()}, at {where}, leave{'s' * (len(left) == 1)} the trained "
                        f"network (test accuracy down to {min(run['test_accuracy'] for run in left):.0%}): such "
                        "settings are not in the fits")  # fmt: skip
    return replace(verdict, measured="; ".join([verdict.measured, *said]))


def straight(claim: str, model: Evidence, says: str, last: str | None = None) -> Verdict:
    """C11 and C16: whether T is linear in 1/β."""
    found = model.exponents("sgd-batch", "q")
    epoch = model.exponents("sgd-batch-lags", "q", "epoch")
    if not found:
        return Verdict(claim, says, "no fit", OPEN, "too few runs")
    measured = f"lag 1: q = {_list(found)}" + (f"; lag epoch: q = {span([e.value for e in epoch])}" if epoch else "")
    delta = model.answer("sgd-inverse").get("delta_aicc", {})
    curved = [layer for layer, of in delta.items() if _number(of, "linear") - _number(of, "parabola") > 2]
    if delta:
        measured += f"; a parabola in 1/β beats a line by ΔAICc > 2 in {', '.join(curved) or 'no layer'}"
    inside = [e for e in found if _straight(e)]
    outside = [e for e in found if e.high < 1 - NEAR or e.low > 1 + NEAR]
    exact = [e.layer for e in found if e.low <= 1 <= e.high]
    if last is not None:
        bent = [e for e in outside if e.layer == last]
        others = [e for e in outside if e.layer != last]
        if bent and not others and len(inside) == len(found) - 1:
            return Verdict(claim, says, measured, HOLDS, f"only {last} bends")
        if len(inside) == len(found):
            why = f"every interval lies within {NEAR} of 1; {last} bends no more than the others"
            return Verdict(claim, says, measured, FAILS, why)
        if others and any(e.layer == last for e in inside):
            why = (
                f"q is not near 1 in {', '.join(e.layer for e in others)}; {last}, which should bend more, is straight"
            )
            return Verdict(claim, says, measured, FAILS, why)
        return Verdict(claim, says, measured, OPEN, f"some intervals reach beyond {NEAR} of 1, or {last} is undecided")
    if len(inside) == len(found):
        why = f"every interval lies within {NEAR} of 1; 1 itself lies in that of {', '.join(exact) or 'no layer'}"
        return Verdict(claim, says, measured, HOLDS, why)
    if outside:
        return Verdict(claim, says, measured, FAILS, f"q is not near 1 in {', '.join(e.layer for e in outside)}")
    return Verdict(claim, says, measured, OPEN, f"some intervals reach beyond {NEAR} of 1")


def c12(gcn: Evidence, gat: Evidence) -> Verdict:
    """Whether the joint fit rejects p = 1."""
    says = "T is not proportional to η/β"
    parts, rejected = [], []
    for model in (gcn, gat):
        for p_values in model.answer("sgd-joint").get("p_values", {}).values():
            value = p_values.get("p = 1")
            rejected.append(value is not None and value < 0.01)
        found = model.exponents("sgd-joint", "p"), model.exponents("sgd-joint", "q")
        if found[0]:
            parts.append(f"{model.kind.upper()}: p = {span([e.value for e in found[0]])}, "
                         f"q = {span([e.value for e in found[1]])}")  # fmt: skip
    if not rejected:
        return Verdict("C12", says, "no joint fit", OPEN, "too few runs")
    verdict = HOLDS if all(rejected) else OPEN if any(rejected) else FAILS
    return Verdict(
        "C12",
        says,
        "; ".join(["fits of T = a·η^p·β^−q", *parts]),
        verdict,
        f"p = 1 is rejected (p < 0.01) in {sum(rejected)} of {len(rejected)} layers",
    )


def c18(gcn: Evidence, cnn: Evidence) -> Verdict:
    """Exponents q of the CNN's layers beside the GCN's."""
    says = "T against 1/β differs from that of CNNs, whose output layer alone is linear"
    ours, theirs = gcn.exponents("sgd-batch", "q"), cnn.exponents("sgd-batch", "q")
    if not ours or not theirs:
        return Verdict("C18", says, "no CNN" if ours else "no fit", OPEN, "too few runs")
    measured = f"CNN ({theirs[0].runs} runs): q = {_list(theirs)}; GCN: q = {span([e.value for e in ours])}"
    if rounded := cnn.rounded("sgd"):
        measured += f"; T/floor of the CNN: {', '.join(rounded)}"
        why = (
            "the CNN fits all its training graphs, and so little gradient noise is left that its updates are lost in "
            "rounding: these exponents are of rounding. It takes a CNN whose training ended earlier"
        )
        return Verdict("C18", says, measured, OPEN, why)
    bent = [e for e in theirs[:-1] if e.high < 1 - NEAR or e.low > 1 + NEAR]
    line = [e for e in theirs if _straight(e)]
    if len(line) == len(theirs):
        why = "all layers of this CNN, which sees pictures of the superpixels, are linear"
        curved = [e.layer for e in ours if e.high < 1 - NEAR or e.low > 1 + NEAR]
        why += f"; it is the GCN that is not, in {', '.join(curved)}" if curved else ", as those of the GCN are"
        return Verdict("C18", says, measured, FAILS, why)
    if len(bent) == len(theirs) - 1:
        return Verdict("C18", says, measured, HOLDS, "no layer of the CNN is linear, except perhaps the last")
    return Verdict("C18", says, measured, OPEN, "some layers of the CNN are linear, others are not or are undecided")


def _straight(one: Exponent) -> bool:
    return one.low >= 1 - NEAR and one.high <= 1 + NEAR


def _list(found: Sequence[Exponent]) -> str:
    return ", ".join(map(str, found))


def _ranked(delta: dict[str, float | None]) -> str:
    known = sorted((value, name) for name, value in delta.items() if value is not None)
    return f"; ΔAICc {', '.join(f'{name} {value:.1f}' for value, name in known)}" if known else ""


def _number(table: dict[str, float | None], name: str) -> float:
    value = table.get(name)
    return math.nan if value is None else float(value)
