"""The T/η² that an optimizer should give, from the recorded settings of each parameter group.

Derivations are in `tests/oracles.py`; sources: Mandt, Hoffman and Blei, JMLR 18:134 (2017), and Liu, Ziyin and Ueda,
ICML 2021 (arXiv:2012.03636), for SGD and momentum at finite steps near a minimum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from analyzer.engine.measure import Measurement
from analyzer.engine.norms import rms_at_end
from analyzer.quantities.rates.schedule import Rates
from analyzer.query.changes import flat_groups, setting_in, within
from analyzer.query.settings import extremes
from analyzer.statistics.adam import CONSISTENT, white

Array = np.ndarray[Any, np.dtype[Any]]

DECAY_SHARE = 0.1
"""Largest ratio of λ·rms(w) to the rms of Adam's update, both per η, at which the expectation holds in spite of a
decay. The cross term of the two then changes T/η² by at most a fifth (a fifth only if all weights move along w)."""


@dataclass(frozen=True)
class Expectation:
    """The expected T/η² in the paper's convention: a range, NaN if no number is known, and a sentence."""

    low: float
    high: float
    text: str


def _none(why: str) -> Expectation:
    return Expectation(np.nan, np.nan, f"no expectation: {why}")


def expectation(kind: str, settings: Mapping[str, Any], rms: float | None = None) -> Expectation:
    """Return the T/η² that a parameter group should have.

    Parameters
    ----------
    kind
        Name of the optimizer's class.
    settings
        Settings of the parameter group.
    rms
        Root mean square of the group's weights; needed for Adam with a decoupled weight decay.

    Examples
    --------
    >>> expectation("SGD", {"momentum": 0.9}).text
    'C/((1 − μ)(2(1 + μ) − ηh)) with μ = 0.9: 2.63 C where ηh is small'
    """
    if kind == "SGD":
        return _of_sgd(settings)
    if kind in ("Adam", "AdamW"):
        return _of_adam(kind, settings, rms)
    return _none(kind or "the optimizer is not recorded")


def _number(settings: Mapping[str, Any], key: str) -> float:
    value = settings.get(key)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _of_sgd(settings: Mapping[str, Any]) -> Expectation:
    momentum, decay = _number(settings, "momentum"), _number(settings, "weight_decay")
    if momentum and (settings.get("nesterov") or _number(settings, "dampening")):
        return _none("SGD with Nesterov's momentum" if settings.get("nesterov") else "SGD with dampening")
    if not 0 <= momentum < 1:
        return _none(f"SGD with momentum {momentum:g}")
    small = 1 / (2 * (1 - momentum) * (1 + momentum))
    formula = f"C/((1 − μ)(2(1 + μ) − ηh)) with μ = {momentum:g}" if momentum else "C/(2 − ηh)"
    curvature = f"; h includes the decay {decay:g}" if decay else ""
    return Expectation(np.nan, np.nan, f"{formula}: {small:.3g} C where ηh is small{curvature}")


def _of_adam(kind: str, settings: Mapping[str, Any], rms: float | None) -> Expectation:
    betas = settings.get("betas")
    if settings.get("amsgrad") or not isinstance(betas, (list, tuple)) or not betas or not 0 <= float(betas[0]) < 1:
        return _none(f"{kind} without plain running means")
    low = white(float(betas[0]))
    decay = _number(settings, "weight_decay")
    if decay and _is_decoupled(kind, settings):
        share = np.inf if rms is None or not np.isfinite(rms) else decay * rms / np.sqrt(2 * low)
        if share > DECAY_SHARE:
            return _none(
                f"{kind}'s decay moves weights by λ|w| = {decay * (rms or np.nan):.2g} η a step, {share:.2g} of the "
                "update"
            )
    return Expectation(low, CONSISTENT, f"{low:.3g} (white gradients) to {CONSISTENT:g} (consistent ones), {kind}")


