"""The section on equilibrium: the step at which each series becomes stationary, and whether it drifts after that."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analyzer.report.content import Content, Note, Table
from analyzer.report.subject import Asked, Subject
from analyzer.report.text import number, p_value, unit_text
from analyzer.statistics.equilibrium import DRIFTING

_COLUMNS = ("series", "of", "t₀ (step)", "g (steps)", "n eff", "mean from t₀", "drift per step", "p of no drift",
            "verdict")  # fmt: skip
_TEXT = frozenset({"series", "of", "verdict"})


def equilibrium(subject: Subject, asked: Asked) -> list[Content]:
    """Return a table of t0, statistical inefficiency, drift and verdict for temperatures, displacements and loss."""
    answer = subject.equilibrium
    contents: list[Content] = []
    if not answer.sizes["group"]:
        contents.append(Note("No series has the 40 samples that a search for equilibrium needs. Record longer."))
        return contents
    contents.append(Note(_headline(answer)))
    rows = [_row(answer.isel(group=n, window=0)) for n in range(answer.sizes["group"])]
    caption = (
        "t₀: the start that leaves most independent samples. g: statistical inefficiency, the steps for one "
        "independent sample. Displacement: mean squared displacement over 256 steps."
    )
    contents.append(Table(_COLUMNS, rows, numeric=frozenset(_COLUMNS) - _TEXT, caption=caption))
    return contents


def _headline(answer: xr.Dataset) -> str:
    start = int(answer["equilibrium_step"].max())
    names = answer["group"].values[answer["verdict"].values[:, 0] == DRIFTING]
    undecided = int(np.sum(answer["verdict"].values[:, 0] == "undecided"))
    text = f"The latest t₀ of all series is step {start:,} (marked in the charts)."
    if names.size:
        text += f" {names.size} of {answer.sizes['group']} series still drift after it: {', '.join(map(str, names))}."
    if undecided:
        text += f" {undecided} of {answer.sizes['group']} series have too few independent samples to tell."
    return text


def _row(one: xr.Dataset) -> tuple[str, ...]:
    units = unit_text(str(one["units"].item()))
    drift, error = float(one["drift"]), float(one["drift_error"])
    return (
        str(one["quantity"].item()),
        str(one["of"].item()) or "–",
        number(int(one["equilibrium_step"])),
        number(float(one["inefficiency"])),
        number(float(one["n_eff"])),
        f"{number(float(one['mean']))} {units}".strip(),
        number(drift) + (f" ± {number(error, 2)}" if np.isfinite(error) else ""),
        p_value(float(one["p_value"])),
        str(one["verdict"].item()),
    )
