"""Equilibrium: from which step on each series of a run is stationary, and whether it drifts from there."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analyzer.report.blocks import Block, Note, Table
from analyzer.report.subject import Asked, Subject
from analyzer.report.text import number, p_value, unit_text
from analyzer.statistics.equilibrium import DRIFTING

_COLUMNS = ("series", "of", "t₀ (step)", "g (steps)", "n eff", "mean from t₀", "drift per step", "p of no drift",
            "verdict")  # fmt: skip
_TEXT = frozenset({"series", "of", "verdict"})


def equilibrium(subject: Subject, asked: Asked) -> list[Block]:
    """t0, statistical inefficiency, drift and verdict of temperatures, displacements and the loss."""
    answer = subject.equilibrium
    blocks: list[Block] = []
    if not answer.sizes["group"]:
        blocks.append(Note("No series has the 40 samples that it takes to look for equilibrium: record longer."))
        return blocks
    blocks.append(Note(_headline(answer)))
    rows = [_row(answer.isel(group=n, window=0)) for n in range(answer.sizes["group"])]
    caption = (
        "t₀: the start from which most independent samples remain; g: steps that make one independent sample. "
        "Displacement: mean squared, over 256 steps."
    )
    blocks.append(Table(_COLUMNS, rows, numeric=frozenset(_COLUMNS) - _TEXT, caption=caption))
    return blocks


def _headline(answer: xr.Dataset) -> str:
    start = int(answer["equilibrium_step"].max())
    names = answer["group"].values[answer["verdict"].values[:, 0] == DRIFTING]
    undecided = int(np.sum(answer["verdict"].values[:, 0] == "undecided"))
    text = f"All series begin to be stationary at step {start:,} at the latest (drawn as t₀)."
    if names.size:
        text += f" From their t₀ on, {names.size} of {answer.sizes['group']} still drift: {', '.join(map(str, names))}."
    if undecided:
        text += f" {undecided} of {answer.sizes['group']} have too few independent samples to tell."
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
