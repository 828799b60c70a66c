"""Which columns of an answer a printed table has: those that fit 100 characters, or with --wide all.

A value and its standard error share one column, and so do start and stop of a window. What is the same in all rows is
said once, below the table. Names that are too long are cut in the middle. Files, csv and json always have every column
and whole names.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analyzer.text import narrowed, printable

WIDTH = 100
"""Most characters in a line of a table without --wide, unless it has very many columns."""
BETWEEN = 3
"""Characters between two columns."""
MANY = 60
"""Rows that fit a screen. Below a longer table, a line says how to get fewer."""

_NOT_IN_TABLES = (
    "velocities", "temperature_thermal", "velocities_half_phase", "drift_null", "steps_per_lag",
    "learning_rate_change", "expected_low", "expected_high", "expectation", "statistic", "threshold",
)  # fmt: skip
"""Columns that follow from others or are needed rarely. Other formats have them."""
_JOINED = {
    "temperature": ("standard_error", "T ± standard error"),
    "temperature_per_eta2": ("temperature_per_eta2_error", "T/η² ± standard error"),
    "value": ("standard_error", "value ± standard error"),
    "density": ("se", "density ± se"),
    "C/C(0)": ("± (se)", "C/C(0) ± se"),
    "MSD": ("MSD se", "MSD ± se"),
    "exponent": ("exponent se", "exponent ± se"),
}
"""Columns of values, those of their errors, and the heading of both together."""
_LOOKED_UP = (
    "temperature_drift", "floor", "participation_ratio", "r_squared", "aicc", "units", "equilibrium_low",
    "equilibrium_high", "inefficiency", "mean", "drift", "drift_error", "drift_percent_low", "drift_percent_high",
    "reason",
)  # fmt: skip
"""Columns that are needed rarely: only --wide shows them."""
_SPARE = (
    "velocities",
    "integral",
    "weights",
    "mean_velocity",
    "rms_weight",
    "runs",
    "scatter",
    "learning_rate",
    "p_value",
)
"""Columns that are left out, in this order, while a table is too wide."""
_NAMES = ("run", "group", "module", "layer", "parameter", "of")
"""Columns of names. They are cut in the middle if a table is too wide even without its spare columns."""
_HEADINGS = {
    "temperature_drift": "temperature of the drift",
    "temperature_per_eta2_unreliable": "T/η² unreliable",
}
_CHANGES = "changes"
"""Heading of the remarks on settings that change within windows."""
_WITHIN = " within this window"
_COARSER = {"layer": "model", "module": "layer", "parameter": "layer"}


def columns_of(frame: pd.DataFrame, wide: bool, keep: Sequence[str] = ()) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns of a table, and sentences on what is the same in all rows and what --wide adds.

    With `wide`, only columns without information are left out. Those in `keep` always stay.
    """
    frame = _filled(frame)
    if wide:
        drift = "temperature of the drift: that of the mean velocity alone, ½⟨v⟩² in the convention paper"
        return frame.rename(columns=_HEADINGS), [drift] if "temperature_drift" in frame else []
    said: list[str] = []
    narrow = _with_short_remarks(_with_steps(frame, said), said)
    left = [name for name in _LOOKED_UP if name in narrow]
    left += ["mean_squared_velocity"] if {"temperature", "mean_squared_velocity"} <= set(narrow) else []
    left += ["layer"] if {"layer", "parameter"} <= set(narrow) else []
    narrow = _with_errors(narrow.drop(columns=left))
    spare: tuple[str, ...] = _SPARE
    if _CHANGES in narrow and width_of(narrow) > WIDTH:
        narrow = narrow.assign(**{_CHANGES: [_first_of(text) for text in narrow[_CHANGES]]})
        left.append("all changes")
        spare = (*_SPARE, "n_eff")
    for name in spare:
        if name in narrow and name not in keep and width_of(narrow) > WIDTH:
            narrow = narrow.drop(columns=name)
            left.append(name)
    narrow, whole = with_short_names(narrow)
    if not whole:
        left.append("whole names")
    narrow = narrow.rename(columns=_HEADINGS)
    if left:
        said.append(f"--wide adds: {', '.join(_HEADINGS.get(name, heading(name)) for name in left)}")
    return narrow, said


def with_short_names(frame: pd.DataFrame, width: int = WIDTH) -> tuple[pd.DataFrame, bool]:
    """Return a frame whose names are cut so that its table fits, and whether they are whole."""
    names = [name for name in _NAMES if name in frame]
    excess = width_of(frame) - width
    if excess <= 0 or not names:
        return frame, True
    texts = [[cell(value) for value in frame[name]] for name in names]
    short = narrowed(texts, excess)
    return frame.assign(**dict(zip(names, short, strict=True))), short == texts


def _first_of(text: str) -> str:
    """The first of several changes, and a mark that there are more."""
    first, comma, _ = text.partition(", ")
    return first + ", …" * bool(comma)


