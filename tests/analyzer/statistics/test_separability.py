"""Rows × columns: what is exactly separable, what has no structure, mixtures of known share, what did not move."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, kstest

from analyzer.statistics.density import NORMAL
from analyzer.statistics.separability import chance, separability
from analyzer.statistics.two_way import layout
from analyzer.statistics.uncertainty import error_of_batches, from_batches
from tests.systems import matrix_of_share

COUNTS = np.full(16, 64.0)


def exact(heat: np.ndarray) -> np.ndarray:
    """Batches without any fluctuation: ⟨v²⟩ is known exactly."""
    return np.repeat(heat[..., np.newaxis], COUNTS.size, axis=-1)


def by_dummies(values: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Plain least squares on an indicator of each row and each column: residuals, explained and total squares."""
    rows, columns = np.nonzero(there)
    design = np.zeros((rows.size, sum(there.shape)))
    design[np.arange(rows.size), rows] = design[np.arange(rows.size), there.shape[0] + columns] = 1
    known = values[there]
    fitted = design @ np.linalg.lstsq(design, known, rcond=None)[0]
    left = np.zeros(there.shape)
    left[there] = known - fitted
    return left, float(((fitted - known.mean()) ** 2).sum()), float(((known - known.mean()) ** 2).sum())


def test_what_is_exactly_separable_is_explained_to_the_last_digit() -> None:
    """ln(r_i c_j) = ln r_i + ln c_j: nothing is left, and the factors come back up to their geometric means."""
    rng = np.random.default_rng(0)
    row, column = 10 ** rng.uniform(-3, 3, 7), 10 ** rng.uniform(-8, -1, 11)
    found = separability(COUNTS, exact(row[:, np.newaxis] * column))
    assert (found.share, found.measured, found.adjusted) == pytest.approx((1, 1, 1), abs=1e-12)
    assert (found.low, found.high, found.left, found.sampling_error) == pytest.approx((1, 1, 0, 0), abs=1e-10)
    np.testing.assert_allclose(found.row, row / np.exp(np.log(row).mean()), rtol=1e-12)
    np.testing.assert_allclose(found.column, column / np.exp(np.log(column).mean()), rtol=1e-12)
    assert found.scale == pytest.approx(np.exp(np.log(row).mean() + np.log(column).mean()), rel=1e-12)
    np.testing.assert_allclose(found.ratio, 1, rtol=1e-12)
    np.testing.assert_allclose(found.row_low, found.row_high, rtol=1e-10)


@pytest.mark.parametrize("shape", [(4, 5), (10, 32)])
def test_elements_without_structure_are_explained_by_chance(shape: tuple[int, int]) -> None:
    """Gaussian ln⟨v²⟩ without structure: the fit and what is left are independent χ² with their degrees of freedom.

    So their share is Beta((r + c − 2)/2, (r − 1)(c − 1)/2), with mean (r + c − 2)/(rc − 1); the adjusted one is 0.
    """
    rng = np.random.default_rng(1)
    rows, columns = shape
    found = [separability(COUNTS, exact(np.exp(rng.normal(size=shape)))) for _ in range(400)]
    shares = np.array([one.share for one in found])
    expected = (rows + columns - 2) / (rows * columns - 1)
    assert found[0].chance == pytest.approx(expected)
    law = beta((rows + columns - 2) / 2, (rows - 1) * (columns - 1) / 2)
    assert law.mean() == pytest.approx(expected)
    assert found[0].chance_high == pytest.approx(law.ppf(0.95))
    assert kstest(shares, law.cdf).pvalue > 1e-3
    assert abs(np.mean([one.adjusted for one in found])) < 4 * shares.std() / (1 - expected) / np.sqrt(400)
    assert chance(layout(np.ones(shape, dtype=bool)))[0] == found[0].chance


@pytest.mark.parametrize("share", [0.2, 0.9, 0.999])
def test_a_mixture_has_the_share_that_it_was_made_with(share: float) -> None:
    found = separability(COUNTS, exact(np.exp(matrix_of_share(np.random.default_rng(2), (6, 9), share))))
    assert (found.share, found.low, found.high) == pytest.approx((share, share, share), rel=1e-9)
    assert found.adjusted == pytest.approx((share - found.chance) / (1 - found.chance))
    assert found.left == pytest.approx(np.sqrt(1 - share))  # the total has the mean square 1


def test_sampling_errors_do_not_lower_the_share() -> None:
    """⟨v²⟩ of n Gaussian velocities has the relative variance 2/n, which adds as much to the square of what is left.

    Per element 2/n over 1 here: the share as measured is lower by that; the share itself is not.
    """
    rng = np.random.default_rng(3)
    share, batches, length = 0.9, 16, 8
    log = matrix_of_share(rng, (12, 12), share)
    found = []
    for _ in range(60):
        squares = rng.chisquare(length, size=(12, 12, batches)) / length
        found.append(separability(np.full(batches, float(length)), np.exp(log)[..., np.newaxis] * squares))
    added = 2 / (batches * length)
    assert np.mean([one.sampling_error**2 for one in found]) == pytest.approx(added, rel=0.03)
    measured = np.mean([one.measured for one in found])
    degrees = (11 * 11 / 144, 143 / 144)
    assert measured == pytest.approx(1 - (1 - share + added * degrees[0]) / (1 + added * degrees[1]), abs=2e-3)
    shares = np.array([one.share for one in found])
    assert abs(shares.mean() - share) < 4 * shares.std() / np.sqrt(60)
    assert abs(measured - share) > 2 * abs(shares.mean() - share)


