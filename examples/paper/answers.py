"""The small file that is kept of a finished branch: what it cost, and its temperatures, from which fits are made.

At a scale whose branches take hours, `run.py` writes this file as soon as a branch is finished, and the file is
committed. A branch with such a file is finished, and is made again on no machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import analyzer
from analyzer.quantities.fits.fit import HALF_PHASE

from .place import read_json, write_json
from .plan import Branch, Scale

Content = dict[str, Any]


def file_of(into: Path, run: Branch) -> Path:
    """The file of a finished branch in the folder of a model's answers."""
    return into / "branches" / f"{run.name}.json"


def answered(into: Path, runs: Sequence[Branch]) -> list[Branch]:
    """The branches that are finished and whose temperatures are known."""
    return [run for run in runs if file_of(into, run).exists()]


def write(into: Path, run: Branch, scale: Scale, store: Path, account: Mapping[str, Any]) -> None:
    """Measure a finished branch's temperatures by layer at every lag of its scale, and keep them with its account.

    Parameters
    ----------
    store
        The branch's trajectory.
    account
        What the branch cost.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # a long lag has few displacements, and its standard errors are NaN: kept as None
        measured = analyzer.temperature(analyzer.open_run(store), by="layer", lag=[*scale.lags, "epoch"]).compute()
    lags = {}
    for n, label in enumerate(map(str, measured["lag"].values)):
        at = measured.isel(lag=n, window=0)
        steps = int(at["steps_per_lag"])
        lags[label] = {
            "steps_per_lag": steps,
            "temperature": _numbers(at["temperature"].values),
            "standard_error": _numbers(at["standard_error"].values),
        }
        if label == "epoch":
            half = _numbers(at["temperature_half_phase"].values)
            lags[HALF_PHASE] = {"steps_per_lag": steps, "temperature": half, "standard_error": [None] * len(half)}
    content = {
        "account": dict(account),
        "layers": [str(layer) for layer in measured["layer"].values],
        "weights": [int(weights) for weights in measured["weights"].values],
        "convention": str(measured.attrs["convention"]),
        "lags": lags,
    }
    write_json(file_of(into, run), content)


def read(into: Path, run: Branch) -> Content:
    """What `write` kept of a branch."""
    content: Content = read_json(file_of(into, run))
    return content


def _numbers(values: Any) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in np.asarray(values, np.float64)]
