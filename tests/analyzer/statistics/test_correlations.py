"""What `analyzer.statistics` computes itself, to avoid the import of scipy, equals scipy's numbers to the bit."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import scipy.fft

from analyzer.statistics import correlations


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
