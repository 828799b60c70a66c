"""One question to several stores: their answers as one table. Each row begins with the run and its hyperparameters.

The stores are asked one after the other, and an answer is freed once its rows are written. Up to `_MOST_HELD` rows are
held back: if all answers fit, the table has the columns of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import click
import numpy as np
import pandas as pd
import xarray as xr

from analyzer.cli.answer import check_output, deliver, form_of
from analyzer.cli.columns import columns_of
from analyzer.cli.execution import memory_limit_of
from analyzer.cli.parquet import write_parquet
from analyzer.cli.records import Records, csv_text, json_text
from analyzer.cli.stores import Body, open_each, paths_of, refuse
from analyzer.cli.table import footer, refuse_long, table_text
from analyzer.cli.text import naming, printable, say
from analyzer.comparable import lag_instead, several_strides
from analyzer.errors import AnalyzerError
from analyzer.query.changes import settings_had
from analyzer.query.names import RESERVED, column_names
from analyzer.query.recorded import LEARNING_RATE
from analyzer.run import open_run
from analyzer.store.schema import Store
from analyzer.store.together import check_copies
from analyzer.sweep import RECORDED_RATE, hyperparameter_coords, hyperparameters_in, hyperparameters_of
from analyzer.tables.columns import LAST, pieces_of
from analyzer.tables.layouts import layout_of
from analyzer.tables.sweeps import of_run

_MOST_HELD = 100_000
"""Most rows that are held back, some hundred bytes each."""
_OF_ONE_RUN = ("plot", "masks", "weights", "raw")
"""Options that write files of a single run."""
_OF_ONE_STRIDE = ("dynamics", "spectrum")
"""Commands whose velocities are over one stride and have no other lag: correlations, densities."""
_OF_A_RUN = ("store", "run_id", "quantity")
"""Attributes of a single run, or that the answer of several stores has elsewhere."""


@dataclass
class _Sweep:
    """The stores and what their answers have in common so far. Lifetime: one command.

    Attributes
    ----------
    stores
        By name of the run.
    places
        By name of the run: its first row in the columns.
    columns
        Hyperparameters. A run has a row for each of its settings, since it may be resumed with others.
    unanswered
        Stores without an answer, and why.
    attrs
        Attributes that all answers so far share.
    """

    stores: dict[str, Store]
    places: dict[str, int]
    columns: dict[str, Any]
    unanswered: list[dict[str, str]]
    attrs: dict[str, Any] = field(default_factory=dict)

    def facts(self, name: str, answer: xr.Dataset) -> dict[str, Any]:
        """The run and the hyperparameters that it had in the steps of its answer, each an array of length one."""
        had, place = _settings_had(self.stores[name]), self.places[name]
        if len(had) > 1:
            place += had.index(hyperparameters_of(open_run(self.stores[name].location), answer))
        return {"run": [name], **{title: column[place : place + 1] for title, column in self.columns.items()}}


def _settings_had(store: Store) -> list[dict[str, Any]]:
    return [hyperparameters_in(one) for one in settings_had("hyperparameters", store.attrs)]


def _known(stores: dict[str, Store], unanswered: list[dict[str, str]]) -> _Sweep:
    had = [_settings_had(store) for store in stores.values()]
    places = np.cumsum([0, *map(len, had)])[:-1].tolist()
    coords = hyperparameter_coords(list(chain.from_iterable(had)))
    columns = {name: column for name, (_, column, _) in coords.items()}
    return _Sweep(stores, dict(zip(stores, places, strict=True)), columns, unanswered)


def give_each(body: Body, stores: Sequence[str], options: dict[str, Any]) -> None:
    """Write the answers of several stores as one table; exit code 1 if a store has none.

    Parameters
    ----------
    body
        The command, which answers for one `store` and hands its answer to `take`.
    stores
        As the user named them.
    options
        The command's.
    """
    form = form_of(options)
    for name in _OF_ONE_RUN:
        if options.get(name):
            raise click.UsageError(f"--{name}: expected one run, got several stores. Ask for each run separately.")
    if form == "netcdf":
        raise click.UsageError(
            "--format netcdf: expected one run, got several stores. Write csv, json or parquet, or ask for each run "
            "separately."
        )
    check_output(options)
    unanswered: list[dict[str, str]] = []
    opened = open_each(paths_of(stores), unanswered)
    check_copies(list(opened.values()))
    sweep = _known(opened, unanswered)
    answers = _answers(body, {**options, **_common_lag(opened, options, body.__name__)}, sweep)
    held, rows = [], 0
    for part in answers:
        held.append(part)
        rows += len(part)
        if form == "table":
            refuse_long(rows, part.shape[1], memory_limit_of(options))
        elif rows > _MOST_HELD:
            break
    if not held:
        raise click.ClickException(_nothing(unanswered))
    _write(options, form, sweep, held, answers)
    if unanswered:
        raise click.exceptions.Exit(1)


def _nothing(unanswered: Sequence[dict[str, str]]) -> str:
    return (
        f"Sweep: expected at least one store with an answer, got none of {len(unanswered)}. Nothing was written. See "
        "the reasons above."
    )


def _common_lag(opened: Mapping[str, Store], options: Mapping[str, Any], command: str) -> dict[str, int]:
    """The lag of all runs, if none was asked for and their strides differ: as `analyzer.comparable.common_lag`.

    Raises
    ------
    SweepError
        Their strides differ, and velocities of the command are over one stride.
    """
    spaced = {name: {s.stride or store.stride for s in store.segments} for name, store in opened.items()}
    strides = {name: found.pop() for name, found in spaced.items() if len(found) == 1}
    if len(set(strides.values())) < 2 or options.get("lag") is not None:
        return {}
    if command in _OF_ONE_STRIDE and options.get("waiting") is None:
        raise several_strides({printable(name): stride for name, stride in strides.items()}, command)
    if "lag" not in options:
        return {}
    say(f"Warning: {printable(lag_instead(strides))}", err=True)
    return {"lag": math.lcm(*strides.values())}


def _answers(body: Body, options: dict[str, Any], sweep: _Sweep) -> Iterator[pd.DataFrame]:
    """Yield the rows of the stores in turn, a few thousand at a time."""
    for name, store in sweep.stores.items():
        taken: list[xr.Dataset] = []
        try:
            with naming(name):
                body(store=store.location, take=taken.append, **options)
        except (AnalyzerError, OSError) as error:
            refuse(store.location, error, sweep.unanswered)
            continue
        answer = taken.pop()
        _share(sweep.attrs, answer.attrs)
        yield from _rows(answer, sweep.facts(name, answer))


def _share(attrs: dict[str, Any], own: Mapping[Any, Any]) -> None:
    """Keep only the attributes that this answer shares."""
    known = {str(name): value for name, value in own.items() if name not in _OF_A_RUN}
    if not attrs:
        attrs |= {"quantity": str(own.get("quantity", "")), **known}
        return
    for name in [name for name in attrs if name != "quantity" and known.get(name) != attrs[name]]:
        del attrs[name]


def _rows(answer: xr.Dataset, facts: Mapping[str, Any]) -> Iterator[pd.DataFrame]:
    layout = layout_of(answer)
    per_lag = answer.attrs.get("steps_per_lag")
    if per_lag is not None and "window" in answer.dims and "steps_per_lag" not in answer.variables:
        answer = answer.assign_coords(steps_per_lag=("window", [per_lag] * answer.sizes["window"]))
    for piece in pieces_of(answer, layout.along):
        frame = layout.frame(piece)
        if LEARNING_RATE in frame and LEARNING_RATE in facts:
            frame = frame.rename(columns={LEARNING_RATE: RECORDED_RATE})
        titles = column_names([name for name in facts if name != "run"], {*RESERVED, *map(str, frame.columns)})
        yield of_run(frame, {titles.get(name, name): value for name, value in facts.items()})


def _write(
    options: Mapping[str, Any], form: str, sweep: _Sweep, held: list[pd.DataFrame], rest: Iterator[pd.DataFrame]
) -> None:
    """Write the rows that are held back, then the rest."""
    begin = pd.concat(held, ignore_index=True)
    following = next(rest, None)
    attrs: Mapping[str, Any] = sweep.attrs
    if following is None:
        frames: Iterable[pd.DataFrame] = [_short(begin)]
    else:
        frames = chain([begin], _like(begin, chain([following], rest)))
        attrs = {"quantity": sweep.attrs["quantity"]}  # only at the end is it known what all answers share
    if form == "parquet":
        deliver(options, lambda part: write_parquet(frames, attrs, part))
    elif form == "csv":
        deliver(options, csv_text(frames))
    elif form == "json":
        deliver(options, json_text(_document(sweep, frames)))
    else:
        deliver(options, [_table(_short(begin), sweep, options.get("wide", False))])


def _document(sweep: _Sweep, frames: Iterable[pd.DataFrame]) -> dict[str, Any]:
    """The object of json. After the records comes what is known only when they are written."""
    return {
        "quantity": sweep.attrs["quantity"],
        "stores": [store.location for store in sweep.stores.values()],
        "records": Records(frames),
        "unanswered": sweep.unanswered,
        "attrs": sweep.attrs,
    }


def _short(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows without empty columns of remarks, and without a `steps_per_lag` that is the same in all rows."""
    silent = [name for name in LAST if name in frame and not frame[name].any()]
    silent += ["steps_per_lag"] if "steps_per_lag" in frame and frame["steps_per_lag"].nunique() == 1 else []
    return frame.drop(columns=silent)


