"""What `analyzer.statistics` computes itself, to avoid the import of scipy, equals scipy's numbers to the bit."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import scipy.fft
from pymbar import timeseries
from scipy.special import ndtri, stdtrit

from analyzer.statistics import correlations, uncertainty
from analyzer.statistics.uncertainty import (
    statistical_inefficiency,
)
from tests import systems


def test_quantiles() -> None:
    assert float(ndtri(0.975)) == uncertainty.NORMAL
    assert {n: float(stdtrit(n, 0.975)) for n in range(3, 13)} == dict(uncertainty._STUDENT)


def test_lengths_that_transform_fast() -> None:
    for least in (*range(1, 5000), 2**20 - 1, 2**20 + 1, 3**12 + 1, 999_983):
        assert correlations._fast_length(least) == scipy.fft.next_fast_len(least, real=True)


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 5, 9, 33])
def test_transforms(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(groups)
    assert correlations._transforms(1) is scipy.fft, "it is loaded"
    for samples in (*range(1, 50), *rng.integers(50, 5000, 20)):
        series = rng.normal(size=(groups, int(samples)))
        size = correlations._fast_length(2 * series.shape[1])
        by_scipy = correlations._products(series, size)
        with monkeypatch.context() as patched:
            patched.delitem(sys.modules, "scipy.fft")
            assert correlations._transforms(1) is np.fft
            by_numpy = correlations._products(series, size)
        np.testing.assert_array_equal(by_numpy, by_scipy)


def series_of_every_kind() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(10)
    return {
        "white": rng.standard_normal(1000),
        "correlated": systems.autoregression(rng, 1, 3001, 0.95, 2e-9)[0],
        "alternating": systems.autoregression(rng, 1, 500, -0.8, 1.0)[0],
        "trend": np.linspace(0, 3, 777) + rng.standard_normal(777),
        "energies": systems.kinetic(rng, systems.ar1(0.9), 1, 7, 2000)[0],
        "short": rng.standard_normal(5),
        "tiny": 1e-170 * rng.standard_normal(400),
    }


@pytest.mark.parametrize("kind", list(series_of_every_kind()))
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("minimum_time", [1, 3, 10])
def test_inefficiency_is_pymbars(kind: str, fast: bool, minimum_time: int) -> None:
    series = series_of_every_kind()[kind]
    # pymbar squares without rescaling, and 1e-170 squared is 0.
    judged = series / np.abs(series).max()
    expected = timeseries.statistical_inefficiency(judged, fast=fast, mintime=minimum_time)
    assert statistical_inefficiency(series, fast=fast, minimum_time=minimum_time) == pytest.approx(expected, rel=1e-9)
