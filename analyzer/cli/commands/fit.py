"""`analyzer fit`: temperatures of a sweep against its hyperparameters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.options import (
    LAGS,
    Bound,
    Choice,
    epoch_options,
    execution_options,
    output_options,
    refuse_cluster,
    selection_options,
)
from analyzer.cli.query import cache_of
from analyzer.cli.text import printable

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

_MODELS = ("power", "parabola", "square", "stiff", "linear", "proportional", "inverse_power", "joint")
_MOST_NAMED = 4
"""Most groups that a note names."""


@click.command()
@click.argument("stores", nargs=-1, required=True)
@click.option(
    "--against",
    multiple=True,
    default=("learning_rate",),
    show_default=True,
    metavar="NAME",
    help="learning_rate, batch_size, inverse_batch_size or any recorded hyperparameter; twice for joint.",
)
@click.option("--model", type=click.Choice(_MODELS), default="power", show_default=True, help="Curve that is fitted.")
@click.option("--compare", multiple=True, type=click.Choice(_MODELS), help="Also compare with this model. Repeatable.")
@click.option(
    "--by", default="layer", show_default=True, metavar="GROUP", help="Groups, as for `analyzer temperature`."
)
@click.option(
    "--where", type=Choice(), multiple=True, help="Only runs with this value, as in batch_size=16. Repeatable."
)
@click.option(
    "--pool",
    multiple=True,
    metavar="NAME",
    help="Another hyperparameter that may vary within a fit; default: one fit for each of its values. Repeatable.",
)
@click.option(
    "--start",
    type=Bound(auto=True),
    help="First frame of every run; auto: where each is in equilibrium; default: its first.",
)
@click.option("--stop", type=Bound(), help="Last frame of every run; default: its last.")
@LAGS
@epoch_options
@selection_options
@click.option("--intervals", type=click.Choice(["auto", "per-seed", "pooled", "weighted"]), default="auto",
              show_default=True, help="How intervals are estimated.")  # fmt: skip
@click.option("--unfinished", is_flag=True, help="Use runs that were interrupted or still go on.")
@output_options
@execution_options
def fit(stores: tuple[str, ...], **options: Any) -> None:
    """Fit the temperatures of the runs in STORES (paths, or one quoted pattern) against a hyperparameter.

    \b
    analyzer fit 'runs/*.zarr' --against learning_rate --model power --by layer
    analyzer fit 'runs/*.zarr' --against batch_size --model inverse_power --plot batch.pdf
    analyzer fit 'runs/*.zarr' --against learning_rate --against batch_size --model joint
    analyzer fit 'runs/*.zarr' --against learning_rate --where batch_size=16 --start auto
    analyzer fit 'runs/*.zarr' --lag 1,3,10,30,epoch --plot exponents.png
    """
    from analyzer.cli.answer import Shape, check_output, give
    from analyzer.cli.execution import memory_limit_of, scheduled
    from analyzer.quantities.fits.fit import Curve, fit_of
    from analyzer.run import open_sweep

    check_output(options)
    sweep = open_sweep(stores[0] if len(stores) == 1 else stores)
    refuse_cluster(options["scheduler"], "A fit")
    asked: dict[str, Any] = {
        **{name: options[name] for name in ("by", "start", "stop", "lag", "steps_per_epoch", "unequal_epochs")},
        **{name: options[name] or None for name in ("parameter", "layer", "exclude")},
        "frozen": options["frozen"],
        "memory_limit": memory_limit_of(options),
        "cache": cache_of(options),
    }
    own = {name: options[name] for name in ("against", "model", "intervals", "unfinished", "pool")}
    own["where"] = _choices(options["where"])
    with scheduled(options):
        answer, found = fit_of(sweep, Curve(**own, alternatives=options["compare"]), **asked)

    def draw() -> Figure:
        from analyzer.plots import fit as plots

        return plots.fits(found) if found else plots.by_lag(answer)

    give(options, answer, Shape(partial(_table, wide=options["wide"]), documents), draw=draw)


def _choices(given: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The allowed values by hyperparameter: all that the options name."""
    found: dict[str, list[Any]] = {}
    for name, value in given:
        found.setdefault(name, []).append(value)
    return dict(found)


def _table(answer: xr.Dataset, frame: pd.DataFrame, wide: bool) -> str:
    """Coefficients as a table, and remarks on each fit, for each lag if there are several."""
    from analyzer.cli.columns import columns_of
    from analyzer.cli.table import fewer_of, table_text
    from analyzer.tables.fits import held_parts

    shown = frame.drop(columns=["without_low", "without_high", "between_seed", "intervals"])
    if not shown["left_out"].any():
        shown = shown.drop(columns="left_out")
    if "lag" in answer.dims and "held" not in answer.dims:
        shown = shown.drop(columns=["scatter", "r_squared", "aicc"])
    shown, said = columns_of(shown, wide)
    said += fewer_of(answer, len(shown))
    if "held" in answer.dims:
        lines = []
        for one, label in zip(held_parts(answer), answer["held"].values, strict=True):
            lines += [f"{label}: {line}" if line else "" for line in _remarks_of_all(one)]
        return "\n".join([table_text(shown), "", *map(printable, dict.fromkeys(lines)), *said]) + "\n"
    if "lag" not in answer.dims:
        return "\n".join([table_text(shown), "", *map(printable, _remarks(answer)), *said]) + "\n"
    remarks = [(str(at["lag"].item()), _remarks(at)) for at in _lags(answer)]
    lines = [printable(f"lag {lag}: {line}") for lag, (*before, _) in remarks for line in before if line]
    return "\n".join([table_text(shown), "", *lines, "", remarks[0][1][-1], *said]) + "\n"


