"""The numbers that `analyzer.statistics.density` has itself, to avoid the import of scipy, are scipy's."""

from __future__ import annotations

import numpy as np
from scipy.special import fdtrc, ndtri, stdtrit

from analyzer.statistics import density


def test_quantiles() -> None:
    assert float(ndtri(0.975)) == density.NORMAL
    assert {n: float(stdtrit(n, 0.975)) for n in range(3, 13)} == dict(density._STUDENT)


def test_the_chance_of_a_ratio_is_that_of_f() -> None:
    ratio = np.linspace(0.1, 9, 30)
    for even, freedom in ((4, 52), (12, 28), (12, 13), (4, 4)):
        np.testing.assert_allclose(density._chance(ratio, even, freedom), fdtrc(even, freedom, ratio), rtol=1e-9)
