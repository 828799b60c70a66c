"""Welch's density from sums over sections: scipy as judge, and Parseval's theorem."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from analyzer.statistics.spectral import hann, welch


@pytest.mark.parametrize("length", [16, 15])
def test_batches_of_several_sections_and_frames_several_steps_apart(length: int) -> None:
    """Batches of 1, 2 and 5 sections of two groups of 3 and 4 weights, with 4 steps between velocities.

    Σ S Δf = ⟨Σ h² v²⟩/Σ h² over sections and weights, whatever the spacing.
    """
    rng = np.random.default_rng(1)
    counts, apart, weights = np.array([1, 2, 5]), 4.0, np.array([3, 4])
    velocities = [rng.normal(size=(size, counts.sum(), length)) for size in weights]
    window, first = hann(length), np.cumsum(counts) - counts
    squares = [np.abs(np.fft.rfft(window * own)) ** 2 for own in velocities]
    sums = np.stack([np.add.reduceat(own.sum(axis=0), first, axis=0) for own in squares])
    density, error, integral = welch(sums, counts, weights, length, apart)
    assert np.isnan(error).all()
    for n, own in enumerate(velocities):
        _, judged = scipy.signal.periodogram(own, 1 / apart, window, detrend=False)
        np.testing.assert_allclose(density[n], judged.mean(axis=(0, 1)), rtol=1e-12)
        mean = (window**2 * own**2).sum(axis=2).mean() / (window**2).sum()
        assert integral[n] == pytest.approx(mean, rel=1e-12)
