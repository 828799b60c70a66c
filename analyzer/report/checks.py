"""The section on physical checks: measured and expected values, with a verdict if the expectation is valid."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analyzer.quantities.checks.check import check
from analyzer.quantities.checks.findings import TITLES
from analyzer.report.content import Content, Note, Table
from analyzer.report.subject import Asked, Subject
from analyzer.report.text import NONE, number, p_value

_COLUMNS = ("check", "group", "measured", "expected", "p", "verdict", "note")
_MOST_ROWS = 12
"""Most rows of a check's table: the number of correlations grows with the square of the number of groups."""


def checks(subject: Subject, asked: Asked) -> list[Content]:
    """Return the findings of `analyzer.check`, one table for each check."""
    answer = check(subject.run, by=asked.by, **subject.range, **asked.options)
    optimizer = str(answer.attrs["optimizer"]) or "not recorded"
    contents: list[Content] = [
        Note(
            f"Optimizer: {optimizer}. A verdict is given at p < {answer.attrs['significance']:g} if the expectation "
            "is valid. ± is one standard error."
        )
    ]
    names = answer["check"].values
    silent: dict[str, list[str]] = {}
    for name in dict.fromkeys(names.tolist()):
        some = answer.isel(finding=np.flatnonzero(names == name))
        notes = set(some["note"].values.tolist())
        if len(notes) == 1 and not np.isfinite(some["measured"].values).any():
            silent.setdefault(str(notes.pop()), []).append(str(name).replace("_", " "))
            continue
        rows = [_row(some.isel(finding=n)) for n in range(min(some.sizes["finding"], _MOST_ROWS))]
        left = some.sizes["finding"] - len(rows)
        caption = TITLES[name] + (f". {left:,} more rows: analyzer check" if left else "")
        contents.append(Table(_COLUMNS, rows, numeric=frozenset({"measured", "expected", "p"}), caption=caption))
    contents += [Note(f"Not measured, {', '.join(some)}: {why}.") for why, some in silent.items()]
    return contents


def _row(one: xr.Dataset) -> tuple[str, ...]:
    value, error = float(one["measured"]), float(one["standard_error"])
    low, high = float(one["expected_low"]), float(one["expected_high"])
    expected = NONE if low != low else number(low) if low == high else f"{number(low)} to {number(high)}"
    return (
        str(one["check"].item()).replace("_", " "),
        str(one["group"].item()) or "–",
        number(value) + (f" ± {number(error, 2)}" if np.isfinite(error) else ""),
        f"> {number(low)}" if high == np.inf else expected,
        p_value(float(one["p_value"])),
        str(one["verdict"].item()) or NONE,
        str(one["note"].item()),
    )
