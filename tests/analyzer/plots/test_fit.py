"""The picture of a fit: labels of learning rates and lags that can be read."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg

import analyzer
from analyzer.plots.fit import _apart, by_lag, fits
from analyzer.quantities.fits.fit import Curve, fit_of
from tests.stores import write_store


@pytest.mark.parametrize("model", ["linear", "power"])
@pytest.mark.parametrize("exponent", [0.0, 1.0, -1.0])
def test_the_equation_covers_neither_points_nor_error_bars(tmp_path: Path, exponent: float, model: str) -> None:
    for number, inverse in enumerate((1 / 8, 1 / 12, 1 / 20, 1 / 32, 1 / 80, 1 / 128)):
        noise = np.random.default_rng(number).normal(0, inverse ** (exponent / 2), (4, 3, 512))
        if number > 3:  # at the left end of the axis T changes in time: its error bars are long
            noise *= np.where(np.arange(512) % 64 < 32, 0.5, 1.3)
        walk = np.cumsum(noise, axis=-1)
        path = tmp_path / f"{number}.zarr"
        write_store(path, {"lin.weight": walk}, hyperparameters={"batch_size": round(1 / inverse)})
    curve = Curve(against=["inverse_batch_size"], model=model)
    _, found = fit_of(analyzer.open_sweep(f"{tmp_path}/*.zarr"), curve, by="row")
    figure = fits(found)
    FigureCanvasAgg(figure).draw()
    for axes in figure.axes[:4]:
        (equation,) = axes.texts
        box = equation.get_window_extent()
        drawn = [line.get_xydata() for line in axes.lines]
        drawn += [segment for bars in axes.collections for segment in getattr(bars, "get_segments", list)()]
        assert len(drawn) > 6
        for ends in map(np.asarray, drawn):
            between = np.concatenate([np.linspace(*pair, 200) for pair in itertools.pairwise(ends)] or [ends])
            assert not box.count_contains(axes.transData.transform(between)), equation.get_text()
        assert axes.get_window_extent().count_contains(np.array([box.min, box.max])) == 2, "it lies within the axes"


def test_labels_that_would_touch_are_left_out() -> None:
    rates = np.array([0.0007, 0.001, 0.0013, 0.0016, 0.002, 0.0025, 0.003])
    shown = _apart([f"{rate:.3g}" for rate in rates], np.log(rates))
    assert [label for label in shown if label] == ["0.0007", "0.001", "0.0013", "0.002", "0.003"]
    assert _apart(["0.001"], np.log([0.001])) == ["0.001"]


@pytest.mark.parametrize("groups", [2, 20])
def test_a_lag_that_differs_between_runs_has_its_name(groups: int) -> None:
    """An epoch has 7,500 steps at batch size 8 and 468 at 128: no number of steps stands for both."""
    shape = (3, groups, 2)
    answer = xr.Dataset(
        {
            **{name: (("lag", "group", "coefficient"), np.full(shape, 1.0)) for name in ("value", "low", "high")},
            "steps_per_lag": (("lag", "run"), [[7500, 468], [1, 1], [30, 30]]),
        },
        {"lag": ["epoch", "1", "30"], "group": [f"g{n}" for n in range(groups)], "coefficient": ["a", "q"]},
        {"level": 0.95},
    )
    axes = by_lag(answer).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "30", "epoch"]
