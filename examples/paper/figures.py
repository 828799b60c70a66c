"""The only figure that the analyzer does not draw: accuracy without some rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

COLOURS = {"hot": "#c44e52", "cold": "#4c72b0", "random": "#7f7f7f", "small_norm": "#55a868"}


def prune_curves(folder: Path) -> None:
    """Draw `prune.json` of a model, if it is there: mean and standard error over seeds."""
    source = folder / "prune.json"
    if not source.exists():
        return
    content = json.loads(source.read_text())
    if not content["runs"]:
        return
    places = [name for name in content["runs"][0] if name not in ("run", "whole")]
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    fractions = 100 * np.array([0.0, *content["fractions"]])
    for n, where in enumerate(places):
        axes = figure.add_subplot(1, len(places), n + 1)
        for k, (way, colour) in enumerate(COLOURS.items()):
            curves = 100 * np.array([[run["whole"], *run[where][way]] for run in content["runs"]])
            error = curves.std(axis=0, ddof=1) / np.sqrt(len(curves)) if len(curves) > 1 else None
            axes.errorbar(
                fractions + 0.25 * (k - 1.5), curves.mean(axis=0), yerr=error, color=colour, marker="o", markersize=3,
                linewidth=1.2, capsize=2, label=way.replace("_", " "),
            )  # fmt: skip
        axes.set_title(where, fontsize=9)
        axes.set_xlabel("rows taken out (%)")
        axes.set_ylabel("test accuracy (%)")
    figure.axes[0].legend(frameon=False, fontsize=8)
    target = folder / "figures" / "prune.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=130)
