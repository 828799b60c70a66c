"""Slow changes of averages: false alarms in stationary series, the size of a transient, what cannot be judged."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import fdtrc

from analyzer.statistics.trend import slow_changes
from tests import systems


@pytest.mark.parametrize("batches", [16, 24, 60, 256])
def test_p_is_uniform_in_noise(batches: int) -> None:
    """The F test is exact for white noise: p < 0.01 in 1 % of 4,000 groups."""
    p, _ = slow_changes(np.full(batches, 10), 10 * (20 + np.random.default_rng(1).standard_normal((4000, batches))))
    assert (p < 0.01).mean() == pytest.approx(0.01, abs=4 * np.sqrt(0.01 * 0.99 / 4000))
    assert (p < 0.5).mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(4000))


def test_stationary_runs_do_not_change() -> None:
    """AR(1) with ρ = 0.9 for 500 correlation times: one p in a thousand is below 0.001, as kinetic energies go."""
    series = systems.kinetic(np.random.default_rng(2), systems.ar1(0.9), 1000, 5, 4750)
    p, _ = slow_changes(np.full(475, 10), series.reshape(1000, 475, 10).sum(axis=2))
    assert (p < 0.001).sum() <= 6


def test_a_transient_is_seen_and_measured() -> None:
    """T falls by half with a time of a tenth of the window, in the noise of 20 weights; some batches are missing."""
    rng = np.random.default_rng(3)
    truth = 1 + np.exp(-np.arange(200) / 20)
    counts = np.full(200, 5)
    counts[[40, 41]] = 0
    sums = np.where(counts > 0, truth * rng.chisquare(100, (50, 200)) / 100 * counts, np.nan)
    p, change = slow_changes(counts, sums)
    assert (p < 1e-6).all()
    there = np.flatnonzero(counts)
    expected = truth[there[99:]].mean() / truth[there[:99]].mean() - 1
    np.testing.assert_allclose(change, expected, atol=0.1)
    assert change.mean() == pytest.approx(expected, abs=0.02)


def test_batches_of_uneven_length_are_no_change() -> None:
    """The sum of a batch of 3 samples is not low beside those of 300: what counts is its deviation from the mean."""
    counts = np.where(np.arange(40) < 20, 300, 3)
    noise = np.random.default_rng(5).standard_normal((2000, 40)) * np.sqrt(counts)
    p, _ = slow_changes(counts, 20 * counts + noise)
    assert (p < 0.001).mean() < 0.02


def test_by_hand_and_what_cannot_be_judged() -> None:
    x = 3 + np.random.default_rng(4).standard_normal((3, 30))
    x[1] = 0.1
    x[2, 3] = np.nan
    p, change = slow_changes(np.ones(30), x)
    time = (np.arange(30) + 0.5) / 30
    squares = np.array([((x[0] - x[0].mean()) * np.cos(np.pi * j * time)).sum() ** 2 for j in range(1, 30)])
    assert p[0] == pytest.approx(fdtrc(4, 20, squares[:4].mean() / squares[9:].mean()))
    assert change[0] == pytest.approx(x[0, 15:].mean() / x[0, :15].mean() - 1)
    assert (p[1], change[1]) == (1, 0)
    assert np.isnan(p[2])
    few, _ = slow_changes(np.ones(15), x[:, :15])
    assert np.isnan(few).all()
