"""The coverage benchmark of dynamics, small: intervals hold the truth about as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.statistics import lagged
from tests.benchmarks.dynamics_coverage import SYSTEMS, Coverage, System, ar1, line, measure, sgd

LAGS = np.array([0, 1, 2, 10, 12, 14, 96, 112, 128, 448, 512, 640, 896, 1024])
SYSTEMS_OF_EACH = 120


def test_intervals_hold_the_truth() -> None:
    """Of 120 intervals with a coverage of 92 %, fewer than 98 hold once in 10,000; some 40 cells are looked at."""
    rows = list(measure((SYSTEMS[1], SYSTEMS[3]), SYSTEMS_OF_EACH, 16385, lags=LAGS, seed=3))
    assert len(rows) == 16
    for row in rows:
        assert row.system in line(row)
        if row.column not in ("autocorrelation", "normalised", "displacement", "exponent"):
            continue  # D is given where the exponent is near 1; the correlation time is a sum over more lags
        known = np.isfinite(row.held)
        assert known.sum() >= LAGS.size - 1
        assert (row.given[known] == 100).all()
        assert (row.held[known] > 100 * 98 / SYSTEMS_OF_EACH).all(), row


def correlation_time_of(system: System) -> Coverage:
    """How the correlation time of 80 groups of five weights fared."""
    (row,) = [row for row in measure((system,), 80, 4097, weights=5, seed=5) if row.column == "correlation time"]
    return row


def test_correlation_times_hold_the_whole_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Summed to where C fades into its error bars, and no further, too few of the intervals hold it."""
    row = correlation_time_of(ar1(0.97))
    assert (row.given[0], row.held[0]) == (100, pytest.approx(96, abs=4))
    monkeypatch.setattr(lagged, "SUMMED", 1)
    assert correlation_time_of(ar1(0.97)).held[0] < 90


def test_a_correlation_time_that_displacements_contradict_has_no_error_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """SGD in a minimum: each C(τ) is less than its error, and their sum takes ½ to 0, as the displacement shows."""
    assert correlation_time_of(sgd(0.98)).given[0] < 5
    monkeypatch.setattr(lagged, "HIDDEN", np.inf)
    row = correlation_time_of(sgd(0.98))
    assert (row.given[0], row.held[0]) == (100, 0)
