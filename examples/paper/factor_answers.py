"""Answers for FACTORS.md, from the runs that `examples.paper.factors` records: shares, factors, signals, figures."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import analyzer
from analyzer.plots.factors import factors as draw

from .dense import KINDS, Inputs, Model
from .place import read_json, write_json
from .plan import BATCH, RATE
from .signals import Moments, moments

Array = np.ndarray[Any, np.dtype[Any]]
GRAPHS = 10_000
"""Graphs that error signals and activities are measured on: the first of the training set."""
NONE = "–"
_SHARES = ("separable_share", "separable_share_low", "separable_share_high", "separable_share_unreliable",
           "separable_share_adjusted", "measured_share", "chance_share", "sampling_error", "left_rms",
           "matrix_rows", "matrix_columns", "weights_at_rest", "rows_at_rest", "columns_at_rest", "weights_near_floor",
           "separable_reason")  # fmt: skip


def of_runs(stores: Sequence[Path], model: Model, data: Inputs, tell: Callable[[str], None]) -> dict[str, Any]:
    """The answers for each matrix, from runs of one network and optimizer that differ in their seed.

    Parameters
    ----------
    model
        Of the runs' kind; its weights are overwritten.
    data
        Graphs to measure error signals on, for plain SGD.
    """
    answers = []
    for store in stores:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Adam's rate differs from that of the training before it
            answers.append(analyzer.open_run(str(store)).thermo.factors())
        tell(f"{store.name}: factors")
    matrices: dict[str, Any] = {}
    for name in map(str, answers[0]["tested"].values):
        seeds = [{key: one.sel(tested=name)[key].item() for key in _SHARES} for one in answers]
        matrices[name] = {"seeds": [_plain(seed) for seed in seeds]}
        if not seeds[0]["separable_reason"]:
            matrices[name] |= _of_factors(answers, name)
    run = analyzer.open_run(str(stores[0]))
    told: dict[str, Any] = {"hyperparameters": dict(run.attrs["hyperparameters"]), "matrices": matrices}
    told["steps"] = int(answers[0].attrs["stop_step"]) - int(answers[0].attrs["start_step"])
    if told["hyperparameters"]["optimizer"] == "sgd":
        frame = run.sizes["step"] // 2
        for parameter, weight in model.named_parameters():
            values = run.thermo.parameter(parameter).isel(step=frame).values
            weight.data.copy_(torch.from_numpy(np.array(values)))
        found = moments(model, data.take(slice(0, GRAPHS)))
        tell(f"{stores[0].name}: signals")
        for name, matrix in matrices.items():
            if "row_span" in matrix:
                matrix["signals"] = of_signals(answers[0], name, found[name])
    return told


def _plain(seed: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if value != value else value for key, value in seed.items()}


def _of_factors(answers: Sequence[xr.Dataset], name: str) -> dict[str, Any]:
    """Spans of the factors, the part of rows in the variance explained, and how well the first two seeds agree."""
    told: dict[str, Any] = {}
    logs = {kind: [_log(one, name, kind) for one in answers] for kind in ("row", "column")}
    for kind, one in logs.items():
        alive = one[0][np.isfinite(one[0])]
        told[f"{kind}_span"] = float(np.exp(np.ptp(alive)))
        told |= _agreement(kind, one)
    told |= _agreement("left", [_log_left(one, name) for one in answers])
    rows, columns = (np.nanvar(np.where(np.isfinite(one[0]), one[0], np.nan)) for one in logs.values())
    return told | {"of_rows": float(rows / (rows + columns))}


def _agreement(what: str, logs: Sequence[Array]) -> dict[str, float]:
    if len(logs) < 2:
        return {}
    both = np.isfinite(logs[0]) & np.isfinite(logs[1])
    return {f"{what}_correlation_of_seeds": float(np.corrcoef(logs[0][both], logs[1][both])[0, 1])}


def _log_left(answer: xr.Dataset, name: str) -> Array:
    """The logarithm of what rows and columns leave of each element's ⟨v²⟩."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(answer["element_ratio"].values[answer["element_of"].values == name]))


def _log(answer: xr.Dataset, name: str, kind: str) -> Array:
    factors: Array = answer[f"{kind}_factor"].values[answer[f"{kind}_of"].values == name]
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(factors))


def squares_of(answer: xr.Dataset, name: str) -> Array:
    """⟨v²⟩ of every element of a matrix (rows, columns), from its factors and what is left; NaN or 0 at rest."""
    row, column = (np.exp(_log(answer, name, kind)) for kind in ("row", "column"))
    ratio = answer["element_ratio"].values[answer["element_of"].values == name].reshape(row.size, column.size)
    scale = float(answer["factor_scale"].sel(tested=name))
    return np.asarray(ratio * scale * row[:, np.newaxis] * column)


