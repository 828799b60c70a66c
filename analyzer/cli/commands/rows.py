"""`analyzer rows`: the rows of every parameter from hot to cold, whether they differ, and masks of rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.argument import over_stores
from analyzer.cli.options import UserPath, execution_options, output_options, range_options
from analyzer.cli.text import printable, say
from analyzer.query.kinds import COMPARED

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

_HOTTEST, _COLDEST = 5, 3
"""Rows of a long parameter that a table on stdout shows."""


@click.command()
@over_stores
@click.option("--by", type=click.Choice(COMPARED), default="row",
              show_default=True, help="What is compared within each parameter.")  # fmt: skip
@range_options
@click.option("--factors", is_flag=True,
              help="Also fit ⟨v²⟩ of each matrix with row factor × column factor.")  # fmt: skip
@click.option("--masks", type=UserPath(dir_okay=False), metavar="FILE.npz",
              help="Also write hot, cold, random and small-norm rows as bool arrays.")  # fmt: skip
@click.option("--fraction", type=float, default=0.2, show_default=True, help="Share of the rows in each mask.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the random rows.")
@output_options
@execution_options
def rows(factors: bool, masks: str | None, fraction: float, seed: int, **options: Any) -> None:
    """Rows of the weights of the run in STORE from hot to cold, and whether those of one parameter differ.

    The table shows the hottest and coldest rows; csv, json and files have all. A test that cannot be trusted is
    "undecided": for example, if the window is too short for the correlation of its velocities.

    \b
    analyzer rows runs/gcn.zarr --start auto
    analyzer rows runs/gcn.zarr --parameter conv2.lin.weight --plot rows.png
    analyzer rows runs/gcn.zarr --masks masks.npz --fraction 0.2 --seed 1
    analyzer rows runs/gcn.zarr --factors --plot factors.png

    With --factors, each matrix has: the share of the variance of ln⟨v²⟩ that rows and columns explain, its interval,
    the share that they explain by chance, and the weights at rest. Json and netcdf have the factors of both;
    csv has those of rows. The figure shows the factors and the residuals.

    A training script can zero the rows of a mask with numpy alone:

    \b
    with numpy.load("masks.npz") as masks:      # also: masks["store"], ["start_step"], ["fraction"], ["seed"], ...
        for name, weight in model.named_parameters():
            if f"hot/{name}" in masks:          # or cold/, random/, small_norm/
                weight.data[torch.from_numpy(masks[f"hot/{name}"])] = 0
    """
    from analyzer.cli.answer import Shape, asked, give, warn_of_floor
    from analyzer.cli.execution import computed
    from analyzer.cli.factors import check_by
    from analyzer.cli.files import check_place
    from analyzer.quantities.factors import factors_of
    from analyzer.quantities.masks import check, row_masks
    from analyzer.quantities.rows import from_bin, rows_of

    check_place(masks, "--masks")
    if factors:
        check_by(options["by"])
    if masks is not None:
        check(fraction, options["by"])
    run, query = asked(options)
    if options["start"] == "auto":
        query = from_bin(run, query)
    compute = partial(computed, options)
    answer, _ = rows_of(run, query, compute)
    chosen = None if masks is None else row_masks(answer, fraction, seed)
    if factors:
        answer = answer.merge(factors_of(run, query, compute)[0])

    def draw() -> Figure | None:
        if factors:
            from analyzer.plots.factors import factors as draw_factors

            return draw_factors(answer)
        from analyzer.plots import rows as plots
        from analyzer.tree import trajectory

        squares = compute(*plots.elements(run, query, answer))
        return plots.rows(answer, squares, trajectory(run).parameters)

    def save() -> None:
        if chosen is not None and masks is not None:
            _save(chosen, masks)

    give(
        options,
        answer,
        Shape(partial(_table, cut=options["output"] is None, wide=options["wide"]), _document),
        draw=draw,
        also=save,
    )
    warn_of_floor(answer)


def _document(answer: xr.Dataset, frames: Iterable[pd.DataFrame], store: str) -> dict[str, Any]:
    """The object of json: rows, and beside them one test for each parameter."""
    from analyzer.cli.factors import document as factors_document
    from analyzer.cli.records import document_of, records_of
    from analyzer.quantities.answers import RowTables
    from analyzer.tables.factors import columns_of
    from analyzer.tables.layouts import TESTS
    from analyzer.tables.table import table

    document = document_of(answer, (frame.drop(columns=[*TESTS, *columns_of(frame)]) for frame in frames), store)
    document |= {"tests": records_of(table(RowTables.of(answer).tests))}
    return document | (factors_document(answer) if "separable_share" in answer else {})


def _table(answer: xr.Dataset, frame: pd.DataFrame, cut: bool, wide: bool) -> str:
    """Rows from hot to cold, one line for each test, and units; if `cut`, only the ends of long parameters."""
    from analyzer.cli.columns import columns_of
    from analyzer.cli.factors import lines as lines_of_factors
    from analyzer.cli.table import fewer_of, footer, table_text, too_short
    from analyzer.tables import factors
    from analyzer.tables.layouts import TESTS

    hidden_columns = [name for name in factors.columns_of(frame) if name != "row_factor"]
    ordered = frame.drop(columns=[*TESTS, *hidden_columns, "layer", "start_step", "stop_step"])
    place = {name: n for n, name in enumerate(answer["tested"].values)}
    ordered = ordered.iloc[
        ordered[["parameter", "rank"]].assign(parameter=ordered["parameter"].map(place)).sort_values(
            ["parameter", "rank"]
        ).index
    ]  # fmt: skip
    total = ordered.groupby("parameter")["rank"].transform("size")
    hidden = cut & (total > _HOTTEST + _COLDEST + 2) & (ordered["rank"] > _HOTTEST)
    hidden &= ordered["rank"] <= total - _COLDEST
    shown, said = columns_of(ordered[~hidden], wide)
    lines = [table_text(shown)]
    if hidden.any():
        lines.append(
            f"The {_HOTTEST} hottest and {_COLDEST} coldest of each parameter; {int(hidden.sum()):,} more: --format csv"
        )
    lines += ["", *(printable(_line(answer.sel(tested=name))) for name in answer["tested"].values)]
    if "separable_share" in answer:
        lines += ["", *lines_of_factors(answer)]
    window = f"steps {int(answer['start_step'].values[0]):,} to {int(answer['stop_step'].values[0]):,}"
    said += [*too_short(answer), *fewer_of(answer, len(shown))]
    return "\n".join([*lines, "", f"{footer(answer.attrs)}, {window}", *said]) + "\n"


def _line(tests: xr.Dataset) -> str:
    kind = f"{tests.attrs['by']}s"
    verdict, p = str(tests["verdict"].item()), float(tests["p_value"])
    words = {"differ": f"{kind} differ", "no difference found": f"no difference between {kind} found"}
    told = [words.get(verdict, f"undecided: {tests['reason'].item()}")]
    if verdict in words:
        told[0] += (
            f" (F = {float(tests['f']):.3g} at {float(tests['numerator']):.3g} and {float(tests['denominator']):.3g} "
            f"degrees of freedom, p {'< 1e-99' if p < 1e-99 else f'= {p:.2g}'}; {int(tests['blocks'])} batches of "
            f"{float(tests['block_steps']):,.0f} steps)"
        )
    ratio = float(tests["hottest_over_coldest"])
    if math.isfinite(ratio):
        told.append(f"hottest {ratio:.3g} × coldest")
    elif math.isinf(ratio):
        told.append("the coldest did not move")
    stability = float(tests["rank_stability"])
    if not math.isnan(stability):
        told.append(f"ranks of the halves correlate {stability:.2f}")
    return f"{tests['tested'].item()}: {'; '.join(told)}"


def _save(masks: dict[str, Any], path: str) -> None:
    import numpy as np

    from analyzer.cli.files import replaced

    with replaced(path, "--masks") as part, part.open("wb") as file:
        np.savez(file, **masks)
    say(f"Wrote {printable(path)}", err=True)
