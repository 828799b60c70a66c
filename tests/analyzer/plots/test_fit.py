"""The picture of a fit: labels of learning rates and lags that can be read."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from analyzer.plots.fit import _apart, by_lag


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
