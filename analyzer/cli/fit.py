"""`analyzer fit`: temperatures of a sweep against its hyperparameters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.options import LAGS, Bound, execution_options, output_options
from analyzer.cli.text import printable

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_MODELS = ("power", "parabola", "square", "stiff", "linear", "proportional", "inverse_power", "joint")
_PER_GROUP = ("runs", "left_out", "scatter", "between_seed", "r_squared", "aicc", "intervals")


@click.command(short_help="Temperatures of a sweep, fitted against a hyperparameter.")
@click.argument("stores", nargs=-1, required=True)
@click.option(
    "--against",
    multiple=True,
    default=("learning_rate",),
    show_default=True,
    metavar="NAME",
    help="learning_rate, batch_size, inverse_batch_size or any recorded hyperparameter; twice for joint.",
)
@click.option("--model", type=click.Choice(_MODELS), default="power", show_default=True, help="The curve.")
@click.option("--compare", multiple=True, type=click.Choice(_MODELS), help="Also compare with this model. Repeatable.")
@click.option(
    "--by", default="layer", show_default=True, metavar="GROUP", help="Groups, as for `analyzer temperature`."
)
@click.option("--start", type=Bound(), help="First frame of every run; default: its first.")
@click.option("--stop", type=Bound(), help="Last frame of every run; default: its last.")
@LAGS
@click.option("--parameter", multiple=True, metavar="GLOB", help="Only parameters with such names. Repeatable.")
@click.option("--layer", multiple=True, metavar="GLOB", help="Only such layers. Repeatable.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave parameters out, of d too. Repeatable.")
@click.option("--intervals", type=click.Choice(["auto", "per-seed", "pooled", "weighted"]), default="auto",
              show_default=True, help="Where intervals come from.")  # fmt: skip
@click.option("--unfinished", is_flag=True, help="Use runs that were interrupted or still go on.")
@output_options
@execution_options
def fit(stores: tuple[str, ...], **options: Any) -> None:
    """Fit the temperatures of the runs in STORES (paths, or one quoted pattern) against a hyperparameter.

    \b
    analyzer fit 'runs/*.zarr' --against learning_rate --model power --by layer
    analyzer fit 'runs/*.zarr' --against batch_size --model inverse_power --plot batch.pdf
    analyzer fit 'runs/*.zarr' --against learning_rate --against batch_size --model joint
    analyzer fit 'runs/*.zarr' --lag 1,3,10,30,epoch --plot exponents.png
    """
    import dask

    from analyzer.cli import execution, show
    from analyzer.cli.query import cache_of
    from analyzer.run import open_sweep
    from analyzer.sweep_fits import fit_by_lag, fit_sweep

    form = show.form_of(options["format_"], options["output"])
    sweep = open_sweep(stores[0] if len(stores) == 1 else stores)
    if options["scheduler"] not in ("threads", "processes"):
        raise click.UsageError(
            f"--scheduler: expected threads or processes, got {options['scheduler']}. A fit reads many small answers. "
            "Leave it out."
        )
    asked: dict[str, Any] = {
        **{name: options[name] for name in ("against", "model", "by", "intervals", "unfinished", "start", "stop")},
        **{name: options[name] or None for name in ("parameter", "layer", "exclude")},
        "alternatives": options["compare"],
        "lag": options["lag"],
        "memory_limit": options["memory_limit"] or execution.free_memory(),
        "cache": cache_of(options),
    }
    found = None
    with dask.config.set(scheduler=options["scheduler"], num_workers=execution.workers_of(options["workers"])):
        if isinstance(options["lag"], tuple):
            answer = fit_by_lag(sweep, **asked)
        else:
            found = fit_sweep(sweep, **asked)
            answer = found.answer
    show.put(answer, form, options["output"], lambda: frame_of(answer), lambda: _text(answer, form))
    if options["plot"]:
        from analyzer import fit_plots

        show.save_picture(fit_plots.fits(found) if found else fit_plots.by_lag(answer), options["plot"])


def frame_of(answer: xr.Dataset) -> pd.DataFrame:
    """One row for each lag, group and coefficient."""
    import pandas as pd

    if "lag" in answer.dims:
        parts = [frame_of(answer.isel(lag=n, drop=True)) for n in range(answer.sizes["lag"])]
        for part, label in zip(parts, answer["lag"].values, strict=True):
            part.insert(0, "lag", label)
        return pd.concat(parts, ignore_index=True)
    rows = []
    identity = [name for name, coord in answer.coords.items() if coord.dims == ("group",) and name != "group"]
    for n, group in enumerate(answer["group"].values):
        who = {str(name): answer[name].values[n] for name in identity} or {"group": str(group) or "model"}
        whole = {name: answer[name].values[n] for name in _PER_GROUP}
        for m, coefficient in enumerate(answer["coefficient"].values):
            names = ("value", "standard_error", "low", "high", "without_low", "without_high")
            rows.append(who | {"coefficient": str(coefficient)} | {k: answer[k].values[n, m] for k in names} | whole)
    return pd.DataFrame(rows)


def _text(answer: xr.Dataset, form: str) -> str:
    from analyzer.cli import show

    frame = frame_of(answer)
    if form == "csv":
        return str(frame.to_csv(index=False))
    if form == "json":
        return json.dumps(_documents(answer, frame), indent=1, allow_nan=False) + "\n"
    shown = frame.drop(columns=["without_low", "without_high", "between_seed", "intervals"])
    if not shown["left_out"].any():
        shown = shown.drop(columns="left_out")
    if "lag" not in answer.dims:
        return "\n".join([show.table_text(shown), "", *map(printable, _remarks(answer))]) + "\n"
    shown = shown.drop(columns=["scatter", "r_squared", "aicc"])
    remarks = [(str(at["lag"].item()), _remarks(at)) for at in _lags(answer)]
    lines = [printable(f"lag {lag}: {line}") for lag, (*before, _) in remarks for line in before if line]
    return "\n".join([show.table_text(shown), "", *lines, "", remarks[0][1][-1]]) + "\n"


def _lags(answer: xr.Dataset) -> list[xr.Dataset]:
    return [answer.isel(lag=n) for n in range(answer.sizes["lag"])]


def _documents(answer: xr.Dataset, frame: pd.DataFrame) -> dict[str, Any]:
    """The object that `--format json` prints; of several lags, one for each under its name."""
    if "lag" not in answer.dims:
        return _document(answer, frame)
    lags = {}
    for at in _lags(answer):
        part = frame[frame["lag"] == at["lag"].item()].drop(columns="lag")
        lags[str(at["lag"].item())] = _document(at, part) | {"steps_per_lag": at["steps_per_lag"].values.tolist()}
    return {"quantity": "fit", "lags": lags}


def _remarks(answer: xr.Dataset) -> list[str]:
    """Equations, hypotheses, compared models and what the reader must know of the intervals."""
    lines = []
    for n, group in enumerate(answer["group"].values):
        words = [str(answer["equation"].values[n]) or "not fitted"]
        if "p_value" in answer:
            tests = zip(answer["hypothesis"].values, answer["p_value"].values[n], strict=True)
            words.append(", ".join(f"p({name}) = {value:.2g}" for name, value in tests))
        if "delta_aicc" in answer:
            compared = zip(answer["alternative"].values, answer["delta_aicc"].values[n], strict=True)
            words.append("ΔAICc " + ", ".join(f"{name} {value:.1f}" for name, value in compared))
        lines.append(f"{str(group) or 'model'}: {'; '.join(words)}")
    notes = dict.fromkeys(str(note) for note in answer["notes"].values if note)
    lines += ["", *notes] if notes else []
    attrs = answer.attrs
    against = " and ".join(json.loads(attrs["against"]))
    return [*lines, "", f"fit of temperature in {attrs['units']} against {against}, {attrs['level']:.0%} intervals, "
            f"convention {attrs['convention']}"]  # fmt: skip


def _document(answer: xr.Dataset, frame: pd.DataFrame) -> dict[str, Any]:
    """The object that `--format json` prints."""
    from analyzer.cli.show import plain

    def table(name: str, axis: str) -> dict[str, Any]:
        if name not in answer:
            return {}
        return {
            str(group) or "model": {str(k): plain(v) for k, v in zip(answer[axis].values, row, strict=True)}
            for group, row in zip(answer["group"].values, answer[name].values, strict=True)
        }

    points = [
        {
            "group": str(group) or "model",
            "run": str(run),
            **{name: plain(float(answer[name].values[n, m])) for name in
               ("temperature", "within", "fitted", "residual", "leverage")},
        }
        for n, group in enumerate(answer["group"].values)
        for m, run in enumerate(answer["run"].values)
    ]  # fmt: skip
    groups = [str(group) or "model" for group in answer["group"].values]
    return {
        "quantity": "fit",
        "attrs": {name: value for name, value in answer.attrs.items() if name != "quantity"},
        "records": [{name: plain(value) for name, value in row.items()} for row in frame.to_dict("records")],
        "equations": dict(zip(groups, map(str, answer["equation"].values), strict=True)),
        "notes": dict(zip(groups, map(str, answer["notes"].values), strict=True)),
        "p_values": table("p_value", "hypothesis"),
        "delta_aicc": table("delta_aicc", "alternative"),
        "points": points,
    }
