"""The sweep example: what it records is what its docstring's commands read."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import analyzer
from analyzer.errors import FitWarning

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_small_sweep_is_recorded_and_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = ["--training", "1", "--discard", "1", "--steps", "4", "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", ["sweep.py", "--output", str(tmp_path), *few])
    monkeypatch.syspath_prepend(EXAMPLES)
    before = set(sys.modules)
    try:
        importlib.import_module("sweep").main()
    finally:
        for name in set(sys.modules) - before:  # the script's neighbours, by names that others have, too
            if name.partition(".")[0] in ("sweep", "data", "models"):
                del sys.modules[name]
    rates = analyzer.open_sweep(tmp_path / "rate-*.zarr")
    assert sorted(rates["learning_rate"].values.tolist()) == [7e-4, 1e-3, 1.5e-3, 2.1e-3, 3e-3]
    assert {run.sizes["step"] for run in rates.children.values()} == {5}
    with pytest.warns(FitWarning, match="unknown in 5 of 5 runs"):  # four steps do not tell
        answer = rates.thermo.fit()
    assert answer["group"].values.tolist() == ["initial_conv", "conv1", "conv2", "conv3", "out"]
    # Plain SGD far from equilibrium: v = −ηg and the gradients hardly change, so b is close to 2.
    assert (abs(answer["value"].sel(coefficient="b") - 2) < 0.5).all()
    batches = analyzer.open_sweep(tmp_path / "batch-*.zarr")
    assert sorted(batches["batch_size"].values.tolist()) == [8, 16, 32, 64, 128]
    with pytest.warns(FitWarning, match="unknown in 5 of 5 runs"):
        answer = batches.thermo.fit(against="batch_size", model="inverse_power")
    assert answer["runs"].values.tolist() == [5] * 5
