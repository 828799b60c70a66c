"""The coverage benchmark, small: shares of 400 sweeps with fixed seeds, four binomial deviations about what is claimed.

One deviation of a share of 95 % in 400 is 1.1 %: 91 to 99 % pass. An interval that held in 88 % would fail.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.fit_coverage import JOINT, Case, coverage, held, naive, rejected

SWEEPS = 400
FAR = 4 * np.sqrt(0.95 * 0.05 / SWEEPS)


@pytest.mark.parametrize(
    "case",
    [
        Case("power", 5, 0.05),
        Case("power", 5, 0.05, missing=0.1, slopes=0.1),
        Case("inverse_power", 3, 0.15),
        Case("inverse_power", 1, 0.05, intervals="weighted"),
        Case("joint", 1, 0.05),
        Case("linear", 5, 0.15),
    ],
)
def test_intervals_hold_the_truth(case: Case) -> None:
    shares, _, _ = held(case, SWEEPS)
    assert all(abs(share - 0.95) < FAR for share in shares.values()), shares


def test_intervals_that_are_too_narrow_are_seen() -> None:
    """Errors within runs alone, and runs taken as independent where seeds have exponents of their own: both are."""
    assert naive(SWEEPS, 0.05) < 0.6
    shares, _, kinds = held(Case("power", 5, 0.05, slopes=0.1, intervals="pooled"), SWEEPS)
    assert kinds == "pooled"
    assert shares["b"] < 0.8


@pytest.mark.parametrize(("seeds", "intervals"), [(1, "auto"), (5, "auto")])
def test_true_hypotheses_are_rejected_in_a_twentieth(seeds: int, intervals: str) -> None:
    case = Case("joint", seeds, 0.05, intervals=intervals, truth=(2.0, -1.0))
    assert abs(rejected(case, "(p, q) = (2, 1)", SWEEPS) - 0.05) < FAR


def test_false_hypotheses_are_rejected() -> None:
    assert rejected(Case("joint", 5, 0.05, truth=(2.0, 0.0)), "(p, q) = (2, 1)", 100) == 1.0
    assert rejected(Case("joint", 1, 0.05, truth=(2.3, -1.0)), "(p, q) = (2, 1)", 100) > 0.8
    assert set(JOINT) == {"(p, q) = (1, 1)", "(p, q) = (2, 1)", "(p, q) = (2, 0)"}


def test_the_table_has_its_rows() -> None:
    rows = coverage(20, [Case("power"), Case("joint", 2)])
    assert [row[7] for row in rows] == ["b", "p", "q"]
    assert [row[6] for row in rows] == ["per-seed", "pooled", "pooled"]
