"""The section on equilibrium: the step at which each series becomes stationary, and whether it drifts after that."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analyzer.quantities.tracks import FEWEST
from analyzer.report.content import Content, Note, Table
from analyzer.report.subject import Asked, Subject
from analyzer.report.text import NONE, number, p_value, unit_text
from analyzer.statistics.equilibrium import DRIFTING, UNDECIDED

_STEPS = "steps"
_COLUMNS = ("series", "of", _STEPS, "verdict", "change from t₀ on", "p of no drift", "t₀ (step)", "g (steps)", "n eff",
            "mean from t₀", "drift per step", "why")  # fmt: skip
_TEXT = frozenset({"series", "of", _STEPS, "verdict", "why"})
_MOST_ROWS = 200


def equilibrium(subject: Subject, asked: Asked) -> list[Content]:
    """Return a table of t0, statistical inefficiency, drift and verdict for temperatures, displacements and loss."""
    answer = subject.equilibrium
    contents: list[Content] = []
    if not answer.sizes["group"]:
        contents.append(
            Note(f"No series has the {FEWEST} samples that a search for equilibrium takes. Record {FEWEST} steps.")
        )
        return contents
    contents.append(Note(_headline(answer)))
    every = [
        answer.isel(group=n, window=m) for m in range(answer.sizes["window"]) for n in range(answer.sizes["group"])
    ]
    rows = [_row(one) for one in every[:_MOST_ROWS]]
    if len(rows) < len(every):
        contents.append(Note(f"The table shows {len(rows)} of {len(every):,} rows. For all: analyzer equilibration"))
    caption = (
        "t₀: the start that leaves most independent samples. g: statistical inefficiency, the steps for one "
        "independent sample. Displacement: mean squared displacement over 256 steps. Change from t₀ on: in percent of "
        f"the mean, with its 95 % interval; even a significant change may be too small to matter. {_units(answer)}"
    )
    columns: tuple[str, ...] = _COLUMNS
    if answer.sizes["window"] == 1:  # all rows have the same steps
        place = columns.index(_STEPS)
        columns, rows = columns[:place] + columns[place + 1 :], [row[:place] + row[place + 1 :] for row in rows]
        caption = f"Steps {_steps(every[0])}. {caption}"
    contents.append(Table(columns, rows, numeric=frozenset(columns) - _TEXT, caption=caption))
    return contents


def _units(answer: xr.Dataset) -> str:
    """A sentence on the units of means and drifts."""
    quantities, units = answer["quantity"].values.tolist(), answer["units"].values.tolist()
    known = {kind: unit_text(str(unit)) for kind, unit in zip(quantities, units, strict=True) if unit}
    return f"In units of {', '.join(f'{unit} ({kind})' for kind, unit in known.items())}." if known else ""


def _headline(answer: xr.Dataset) -> str:
    """Return a summary of the table. It counts the table's rows."""
    verdicts = answer["verdict"].values
    steps = answer["equilibrium_step"].values.astype(float)
    if np.isnan(steps).all():
        return f"No equilibrium can be found: {answer['reason'].values[0, 0]}."
    several = answer.sizes["window"] > 1
    text = f"{answer.sizes['window']} stretches have constant settings. " if several else ""
    latest = int(np.nanmax(steps))
    begins = latest == int(answer["start_step"].values[0])
    where = "the beginning" if begins else "marked in the charts"
    text += f"The latest t₀ of all series is step {latest:,} ({where})."
    drifting, undecided = (_named(answer, verdict, several) for verdict in (DRIFTING, UNDECIDED))
    if drifting:
        text += f" {len(drifting)} of {verdicts.size} series still drift after it: {', '.join(drifting)}."
    if undecided:
        names = ", ".join(undecided)
        text += f" {len(undecided)} of {verdicts.size} series are undecided, the table says why: {names}."
    if not drifting and not undecided:
        text += f" None of the {verdicts.size} series drifts after it."
    return text


def _named(answer: xr.Dataset, verdict: str, several: bool) -> list[str]:
    """The series with a verdict; where there are several stretches, with their steps."""
    return [
        f"{answer['group'].values[n]}" + (f" (steps {_steps(answer.isel(window=m))})" if several else "")
        for n, m in zip(*np.nonzero(answer["verdict"].values == verdict), strict=True)
    ]


def _steps(one: xr.Dataset) -> str:
    return f"{int(one['start_step']):,} to {int(one['stop_step']):,}"


def _row(one: xr.Dataset) -> tuple[str, ...]:
    drift, error = float(one["drift"]), float(one["drift_error"])
    return (
        str(one["quantity"].item()),
        str(one["of"].item()) or "–",
        _steps(one),
        str(one["verdict"].item()),
        _change(one),
        p_value(float(one["p_value"])),
        number(int(one["equilibrium_step"])) if np.isfinite(float(one["equilibrium_step"])) else NONE,
        number(float(one["inefficiency"])),
        number(float(one["n_eff"])),
        number(float(one["mean"])),
        number(drift) + (f" ± {number(error, 2)}" if np.isfinite(error) else ""),
        str(one["reason"].item()),
    )


def _change(one: xr.Dataset) -> str:
    size, low, high = (float(one[f"drift_percent{end}"]) for end in ("", "_low", "_high"))
    if not np.isfinite(size):
        return NONE
    return f"{number(size, 2)} % [{number(low, 2)}, {number(high, 2)}]"