def of_signals(answer: xr.Dataset, name: str, found: Moments) -> dict[str, Any]:
    """How well ⟨v²⟩ of a matrix is predicted from gradients at fixed weights, and from error signals times activities.

    Only the prediction from signals times activities has a fitted number: one for the whole matrix.
    """
    squares = squares_of(answer, name)
    foretold = found.squared_velocity(RATE, BATCH)
    product = found.squared_signal[:, np.newaxis] * found.squared_activity
    kept = (squares > 0) & (foretold > 0) & (product > 0)
    told: dict[str, Any] = {"weights": int(kept.sum()), "gradient_share": _share(squares, foretold, kept)}
    told["gradient_ratio"] = float(np.exp(np.log(squares[kept] / foretold[kept]).mean()))
    told["product_share"] = _share(squares, product, kept)
    for kind, signal in (("row", found.squared_signal), ("column", found.squared_activity)):
        log = _log(answer, name, kind)
        alive = np.isfinite(log) & (signal > 0)
        expected = np.log(signal[alive])
        told[f"{kind}_correlation"] = float(np.corrcoef(log[alive], expected)[0, 1])
        told[f"{kind}_slope"] = float(np.polyfit(expected, log[alive], 1)[0])
    return told


def _share(squares: Array, foretold: Array, kept: Array) -> float:
    """Share of the variance of ln⟨v²⟩ that a prediction explains, up to one factor for all elements."""
    log = np.log(squares[kept])
    miss = log - np.log(foretold[kept])
    return float(1 - miss.var() / log.var())


def save(told: Mapping[str, Any], store: Path, folder: Path, name: str) -> None:
    """Write the answers as JSON and, for plain SGD, the figure of the first run. Most have no share under Adam."""
    write_json(folder / f"{name}.json", told)
    if told["hyperparameters"]["optimizer"] != "sgd":
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = draw(analyzer.open_run(str(store)).thermo.factors())
    if figure is not None:
        (folder / "figures").mkdir(exist_ok=True)
        figure.savefig(folder / "figures" / f"{name}.png", dpi=70)


def read(folder: Path) -> dict[str, Any]:
    """The answers that `save` wrote to a folder, by name of network and optimizer."""
    order = {kind: n for n, kind in enumerate(KINDS)}
    files = sorted(folder.glob("*-*.json"), key=lambda file: (order[file.stem.partition("-")[0]], file.stem))
    return {file.stem: read_json(file) for file in files}


def tables(told: Mapping[str, Mapping[str, Any]]) -> str:
    """The tables of FACTORS.md, from answers by name of network and optimizer, as in "gcn-sgd"."""
    return _shares(told) + "\n" + _signals(told)


def _shares(told: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        "| matrix | rows × columns | by chance, % | SGD: explained, % | all seeds | left | at rest "
        "| Adam: explained, % | all seeds | left |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in dict.fromkeys(name.partition("-")[0] for name in told):
        sgd, adam = (told.get(f"{kind}-{optimizer}", {}).get("matrices", {}) for optimizer in ("sgd", "adam"))
        for name in sgd or adam:
            own = (sgd or adam)[name]["seeds"][0]
            if min(own["matrix_rows"], own["matrix_columns"]) < 2:
                continue
            cells = [_title(kind, name), f"{own['matrix_rows']} × {own['matrix_columns']}"]
            expected = NONE if own["chance_share"] is None else f"{100 * own['chance_share']:.1f}"
            cells += [expected, *_cells(sgd.get(name)), _rest(own), *_cells(adam.get(name))]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _signals(told: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        "| matrix | foretold from gradients, % | ⟨v²⟩ ÷ foretold | foretold from δ² × a², % | fitted, % "
        "| rows: r, slope | columns: r, slope |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, content in told.items():
        kind = key.partition("-")[0]
        for name, one in content["matrices"].items():
            if "signals" not in one:
                continue
            own, fitted = one["signals"], one["seeds"][0]["separable_share"]
            shares = (own["gradient_share"], own["product_share"], fitted)
            gradient, product, fit = (f"{100 * share:.1f}" for share in shares)
            cells = [_title(kind, name), gradient, f"{own['gradient_ratio']:.2f}", product, fit]
            cells += [f"{own[f'{k}_correlation']:.3f}, {own[f'{k}_slope']:.2f}" for k in ("row", "column")]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _title(kind: str, name: str) -> str:
    return f"{kind.upper()} {name.removesuffix('.weight').removesuffix('.lin')}"


def _cells(one: Mapping[str, Any] | None) -> list[str]:
    """Share with its interval, the least and the largest share of several seeds, and what is left as a factor."""
    own: Mapping[str, Any] = {"separable_share": None} if one is None else one["seeds"][0]
    if one is None or own["separable_share"] is None:
        return [NONE, NONE, NONE]
    share, low, high = (100 * own[f"separable_share{end}"] for end in ("", "_low", "_high"))
    loose = " *" if own["separable_share_unreliable"] else ""
    others = [100 * seed["separable_share"] for seed in one["seeds"] if seed["separable_share"] is not None]
    spread = f"{min(others):.1f} to {max(others):.1f}" if len(others) > 1 else NONE
    return [f"{share:.1f} ({low:.1f} to {high:.1f}){loose}", spread, f"× {np.exp(own['left_rms']):.2f}"]


def _rest(own: Mapping[str, Any]) -> str:
    if not own["weights_at_rest"]:
        return NONE
    counts = {kind: own[f"{kind}s_at_rest"] for kind in ("row", "column")}
    whole = [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count]
    return ", ".join([*whole, f"{own['weights_at_rest']:,} weights"])