def fewer(rows: int, by: str = "", windows: int = 1, lags: int = 1) -> list[str]:
    """Return how to get fewer rows, as a sentence, if a table has more than a screen shows."""
    if rows <= MANY:
        return []
    ways = ["a longer --window"] if windows > 1 else []
    ways += ["fewer lags"] if lags > 1 else []
    if by != "model":
        ways += [f"--by {_COARSER[by]}"] if by in _COARSER else []
        ways += ["--layer NAME or --parameter NAME"]
    return [f"{rows:,} rows. For fewer: {', '.join(ways)}. For a file: --format csv --output FILE"]


def heading(name: Any) -> str:
    """Return the heading of a column."""
    return printable(str(name).replace("_", " "))


def cell(value: Any) -> str:
    """Return a value as a table prints it."""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else ""
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return "–" if math.isnan(value) else f"{value:.4g}"
    return printable(str(value))


def is_number(frame: pd.DataFrame, name: Any) -> bool:
    """Return whether a column is aligned to the right: numbers, ranges of steps, and values with their errors."""
    return bool(pd.api.types.is_numeric_dtype(frame[name])) or name == "steps" or "±" in str(name)


def width_of(frame: pd.DataFrame) -> int:
    """Return the characters of a line of a table."""
    widths = (max(map(len, [heading(name), *map(cell, frame[name])])) for name in frame.columns)
    return sum(width + BETWEEN for width in widths) - BETWEEN + 1


def has_one_rate(frame: pd.DataFrame) -> bool:
    """Return whether all rows have one learning rate. Then it is said below the table, not in a column."""
    return (
        "learning_rate" in frame
        and frame["learning_rate"].nunique(dropna=False) == 1
        and bool(frame["learning_rate"].notna().all())
    )


def _filled(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame without columns that follow from others or that say nothing."""
    shown = frame.drop(columns=[name for name in _NOT_IN_TABLES if name in frame])
    if "steps_per_lag" in frame and "lag" not in frame:  # windows differ in it
        shown.insert(list(shown.columns).index("stop_step") + 1, "steps_per_lag", frame["steps_per_lag"])
    if "unreliable" in shown and not shown["unreliable"].any():
        shown = shown.drop(columns="unreliable")
    own = "temperature_per_eta2_unreliable"
    if own in shown and (not shown[own].any() if "unreliable" not in shown else shown[own].equals(shown["unreliable"])):
        shown = shown.drop(columns=own)
    if "remark" in shown and not shown["remark"].any():
        shown = shown.drop(columns="remark")
    if "learning_rate" in shown and (has_one_rate(shown) or shown["learning_rate"].isna().all()):
        shown = shown.drop(columns="learning_rate")
    return shown


def _with_steps(frame: pd.DataFrame, said: list[str]) -> pd.DataFrame:
    """Join start and stop of windows to one column. A single window moves to `said` instead."""
    if not {"start_step", "stop_step"} <= set(frame.columns) or frame.empty:
        return frame
    steps = [f"{start:,} to {stop:,}" for start, stop in zip(frame["start_step"], frame["stop_step"], strict=True)]
    rest = frame.drop(columns=["start_step", "stop_step"])
    if len(set(steps)) == 1:
        said.append(f"steps {steps[0]}")
    else:
        rest.insert(list(frame.columns).index("start_step"), "steps", steps)
    return rest


def _with_short_remarks(frame: pd.DataFrame, said: list[str]) -> pd.DataFrame:
    """Shorten remarks by the words that all share. A remark that all rows have moves to `said` instead."""
    if "remark" not in frame or not frame["remark"].any():
        return frame
    if frame["remark"].nunique() == 1:
        said.append(printable(frame["remark"].iloc[0]))
        return frame.drop(columns="remark")
    texts = [text.removesuffix(_WITHIN).replace(" changes from ", " ") for text in frame["remark"]]
    return frame.assign(remark=[text.replace(" changes ", " ") for text in texts]).rename(columns={"remark": _CHANGES})


def _with_errors(frame: pd.DataFrame) -> pd.DataFrame:
    """Join values and their standard errors to one column of text, with the signs ± aligned."""
    for value, (error, both) in _JOINED.items():
        if value in frame and error in frame:
            texts = _plus_minus(frame[value], frame[error])
            at = list(frame.columns).index(value)
            frame = frame.drop(columns=[value, error])
            frame.insert(at, both, texts)
    return frame


def _plus_minus(values: Iterable[float], errors: Iterable[float]) -> list[str]:
    shown = ["–" if math.isnan(error) else f"{error:.2g}" for error in errors]
    width = max(map(len, shown), default=0)
    pairs = zip(values, shown, strict=True)
    return ["–" if math.isnan(value) else f"{cell(value)} ± {error.ljust(width)}" for value, error in pairs]
