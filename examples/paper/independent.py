"""Temperatures from the raw arrays in plain numpy: this check rules out mistakes of the analyzer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import zarr

import analyzer

AT_A_TIME = 2_048
"""Steps whose velocities are in memory at once."""


def recompute(store: Path) -> dict[str, Any]:
    """Largest relative differences of T by layer, over whole runs and by epoch, from equation 6 written in numpy.

    Layers follow from names alone (`conv1.lin.weight` and `conv1.bias` belong to `conv1`), and zarr alone reads the
    arrays.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pcodec is outside of Zarr's core specification
        group: Any = zarr.open_group(store, mode="r")
        arrays = dict(_arrays(group["parameters"]))
        steps = np.asarray(group["step"][...])
        epochs = np.asarray(group["epoch"][...])
        assert np.array_equal(np.diff(steps), np.ones(len(steps) - 1)), "every step is there"
        energy: dict[str, np.ndarray[Any, Any]] = {}
        weights: dict[str, int] = {}
        for path, array in arrays.items():
            layer = path.split("/")[0]
            total = energy.setdefault(layer, np.zeros(len(steps) - 1))
            weights[layer] = weights.get(layer, 0) + int(np.prod(array.shape[:-1]))
            for start in range(0, len(total), AT_A_TIME):  # a long run does not fit into memory
                frames = np.asarray(array[..., start : start + AT_A_TIME + 1], np.float64)
                velocity = np.diff(frames.reshape(-1, frames.shape[-1]), axis=1)
                total[start : start + AT_A_TIME] += 0.5 * (velocity**2).sum(axis=0)
    run = analyzer.open_run(store)
    whole = analyzer.temperature(run, by="layer").compute()
    by_epoch = analyzer.temperature(run, by="layer", window="epoch", errors=False).compute()
    worst = {"whole run": 0.0, "by epoch": 0.0}
    shown = {}
    for n, layer in enumerate(whole["layer"].values):
        series = energy[layer] / weights[layer]
        ours = series.mean()
        theirs = float(whole["temperature"].values[n, 0])
        shown[str(layer)] = {"numpy": float(ours), "analyzer": theirs}
        worst["whole run"] = max(worst["whole run"], abs(theirs / ours - 1))
        for m, epoch in enumerate(np.unique(epochs[1:])):
            part = series[epochs[1:] == epoch].mean()
            worst["by epoch"] = max(worst["by epoch"], abs(float(by_epoch["temperature"].values[n, m]) / part - 1))
    windows = int(by_epoch.sizes["window"])
    return {"run": store.stem, "layers": shown, "windows": windows, "largest_relative_difference": worst}


def _arrays(group: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """All arrays below a group, by path."""
    found = [(f"{prefix}{name}", item) for name, item in group.arrays()]
    for name, inner in group.groups():
        found += _arrays(inner, f"{prefix}{name}/")
    return found