def _is_decoupled(kind: str, settings: Mapping[str, Any]) -> bool:
    """Whether an Adam optimizer moves weights by its decay apart from the update: AdamW, or Adam made so."""
    return kind == "AdamW" or (kind == "Adam" and bool(settings.get("decoupled_weight_decay")))


def expectations_of(run: xr.DataTree, measurement: Measurement, rates: Rates) -> dict[str, Any]:
    """Return the expected T/η² as variables (group, window)."""
    line, windows = measurement.run.line, measurement.plan.sampling.windows
    shape = rates.low.shape
    low, high = np.full(shape, np.nan), np.full(shape, np.nan)
    text = np.full(shape, "", dtype=object)
    norms: Array | None = None
    moved = _moved(measurement)
    for window in range(shape[1]):
        start, stop = int(windows.start_step[window]), int(windows.stop_step[window])
        kinds, groups = _recorded(run, measurement, start, stop)
        own = zip(kinds, groups, strict=True)
        if any(_is_decoupled(kind, group) and _number(group, "weight_decay") for kind, group in own):
            norms = rms_at_end(measurement) if norms is None else norms
        known: dict[Any, Expectation] = {}
        for number, owners in enumerate(rates.owners):
            key = (owners, None if norms is None else float(norms[number]))
            if key not in known:
                one = _of_groups(owners, kinds, groups, key[1])
                changing = sorted({name for group, name in moved[window] if group in owners})
                known[key] = _none(f"{', '.join(changing)} changes within the window") if changing else one
            found = known[key]
            low[number, window], high[number, window], text[number, window] = found.low, found.high, found.text
    if within(line.changes, line.steps, int(windows.start_step[0]), int(windows.stop_step[-1])) and shape[1] == 1:
        low, high = np.full(shape, np.nan), np.full(shape, np.nan)
        text = np.full(shape, "no expectation: the settings change within the window", dtype=object)
    dims = ("group", "window")
    return {
        "expected_low": (dims, low, {"units": "1", "long_name": "smallest T/η² expected, paper's convention"}),
        "expected_high": (dims, high, {"units": "1", "long_name": "largest T/η² expected, paper's convention"}),
        "expectation": (dims, text, {"units": "", "long_name": "what T/η² is expected to be"}),
    }


def _recorded(
    run: xr.DataTree, measurement: Measurement, start: int, stop: int
) -> tuple[list[str], list[Mapping[str, Any]]]:
    """The optimizer's class and the settings of every parameter group, as recorded for the updates of a window."""
    listed = setting_in("optimizer", run.attrs, measurement.run.line.steps, start, stop)
    optimizers = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, (list, tuple)) else []
    kinds: list[str] = []
    groups: list[Mapping[str, Any]] = []
    for one in optimizers:
        own = flat_groups([one]) or [dict(one.get("defaults") or {})]
        kinds += [str(one.get("class", "")).rpartition(".")[2]] * len(own)
        groups += own
    return kinds, groups


def _of_groups(
    owners: frozenset[int], kinds: list[str], groups: list[Mapping[str, Any]], rms: float | None
) -> Expectation:
    found = {
        expectation(kinds[n], groups[n], rms) if n < len(groups) else expectation("", {})
        for n in (sorted(owners) or range(len(groups)))
    }
    texts = {one.text for one in found}
    if not texts:
        return expectation("", {})
    return next(iter(found)) if len(texts) == 1 else _none("its parameters are in groups with different settings")


def _moved(measurement: Measurement) -> list[list[tuple[int, str]]]:
    """For each window the parameter groups and names of settings, other than the rate, that change within it."""
    line, windows = measurement.run.line, measurement.plan.sampling.windows
    known = line.settings.recorded
    low, high = extremes(line, windows.start_step, windows.stop_step)
    differ = (low != high) & ~np.isnan(low)
    return [
        [(known.groups[n], known.names[n]) for n in np.flatnonzero(row) if known.names[n] != "learning_rate"]
        for row in differ
    ]