def _like(begin: pd.DataFrame, frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Later rows with the columns and types of the first ones."""
    for frame in frames:
        if more := [name for name in frame.columns if name not in begin.columns]:
            raise click.ClickException(
                f"{frame['run'].iloc[0]}: expected the columns of the runs before it, got {', '.join(more)} as well. "
                "All rows of a table have the same columns. Ask for this run separately."
            )
        yield frame.reindex(columns=begin.columns).astype(begin.dtypes)


def _table(frame: pd.DataFrame, sweep: _Sweep, wide: bool) -> str:
    """The rows as a table; below it, the hyperparameters that all runs share.

    Unless `wide`, it has the columns that fit, as the table of one run, and every hyperparameter that varies.
    """
    shared = {}
    for name in frame.columns[1 : 1 + len(sweep.columns)]:
        if frame[name].nunique(dropna=False) == 1 and frame["run"].nunique() > 1:
            shared[str(name)] = frame[name].iloc[0]
    silent = list(shared)
    if RECORDED_RATE in frame and np.array_equal(frame[RECORDED_RATE], frame[LEARNING_RATE]):
        silent.append(RECORDED_RATE)
    shared.pop("inverse_batch_size", None)  # it follows from another
    rest = frame.drop(columns=silent)
    varying = [name for name in rest.columns[1 : 1 + len(sweep.columns) - len(silent)] if name != "inverse_batch_size"]
    said: list[str] = []
    if not wide:
        rest, said = columns_of(rest.drop(columns="inverse_batch_size", errors="ignore"), wide, keep=varying)
    lines = [table_text(rest), "", ", ".join([footer(sweep.attrs), *said[:-1]]), *said[-1:]]
    if shared:
        told = ", ".join(f"{name} = {value:.6g}" if isinstance(value, float) else f"{name} = {value}"
                         for name, value in shared.items())  # fmt: skip
        lines.append(printable(f"the same in all runs: {told}"))
    return "\n".join(lines) + "\n"