def test_intervals_of_factors_hold_the_truth() -> None:
    """Independent errors: 95 % of the intervals do, and each is as wide as the mean of n·columns χ² makes it."""
    rng = np.random.default_rng(4)
    log = matrix_of_share(rng, (8, 10), 1.0)
    truth = np.exp(log.mean(axis=1) - log.mean())
    hits, widths = [], []
    for _ in range(60):
        squares = rng.chisquare(32, size=(8, 10, 32)) / 32
        found = separability(np.full(32, 32.0), np.exp(log)[..., np.newaxis] * squares)
        hits.append((found.row_low <= truth) & (truth <= found.row_high))
        widths.append(np.log(found.row_high / found.row_low) / (2 * NORMAL))
    assert 0.91 < np.mean(hits) < 0.985
    expected = np.sqrt(2 / (1024 * 10) * 7 / 8)  # a row's own mean, less the mean of all
    assert np.mean(widths) == pytest.approx(1.1 * expected, rel=0.1)


def test_what_did_not_move_is_left_out() -> None:
    """A row and a column at rest have the factor 0; a single element at rest is no cell; all others as without them."""
    rng = np.random.default_rng(5)
    inner = np.exp(rng.normal(size=(5, 6)))
    heat = np.zeros((7, 7))
    rows, columns = [0, 1, 3, 4, 6], [0, 1, 2, 4, 5, 6]
    heat[np.ix_(rows, columns)] = inner
    heat[3, 4] = 0
    found = separability(COUNTS, exact(heat))
    there = np.ones((5, 6), dtype=bool)
    there[2, 3] = False
    left, explained, total = by_dummies(np.log(inner), there)
    assert found.share == pytest.approx(explained / total)
    assert (found.chance, found.reason) == (pytest.approx(9 / 28), "")
    for factor in (found.row, found.row_low, found.row_high):
        assert np.flatnonzero(factor == 0).tolist() == [2, 5]
    assert np.flatnonzero(found.column == 0).tolist() == [3]
    assert np.exp(np.log(found.row[rows]).mean()) == pytest.approx(1)
    assert found.ratio[3, 4] == 0
    assert np.isnan(found.ratio[2]).all()
    assert np.isnan(found.ratio[:, 3]).all()
    expected = np.where(there, np.exp(left), 0)
    np.testing.assert_allclose(found.ratio[np.ix_(rows, columns)], expected, rtol=1e-9)


def test_what_rounding_has_made_is_left_out() -> None:
    """As if those elements were not there; a row of them alone has no factor, but it is not at rest."""
    rng = np.random.default_rng(8)
    heat = np.exp(rng.normal(size=(5, 6)))
    low = heat.copy()
    low[1], low[3, 2] = 1e-9, 1e-12
    found = separability(COUNTS, exact(low), np.full(heat.shape, 1e-6))
    none = heat.copy()
    none[1], none[3, 2] = 0, 0
    expected = separability(COUNTS, exact(none))
    assert (found.share, found.chance) == (expected.share, expected.chance)
    assert np.isnan([found.row[1], found.row_low[1], found.ratio[3, 2]]).all()
    assert (expected.row[1], expected.ratio[3, 2]) == (0, 0)
    np.testing.assert_array_equal(found.column, expected.column)


@pytest.mark.parametrize(
    ("heat", "reason"),
    [
        (np.ones((4, 1)), "only one column"),
        (np.ones((1, 4)), "only one row"),
        (np.array([[1.0, np.nan], [1, 2]]), "NaN"),
        (np.array([[1.0, np.inf], [1, 2]]), "infinite"),
        (np.zeros((3, 3)), "fewer than two rows"),
        (np.array([[1.0, 1, 1], [0, 0, 0]]), "fewer than two rows"),
        (np.array([[1.0, 0], [1, 1]]), "as many factors"),
        (np.full((3, 3), 2.0), "sampling errors"),
    ],
)
def test_without_an_answer_there_is_a_reason(heat: np.ndarray, reason: str) -> None:
    found = separability(COUNTS, exact(heat))
    assert reason in found.reason
    assert np.isnan([found.share, found.low, found.high]).all()
    assert found.unreliable


def test_few_batches_and_elements_that_are_equal_but_for_chance_give_no_share() -> None:
    rng = np.random.default_rng(6)
    squares = rng.chisquare(8, size=(6, 6, 16)) / 8
    assert "sampling errors" in separability(np.full(16, 8.0), squares).reason
    assert "12 batches are needed, and there are 11" in separability(np.full(11, 8.0), squares[..., :11]).reason


def test_errors_of_batches_are_those_of_their_mean() -> None:
    """One estimate: as `from_batches` has it, where that has an error bar."""
    rng = np.random.default_rng(7)
    counts, sums = np.full(40, 32.0), rng.gamma(8.0, size=(5, 40))
    mean = sums.sum(axis=1, keepdims=True) / counts.sum()
    error, unreliable = error_of_batches(counts, sums - mean * counts)
    known = from_batches(counts, sums, relative_variance=np.full(5, 10.0))
    np.testing.assert_allclose(error, known.standard_error, rtol=1e-12)
    assert unreliable.dtype == bool
    assert np.isnan(error_of_batches(counts[:3], sums[:, :3])[0]).all()
    assert error_of_batches(counts[:9], sums[:, :9] - sums[:, :9].mean(axis=1, keepdims=True))[1].all()
