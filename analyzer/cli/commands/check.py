"""`analyzer check`: measured numbers of a run beside the values that physics predicts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.argument import over_stores
from analyzer.cli.options import WIDE, execution_options, file_options, sample_options, series_options
from analyzer.cli.text import printable

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

FAMILIES = ("norm", "equipartition", "normality", "adam", "floor", "correlation")
_WIDTH = 100
_MOST_ROWS = 40
"""Most rows of one check in a table; other formats have all."""


@click.command()
@over_stores
@partial(series_options, auto=True)
@click.option("--only", type=click.Choice(FAMILIES), multiple=True, help="Only this check. Repeatable.")
@partial(sample_options, weights=64, steps=4096)
@click.option(
    "--significance", type=float, default=0.05, show_default=True, help="p-value below which an expectation fails."
)
@WIDE
@file_options
@execution_options
def check(
    only: tuple[str, ...],
    wide: bool,
    sample_weights: int,
    sample_steps: int,
    seed: int,
    significance: float,
    **options: Any,
) -> None:
    """Physical checks of the run in STORE: norm drift, equipartition, normality of velocities, T/η² against Adam's
    range, temperatures against rounding, correlation of temperatures.

    A check has a verdict only where its expectation is valid. Verdicts do not change the exit code: this is a
    measurement.

    \b
    analyzer check runs/gcn.zarr
    analyzer check runs/gcn.zarr --start auto --only adam --only floor
    analyzer check runs/gcn.zarr --by parameter --format csv --output checks.csv
    """
    from analyzer.cli.answer import Shape, asked, give
    from analyzer.cli.execution import computing
    from analyzer.engine.sample import Sample
    from analyzer.quantities.checks.check import check_of

    run, query = asked(options)
    sample = Sample(sample_weights, sample_steps, seed)
    with computing(options):
        answer, _ = check_of(run, query, only=only or None, sample=sample, significance=significance)
    give(options, answer, Shape(partial(_table, wide=wide)))


def _table(answer: xr.Dataset, frame: pd.DataFrame, wide: bool) -> str:
    parts, silent = [], dict[str, list[str]]()
    for name, some in frame.groupby("check", sort=False):
        reasons = set(some["note"])
        if some["measured"].isna().all() and len(reasons) == 1:
            silent.setdefault(reasons.pop(), []).append(str(name).replace("_", " "))
        else:
            parts.append(_section(str(name), some, wide))
    if silent:
        parts.append("\n".join(f"Not measured, {', '.join(names)}: {printable(why)}" for why, names in silent.items()))
    return "\n\n".join([*parts, _footer(answer.attrs)]) + "\n"


def _section(name: str, frame: pd.DataFrame, wide: bool) -> str:
    """One check as a table under its title. What all rows share is said once above it; empty columns are left out."""
    from analyzer.cli.columns import with_short_names
    from analyzer.cli.table import table_text
    from analyzer.quantities.checks.findings import TITLES

    left = len(frame) - _MOST_ROWS
    table = frame.head(_MOST_ROWS)
    notes = list(table["note"])
    said = notes[0] if len(set(notes)) == 1 else _shared([note.partition("; ")[2] for note in notes])
    notes = [note.removesuffix(said).removesuffix("; ") for note in notes]
    ends = zip(table["expected_low"], table["expected_high"], strict=True)
    expected = [_expected(low, high) for low, high in ends]
    heading = [TITLES[name]]
    if expected[0] and len(set(expected)) == 1:
        said, expected = f"expected {expected[0]}" + (f"; {said}" if said else ""), [""] * len(expected)
    if said:
        heading.append(printable(said[0].upper() + said[1:]))
    if table["measured"].isna().all() and not any(notes):
        return "\n".join(heading)
    shown = table[["group", "measured"]].assign(
        error=table["standard_error"], expected=expected, p=table["p_value"], verdict=table["verdict"], note=notes
    )
    empty = [c for c in shown if c not in ("group", "measured") and (shown[c].isna() | (shown[c] == "")).all()]
    shown = shown.drop(columns=empty)
    shown, whole = (shown, True) if wide else with_short_names(shown, _WIDTH)
    lines = [*heading, table_text(shown, wide=_WIDTH)]
    lines += [f" … and {left:,} more: --format csv"] if left > 0 else []
    return "\n".join(lines if whole else [*lines, "--wide adds: whole names"])


def _shared(texts: list[str]) -> str:
    return texts[0] if len(set(texts)) == 1 else ""


def _expected(low: float, high: float) -> str:
    if low != low:
        return ""
    if low == high:
        return f"{low:.4g}"
    return f"> {low:.4g}" if high == float("inf") else f"{low:.3g} to {high:.3g}"


def _footer(attrs: dict[str, Any]) -> str:
    rate = f", learning rate {attrs['learning_rate']:.4g}" if "learning_rate" in attrs else ""
    return (
        f"checks by {attrs['by']}, steps {attrs['start_step']} to {attrs['stop_step']}, "
        f"optimizer {printable(attrs['optimizer']) or 'not recorded'}{rate};\n"
        f"errors are standard errors; verdicts at p < {attrs['significance']:g}, at which "
        f"{100 * attrs['significance']:g} in 100 true expectations fail by chance"
    )
