"""The series behind claims C2 and C4: T against the length of its window; kinetic and potential energy."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

import analyzer
from analyzer.errors import KeptSumsWarning


def windows(store: Path) -> dict[str, Any]:
    """T of each layer over windows of growing length: mean, scatter between windows, and mean standard error.

    Where τ is long enough (equation 6), the scatter between windows falls as 1/√length and equals the standard error of
    a single window.
    """
    run = analyzer.open_run(store)
    length = int(run.sizes["step"]) - 1
    lengths = [n for n in (32 * 4**k for k in range(8)) if n <= length // 4]
    table: dict[str, list[dict[str, Any]]] = {}
    for window in [*lengths, length]:
        answer = analyzer.temperature(run, by="layer", window=window).compute()
        whole = ~answer["partial"].values if "partial" in answer else np.ones(answer.sizes["window"], bool)
        for n, layer in enumerate(answer["layer"].values):
            values, errors = answer["temperature"].values[n, whole], answer["standard_error"].values[n, whole]
            table.setdefault(str(layer), []).append({
                "window": window,
                "windows": int(whole.sum()),
                "mean": float(values.mean()),
                "scatter": float(values.std(ddof=1)) if whole.sum() > 1 else None,
                "claimed": float(np.nanmean(errors)) if np.isfinite(errors).any() else None,
            })  # fmt: skip
    return {"run": store.stem, "layers": table}


def energy(store: Path) -> dict[str, Any]:
    """Kinetic energy ½Σv², the loss, and their sum, step by step: means, standard deviations, correlation.

    The loss logged at step t was evaluated at w(t − 1): there the velocity of step t begins.
    """
    run = analyzer.open_run(store)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KeptSumsWarning)  # only T is read here, and T is right from sums alone
        instant = analyzer.temperature(run, by="model", window=1, errors=False).compute()
    kinetic = instant["temperature"].values[0] * float(instant["weights"].values[0])
    loss = run.thermo.scalar("loss").values[1:]
    both = np.isfinite(kinetic) & np.isfinite(loss)
    kinetic, loss = kinetic[both], loss[both]
    total = kinetic + loss
    scatter = {name: float(values.std(ddof=1)) for name, values in
               (("kinetic", kinetic), ("loss", loss), ("sum", total))}  # fmt: skip
    return {
        "run": store.stem,
        "steps": int(both.sum()),
        "mean": {"kinetic": float(kinetic.mean()), "loss": float(loss.mean()), "sum": float(total.mean())},
        "standard_deviation": scatter,
        "relative_scatter_of_kinetic": scatter["kinetic"] / float(kinetic.mean()),
        "correlation": float(np.corrcoef(kinetic, loss)[0, 1]),
    }
