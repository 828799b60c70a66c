"""Fits of temperatures from the small files of finished branches, in the form of `analyzer fit`'s answers.

The fits, their tables and their figures are the analyzer's own. Only the temperatures come from `answers.py` instead of
stores. A test compares these answers with those of the command.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from analyzer import __version__
from analyzer.cli.commands.fit import documents
from analyzer.errors import FitError
from analyzer.fitting.many import fit_groups
from analyzer.fitting.models import model_of
from analyzer.plots import fit as plots
from analyzer.plots.style import drawing
from analyzer.quantities.fits.fit import HALF_PHASE, SYMBOLS, SweepFit
from analyzer.quantities.fits.tables import alternatives_of, fits_table, hypotheses, per_run
from analyzer.tables.fits import frame_of

from .answers import Content, answered, read
from .asked import Asked, asked_fits
from .place import write_json
from .plan import Branch, Scale, sweeps
from .stayed import stayed

LEVEL = 0.95


def fits_of_answers(scale: Scale, into: Path, training: dict[str, Any] | None) -> None:
    """Make all fits that the finished branches of a model allow, with their figures.

    Parameters
    ----------
    training
        The account of the network that the branches begin from.
    """
    for optimizer in ("sgd", "adam"):
        runs = answered(into, sweeps(scale, optimizer))
        known = {run: read(into, run) for run in runs}
        accounts = [content["account"] for content in known.values()]
        for asked in asked_fits(scale, optimizer, runs, stayed(runs, accounts, training)):
            _write(asked, [known[run] for run in asked.runs], into, f"{optimizer}-{asked.name}")


def _write(asked: Asked, contents: Sequence[Content], into: Path, name: str) -> None:
    try:
        answer, found = fitted(asked, contents)
    except FitError as error:
        write_json(into / f"{name}.json", {"refused": str(error)})
        return
    content = documents(answer, [frame_of(answer)], "")
    (into / f"{name}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")
    if asked.drawn:
        (into / "figures").mkdir(parents=True, exist_ok=True)
        with drawing():
            figure = plots.by_lag(answer) if found is None else plots.fits([found])
            figure.savefig(into / "figures" / f"{name}.png", dpi=160)


def fitted(asked: Asked, contents: Sequence[Content]) -> tuple[xr.Dataset, SweepFit | None]:
    """The answer of a fit of branches; also the fit itself if it has a single lag."""
    if len(asked.lags) < 2:
        found = _at_lag(asked, contents, *(asked.lags or ("1",)))
        return found.answer, found
    labels = [label for label in asked.lags if all(label in content["lags"] for content in contents)]
    if "epoch" in labels and all(_is_whole(content["lags"][HALF_PHASE]) for content in contents):
        labels.insert(labels.index("epoch") + 1, HALF_PHASE)
    parts = [_at_lag(asked, contents, label).answer for label in labels]
    joined = xr.concat(parts, dim="lag", data_vars="all", coords="minimal", compat="override", combine_attrs="override")
    steps = [[content["lags"][label]["steps_per_lag"] for content in contents] for label in labels]
    lags = np.array(labels, dtype=object)
    return joined.assign_coords(lag=("lag", lags), steps_per_lag=(("lag", "run"), np.array(steps))), None


def _is_whole(lag: dict[str, Any]) -> bool:
    return None not in lag["temperature"]


def _at_lag(asked: Asked, contents: Sequence[Content], label: str) -> SweepFit:
    """The fit at one lag, as `analyzer.quantities.fits.fit.fit` makes it of stores."""
    accounts = [content["account"] for content in contents]
    runs = [
        Branch(*(one[name] for name in ("optimizer", "learning_rate", "batch_size", "seed"))).name for one in accounts
    ]
    values, within = (_table(contents, label, name) for name in ("temperature", "standard_error"))
    x = np.array([[_hyperparameter(one, name) for name in asked.against] for one in accounts])
    model = model_of(asked.model)
    used = np.isfinite(values) & (values > 0)
    known = within if (np.isfinite(within) | ~used).all() else None
    common: dict[str, Any] = {
        "seed": np.array([one["seed"] for one in accounts]),
        "finished": np.ones(len(runs), bool),
        "names": list(asked.against),
        "runs": runs,
        "intervals": "auto",
        "level": LEVEL,
    }
    found = fit_groups(model, x, values, within=known, **common)
    layers = contents[0]["layers"]
    measured = xr.Dataset(coords={"group": layers, "layer": ("group", layers), "run": runs})
    answer = fits_table(measured, found, model.coefficients, [SYMBOLS.get(name, name) for name in asked.against])
    answer = answer.assign(per_run(found, values, within)).assign(hypotheses(found, model.name))
    if asked.compare:
        models = list(dict.fromkeys([model.name, *asked.compare]))
        answer = answer.assign(alternatives_of(models, x, values, known, common)).assign_coords(alternative=models)
    return SweepFit(answer.assign_attrs(_attributes(asked, contents, model.equation, bool(asked.lags))), found, x)


def _attributes(asked: Asked, contents: Sequence[Content], equation: str, of_lag: bool) -> dict[str, Any]:
    return {
        "quantity": "fit",
        "model": asked.model,
        "equation": equation,
        "against": json.dumps(asked.against),
        "level": LEVEL,
        "convention": contents[0]["convention"],
        "units": f"weight^2 {'lag' if of_lag else 'step'}^-2",
        "by": "layer",
        "thermotrace_version": __version__,
    }


def _hyperparameter(account: dict[str, Any], name: str) -> float:
    return 1 / account["batch_size"] if name == "inverse_batch_size" else float(account[name])


def _table(contents: Sequence[Content], label: str, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(layers, runs), NaN where a number is missing."""
    rows = [[np.nan if value is None else value for value in content["lags"][label][name]] for content in contents]
    return np.array(rows, np.float64).T
