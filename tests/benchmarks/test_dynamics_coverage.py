"""The coverage benchmark of dynamics, small: intervals hold the truth about as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.statistics import lagged
from tests.benchmarks import dynamics_coverage, spectrum_coverage
from tests.benchmarks.dynamics_coverage import SYSTEMS, Coverage, System, adam, ar1, heavy_ball, line, measure, sgd

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


@pytest.mark.parametrize("system", [ar1(0.9), sgd(0.9), heavy_ball(0.9, 0.3), heavy_ball(0.5, 0.05), adam()])
def test_displacements_are_sums_of_correlations(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """MSD(τ) = Σ_s Σ_t C(s − t) = τ C(0) + 2 Σ_k (τ − k) C(k), for any motion whose correlation is steady."""
    monkeypatch.setattr(dynamics_coverage, "_REFERENCE", (8, 1 << 13))
    lag = np.arange(200)
    c = system.correlation(lag)
    summed = [tau * c[0] + 2 * sum((tau - k) * c[k] for k in range(1, tau)) for tau in lag[1:]]
    np.testing.assert_allclose(system.displacement(lag)[1:], summed, rtol=1e-9, atol=1e-9 * c[0])
    if system.name.startswith("Adam"):
        assert c[5] / c[0] == pytest.approx(0.9**5, abs=0.08)


def test_intervals_of_a_spectrum_hold_what_sections_have_on_average() -> None:
    """Where S ∝ f², as in a minimum, the Hann window's weights ¼, 1, ¼ lift the first frequency: (¼ 0 + 1 + ¼ 4)/1.5 is
    a third more. Intervals of ten weights hold the mean density of sections there, and leave out the density itself."""
    confined = spectrum_coverage.FILTERS[3]
    density, smeared = spectrum_coverage.truths(confined, 512)
    assert smeared[0] / density[0] == pytest.approx(4 / 3, rel=0.03)
    np.testing.assert_allclose(smeared[4:], density[4:], rtol=0.01)
    (row,) = spectrum_coverage.measure([confined], 60, 31, weights=10, length=512)
    assert row.smeared.mean() == pytest.approx(96, abs=1.2)
    assert row.smeared[0] > 80
    assert row.density[0] < 50
    assert spectrum_coverage.lines(spectrum_coverage.Coverage("x", 1, 31, *np.full((2, 511), 95.0))).count("95.0") == 16
