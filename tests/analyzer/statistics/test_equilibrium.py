"""Equilibration: pymbar as judge of t0, g and N_eff; transients of known length; runs that still drift."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from analyzer.statistics.equilibrium import candidate_starts, detect, linear_drift
from tests import systems

logging.disable(logging.WARNING)  # pymbar advertises JAX while it is imported
from pymbar import timeseries  # noqa: E402

logging.disable(logging.NOTSET)

SAMPLES = 2000


def energies(seed: int, rho: float, groups: int, samples: int = SAMPLES) -> np.ndarray:
    """𝒯(t) of 20 weights, in units of its standard deviation."""
    series = systems.kinetic(np.random.default_rng(seed), systems.ar1(rho, 1.0), groups, 20, samples)
    return np.asarray(series / series.std())


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_start_and_inefficiency_are_pymbars(fast: bool, seed: int) -> None:
    """pymbar counts one sample more (N − t0 + 1) and keeps g in single precision: hence the tolerance."""
    series = energies(seed, 0.8, 1, 1000)[0] + 4 * np.exp(-np.arange(1000) / 60)
    start, g, n_eff = timeseries.detect_equilibration(series, fast=fast, nskip=10)
    answer = detect(series, fast=fast)
    assert answer.start[0] == start
    assert answer.inefficiency[0] == pytest.approx(g, rel=1e-6)
    assert answer.n_eff[0] == pytest.approx(n_eff * (1000 - start) / (1000 - start + 1), rel=1e-6)


@pytest.mark.parametrize(("rho", "length"), [(0.0, 400), (0.9, 400), (0.0, 1200)])
def test_a_step_is_found_to_two_candidates_and_the_correlation(rho: float, length: int) -> None:
    """Five standard deviations too hot for `length` samples: t0 is found to 2N/100 + 30 g in 9 of 10."""
    series = energies(4, rho, 30) + 5.0 * (np.arange(SAMPLES) < length)
    answer = detect(series)
    allowed = 2 * SAMPLES / 100 + 30 * (1 + rho**2) / (1 - rho**2)
    assert (answer.start >= length - SAMPLES / 100).all()
    assert np.mean(answer.start <= length + allowed) >= 0.9
    assert np.mean(answer.verdict == "drifting") <= 0.2


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_a_stationary_series_is_called_so(rho: float) -> None:
    """At most 5 % false alarms: of 80, eleven or more have a chance of 0.2 %. Most starts are the first frame."""
    answer = detect(energies(5, rho, 80))
    assert np.sum(answer.verdict == "drifting") <= 10
    assert np.sum(answer.verdict == "stationary") >= 68
    assert np.median(answer.start) <= 2 * SAMPLES / 100


@pytest.mark.parametrize("total", [4.0, 10.0])
def test_a_run_that_still_drifts_is_called_so(total: float) -> None:
    """White 𝒯 that rises by `total` standard deviations to the very end, wherever t0 falls."""
    answer = detect(energies(6, 0.0, 40) + total * np.arange(SAMPLES) / SAMPLES)
    assert np.mean(answer.verdict == "drifting") >= 0.9


def test_error_of_the_drift() -> None:
    """Slope and error of white noise are those of least squares: the larger of two estimates is 4 to 15 % above it."""
    series = energies(7, 0.0, 200) + 1e-3 * np.arange(SAMPLES)
    fitted = np.array([linear_drift(row) for row in series])
    np.testing.assert_allclose(fitted[:, 0], np.polyfit(np.arange(SAMPLES), series.T, 1)[0], rtol=1e-9)
    theory = np.sqrt(12 / SAMPLES**3)
    assert fitted[:, 0].std() == pytest.approx(theory, rel=0.25)
    assert 1.0 * theory < fitted[:, 1].mean() < 1.2 * theory
    inside = np.abs(fitted[:, 0] - 1e-3) <= 1.96 * fitted[:, 1]
    assert inside.mean() >= 0.90


def test_constant_stuck_and_nan() -> None:
    table = energies(8, 0.0, 4, 300)
    table[0] = 2.0
    table[1, 150:] = 2.0
    table[2, 5] = np.nan
    answer = detect(table)
    assert answer.start[0] == 0
    assert answer.inefficiency[0] == 1
    assert answer.verdict[0] == "stationary"
    # A tail of 150 equal numbers is one sample, and the start is not put into it.
    assert answer.start[1] < 150
    assert answer.verdict[2] == "undecided"
    assert np.isnan(answer.drift[2])


@pytest.mark.parametrize("power", [-650, 900])
def test_nothing_depends_on_the_unit(power: int) -> None:
    """A power of two as the unit changes no bit: neither do squares of errors overflow nor vanish."""
    table = np.stack([energies(seed, 0.9, 1, 200)[0] + seed * 1e-3 * np.arange(200) for seed in range(60)])
    one, other = detect(table), detect(table * 2.0**power)
    np.testing.assert_array_equal(one.start, other.start)
    np.testing.assert_array_equal(one.verdict, other.verdict)
    np.testing.assert_array_equal(one.reason, other.reason)
    np.testing.assert_array_equal(one.drift * 2.0**power, other.drift)


def test_starts() -> None:
    assert candidate_starts(1875).size <= 100
    np.testing.assert_array_equal(candidate_starts(1000), np.arange(0, 999, 10))
    np.testing.assert_array_equal(candidate_starts(5), [0, 1, 2, 3])


@pytest.mark.parametrize(("rho", "length"), [(0.0, 400), (0.9, 400), (0.0, 1200), (0.9, 1200), (0.0, 0)])
def test_the_range_holds_the_end_of_a_sudden_change(rho: float, length: int) -> None:
    """In 95 of 100 (COVERAGE.md): of 60, fewer than 51 have a chance of 0.4 %; and it is not the whole series."""
    answer = detect(energies(9, rho, 60) + 5.0 * (np.arange(SAMPLES) < length))
    held = (answer.low <= length) & (length <= answer.high)
    assert held.sum() >= 51
    assert (answer.low <= answer.start).all()
    assert (answer.start <= answer.high).all()
    assert np.median(answer.high - answer.low) <= 0.25 * (SAMPLES - length)
    # A tighter range is missed more often: the share is not too generous.
    if rho and length:
        assert np.sum(answer.start == length) < 51
