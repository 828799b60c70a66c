"""Physical checks: what is measured beside what is expected, with a verdict where one is valid."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analyzer.checks import check
from analyzer.findings import TITLES
from analyzer.report.blocks import Block, Note, Table
from analyzer.report.subject import Asked, Subject
from analyzer.report.text import NONE, number, p_value

_COLUMNS = ("check", "group", "measured", "expected", "p", "verdict", "note")
_MOST_ROWS = 12
"""Of one check: its correlations grow with the square of the groups."""


def checks(subject: Subject, asked: Asked) -> list[Block]:
    """The findings of `analyzer.check`, one table a check."""
    answer = check(subject.run, by=asked.by, **asked.range, **asked.options)
    optimizer = str(answer.attrs["optimizer"]) or "not recorded"
    blocks: list[Block] = [
        Note(
            f"Optimizer {optimizer}; verdicts at p < {answer.attrs['significance']:g}, where an expectation is valid. "
            "± is one standard error."
        )
    ]
    names = answer["check"].values
    for name in dict.fromkeys(names.tolist()):
        some = answer.isel(finding=np.flatnonzero(names == name))
        rows = [_row(some.isel(finding=n)) for n in range(min(some.sizes["finding"], _MOST_ROWS))]
        left = some.sizes["finding"] - len(rows)
        caption = TITLES[name] + (f" … and {left:,} more: analyzer check" if left else "")
        blocks.append(Table(_COLUMNS, rows, numeric=frozenset({"measured", "expected", "p"}), caption=caption))
    return blocks


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
