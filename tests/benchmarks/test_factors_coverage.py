"""The coverage benchmark of factorisations, small: intervals hold the truth, and those of other ways do not."""

from __future__ import annotations

from scipy.stats import binom

from tests.benchmarks.factors_coverage import HEADING, Case, line, measure

COUNT = 120


def is_compatible(hits: int, judged: int) -> bool:
    """Whether some coverage from 92 to 98 % gives so few, or so many, hits with a probability above 0.1 %."""
    return bool(binom.cdf(hits, judged, 0.92) > 1e-3 and binom.sf(hits - 1, judged, 0.98) > 1e-3)


def test_intervals_hold_the_truth() -> None:
    case = Case(8, 8, 0.9, 1.0, 1024, 32, 0.8, 0.5)
    found = measure(case, COUNT, seed=1, resamples=50)
    assert found.answered == COUNT
    assert is_compatible(found.hits, found.answered), found
    assert abs(found.share - case.share) < 0.003
    assert line(case, found, COUNT).count("|") == len(HEADING) + 1


def test_sampling_errors_that_are_not_taken_off_would_be_noticed() -> None:
    """A bootstrap over time adds the sampling errors a second time: its intervals lie below the truth."""
    found = measure(Case(8, 8, 0.95, 0.5, 1024, 32, 0.8, 0.0), COUNT, seed=2, resamples=50)
    assert is_compatible(found.hits, found.answered), found
    assert found.over_time < 0.5 * COUNT
    assert not is_compatible(found.over_time, COUNT)
    assert found.measured < found.share - 0.005


def test_of_what_is_separable_the_interval_ends_at_one() -> None:
    """Its lower end is at or below 1 by definition; the upper one must reach 1, in more than 95 of 100."""
    found = measure(Case(8, 8, 1.0, 1.0, 512, 32, 0.0, 0.0), COUNT, seed=3)
    assert found.hits >= binom.ppf(1e-3, COUNT, 0.95)
    assert found.above == 0
    assert found.width < 0.02