def _remarks_of_all(answer: xr.Dataset) -> list[str]:
    """Lines on the fits at one held value, at every lag."""
    if "lag" not in answer.dims:
        return _remarks(answer)
    return [f"lag {at['lag'].item()}: {line}" for at in _lags(answer) for line in _remarks(at) if line]


def _lags(answer: xr.Dataset) -> list[xr.Dataset]:
    return [answer.isel(lag=n) for n in range(answer.sizes["lag"])]


def documents(answer: xr.Dataset, frames: Iterable[pd.DataFrame], store: str) -> dict[str, Any]:
    """The object of json; with several lags, an object for each, by lag. A sweep has several stores: none is named."""
    from analyzer.tables.fits import frame_of, held_parts

    (frame,) = frames
    if "held" in answer.dims:
        of_each = zip(answer["held"].values, held_parts(answer), strict=True)
        return {"quantity": "fit", "held": {str(label): documents(one, [frame_of(one)], "") for label, one in of_each}}
    if "lag" not in answer.dims:
        return _document(answer, frame)
    lags = {}
    for at in _lags(answer):
        part = frame[frame["lag"] == at["lag"].item()].drop(columns="lag")
        lags[str(at["lag"].item())] = _document(at, part) | {"steps_per_lag": at["steps_per_lag"].values.tolist()}
    return {"quantity": "fit", "lags": lags}


def _remarks(answer: xr.Dataset) -> list[str]:
    """Lines on each fit: equation, p-values, compared models; then notes on the intervals, and units."""
    from analyzer.query.groups import titles_of

    lines = []
    for n, name in enumerate(titles_of(answer["group"].values)):
        words = [str(answer["equation"].values[n]) or "not fitted"]
        if "p_value" in answer:
            tests = zip(answer["hypothesis"].values, answer["p_value"].values[n], strict=True)
            words.append(", ".join(f"p({name}) = {value:.2g}" for name, value in tests))
        if "delta_aicc" in answer:
            compared = zip(answer["alternative"].values, answer["delta_aicc"].values[n], strict=True)
            words.append("ΔAICc " + ", ".join(f"{name} {value:.1f}" for name, value in compared))
        lines.append(f"{name}: {'; '.join(words)}")
    notes: dict[str, list[str]] = {}
    for name, note in zip(titles_of(answer["group"].values), answer["notes"].values, strict=True):
        if note:
            notes.setdefault(str(note), []).append(name)
    lines += ["", *(_of_groups(names, note, len(lines)) for note, names in notes.items())] if notes else []
    attrs = answer.attrs
    against = " and ".join(json.loads(attrs["against"])) + (f", {attrs['held']}" if "held" in attrs else "")
    return [*lines, "", f"fit of temperature in {attrs['units']} against {against}, {attrs['level']:.0%} intervals, "
            f"convention {attrs['convention']}"]  # fmt: skip


def _of_groups(names: list[str], note: str, groups: int) -> str:
    """A note after the names of its groups; without names if it holds for all."""
    if len(names) == groups:
        return note
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}: {note}"


def _document(answer: xr.Dataset, frame: pd.DataFrame) -> dict[str, Any]:
    """The object of json, at one lag."""
    from analyzer.cli.records import plain, records_of
    from analyzer.query.groups import titles_of

    groups = titles_of(answer["group"].values)

    def table(name: str, axis: str) -> dict[str, Any]:
        if name not in answer:
            return {}
        return {
            group: {str(k): plain(v) for k, v in zip(answer[axis].values, row, strict=True)}
            for group, row in zip(groups, answer[name].values, strict=True)
        }

    points = [
        {
            "group": group,
            "run": str(run),
            **{name: plain(float(answer[name].values[n, m])) for name in
               ("temperature", "within", "fitted", "residual", "leverage")},
        }
        for n, group in enumerate(groups)
        for m, run in enumerate(answer["run"].values)
    ]  # fmt: skip
    return {
        "quantity": "fit",
        "attrs": {name: value for name, value in answer.attrs.items() if name != "quantity"},
        "records": records_of(frame),
        "equations": dict(zip(groups, map(str, answer["equation"].values), strict=True)),
        "notes": dict(zip(groups, map(str, answer["notes"].values), strict=True)),
        "p_values": table("p_value", "hypothesis"),
        "delta_aicc": table("delta_aicc", "alternative"),
        "points": points,
    }
