"""Do rows differ: false rejections on rows with shared signals, power, scipy as judge of the parts."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from scipy import stats

from analyzer.statistics.heterogeneity import (
    DIFFER,
    NONE_FOUND,
    UNDECIDED,
    judge,
    rank_correlation,
    ranking,
    rows_differ,
)
from tests.benchmarks import analyzer_rejections
from tests.benchmarks.analyzer_rejections import energies_of_units


@pytest.mark.parametrize(("rows", "blocks", "shared"), [(10, 40, 0.0), (10, 40, 0.5), (32, 20, 0.5), (2, 30, 0.0)])
def test_equal_rows_are_rejected_in_one_of_twenty(rows: int, blocks: int, shared: float) -> None:
    """Of 200 systems 3 to 20: outside of that lie 0.3 % of all results at a rate of 5 %."""
    rng = np.random.default_rng(30)
    rejected = sum(rows_differ(energies_of_units(rng, rows, blocks, shared, 100)).p_value < 0.05 for _ in range(200))
    assert 3 <= rejected <= 20


def test_different_rows_are_found() -> None:
    """A block mean scatters by √(2·4.6/100) = 0.3 of T, so a mean over 40 by 5 %; half the rows are 20 % hotter."""
    rng = np.random.default_rng(31)
    hotter = np.where(np.arange(10) < 5, 1.2, 1.0)[:, np.newaxis]
    found = sum(rows_differ(hotter * energies_of_units(rng, 10, 40, 0.3, 100)).p_value < 0.05 for _ in range(50))
    assert found >= 45


def test_f_is_that_of_two_way_analysis_of_variance() -> None:
    """Without correlation in time: rows as treatments, blocks as subjects, by sums of squares written out."""
    x = np.random.default_rng(32).standard_normal((6, 500))
    x = x[:, np.argsort(np.random.default_rng(33).random(500))]
    answer = rows_differ(x)
    centred = x - x.mean(axis=0)
    rows = 500 * (centred.mean(axis=1) ** 2).sum() / 5
    rest = ((centred - centred.mean(axis=1, keepdims=True)) ** 2).sum() / (5 * 499)
    assert answer.f * answer.inefficiency == pytest.approx(rows / rest, rel=1e-9)
    assert answer.inefficiency == pytest.approx(1, abs=0.1)
    assert answer.sphericity == pytest.approx(1, abs=0.02)


def test_two_rows_are_a_paired_t_test() -> None:
    x = np.random.default_rng(34).standard_normal((2, 60)) + np.array([[0.3], [0.0]])
    answer = rows_differ(x)
    t = stats.ttest_rel(x[0], x[1])
    assert answer.f * answer.inefficiency == pytest.approx(t.statistic**2, rel=1e-9)
    assert answer.numerator == 1


def test_what_cannot_be_tested_is_nan() -> None:
    x = energies_of_units(np.random.default_rng(35), 5, 30, 0.2, 100)
    diverged = x.copy()
    diverged[:, 20:] = np.nan  # all weights at once: no test of the rest in its place
    assert np.isnan(rows_differ(diverged).p_value)
    assert judge(np.repeat(diverged, 3, axis=1), np.full(90, 100), 1, 1.0).reason == "a row has NaN or infinite weights"
    assert np.isnan(ranking(diverged, np.full(30, 100), weights=1).mean).all()
    assert np.isnan(rows_differ(x[:1]).p_value)
    assert np.isnan(rows_differ(x[:, :2]).p_value)
    broken = x.copy()
    broken[2, 3] = np.nan
    assert np.isnan(rows_differ(broken).p_value)
    dead = np.zeros((4, 30))
    assert rows_differ(dead).p_value == 1
    assert rows_differ(dead + 0.1).p_value == 1  # equal to rounding
    dead[1] = 0.5  # constant, and not equal
    assert rows_differ(dead).p_value == 0


def test_ranking_from_hot_to_cold() -> None:
    """Rows from 1 to 3 T, each known to 5 %: the ranking is theirs, up to neighbours, and halves agree."""
    truth = np.linspace(1, 3, 8)[[3, 0, 7, 5, 1, 6, 2, 4]]
    x = truth[:, np.newaxis] * energies_of_units(np.random.default_rng(36), 8, 100, 0.0, 100)
    answer = ranking(x, np.full(100, 100), weights=1)
    assert answer.order[0] == 2
    assert answer.order[-1] == 1
    assert answer.stability > 0.85
    assert (np.abs(answer.mean - 0.5 * truth) < 4 * answer.standard_error).all()
    halves = x[:, :50].mean(axis=1), x[:, 50:].mean(axis=1)
    assert answer.stability == pytest.approx(stats.spearmanr(*halves).statistic, rel=1e-12)


def test_rank_correlation_with_ties_and_nan() -> None:
    one, other = np.array([1.0, 2, 2, 5, np.nan, 0]), np.array([3.0, 1, 4, 4, 2, 0])
    keep = np.isfinite(one)
    assert rank_correlation(one, other) == pytest.approx(stats.spearmanr(one[keep], other[keep]).statistic, rel=1e-12)
    assert np.isnan(rank_correlation(np.ones(4), np.arange(4.0)))


def test_short_blocks_and_long_ones_must_both_find_a_difference() -> None:
    """Half of the 48 blocks of each row are hot, in spells of twelve, which noise hides from neighbouring blocks.

    What is reported is the test with the larger p-value, of 48 blocks or of 12; where they disagree, nothing is
    decided. The short blocks alone call more than a tenth of these different.
    """
    rng = np.random.default_rng(37)
    found = []
    for _ in range(100):
        spells = np.repeat(1 + 0.3 * rng.integers(0, 2, (6, 4)), 12, axis=1)
        energy = spells * (1 + 0.6 * rng.standard_normal((6, 48)))
        answer = judge(energy, np.full(48, 100), 1, 1.0)
        tests = [rows_differ(x) for x in (energy, energy.reshape(6, 12, 4).mean(axis=2))]
        assert answer.test.p_value == pytest.approx(max(t.p_value for t in tests), rel=1e-9)
        assert answer.length == (100 if answer.test.batches == 48 else 400)
        found.append([t.p_value < 0.05 for t in tests])
        verdict = {(True, True): DIFFER, (True, False): UNDECIDED}.get(tuple(found[-1]), NONE_FOUND)
        assert answer.verdict == verdict
    short, long = np.sum(found, axis=0)
    assert short > 10
    assert short > long


def test_verdicts_and_their_reasons() -> None:
    rng = np.random.default_rng(38)
    x = energies_of_units(rng, 5, 40, 0.2, 100)
    warm = x * np.array([3.0, 1, 1, 1, 1])[:, np.newaxis]
    counts = np.full(40, 100)
    assert (judge(x, counts, 1, 4.6).verdict, judge(x, counts, 1, 4.6).reason) == (NONE_FOUND, "")
    assert (judge(warm, counts, 1, 4.6).verdict, judge(warm, counts, 1, 4.6).reason) == (DIFFER, "")
    for means, g, reason in (
        (warm[:1], 4.6, "there is only one row"),
        (
            warm,
            150.0,
            "12 batches are needed, each 3 times as long as 𝒯 is correlated (150 velocities), and 8 are there",
        ),
        (warm * np.nan, 4.6, "a row has NaN or infinite weights"),
        (
            x * np.linspace(1, [50, 1, 1, 1, 1], 40).T,
            4.6,
            "temperatures fluctuate slowly within the window: its 40 batches are",
        ),
        (
            x * np.linspace(1, [9, 1, 1, 5, 3], 40).T,
            4.6,
            "temperatures fluctuate slowly within the window: 40 batches find a",
        ),
    ):
        answer = judge(means, counts, 1, g)
        assert answer.verdict == UNDECIDED
        assert answer.reason.startswith(reason)


def test_the_end_of_a_window_that_is_short_does_not_count_in_the_test() -> None:
    """A sliver of three steps, a hundred times too hot in one row, would drown all else."""
    x = energies_of_units(np.random.default_rng(39), 5, 40, 0.2, 100) * np.array([[2.0], [1], [1], [1], [1]])
    sliver = np.concatenate([x, [[1.0], [50.0], [1.0], [1.0], [1.0]]], axis=1)
    one, other = judge(x, np.full(40, 100), 1, 4.6), judge(sliver, np.append(np.full(40, 100), 3), 1, 4.6)
    assert other.test == one.test
    assert other.ranking.mean[1] > one.ranking.mean[1], "but in the mean it does"


def test_the_whole_way_from_series_to_verdict() -> None:
    """Of 100 windows with equal rows at most 8 differ (99.9 % at the measured 2.5 %); of hotter 35 or more (50 %)."""
    with mock.patch.object(analyzer_rejections, "WINDOWS", ((10, 1000, 0.5, 0.8, 0),)):
        ((*_, (equal, hotter, undecided)),) = analyzer_rejections.of_windows(100, seed=40)
    assert equal <= 0.08
    assert hotter >= 0.35
    assert undecided <= 0.1
