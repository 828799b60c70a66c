"""Standard errors of correlated averages: theory as judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import fdtrc, stdtrit

from analyzer.query.settings import FEWEST_STEPS
from analyzer.query.windows import BIN_FRAMES
from analyzer.statistics import density, equilibrium, lagged, uncertainty
from analyzer.statistics.density import NORMAL
from analyzer.statistics.inefficiency import statistical_inefficiency
from analyzer.statistics.uncertainty import from_batches, from_series, relative_variances
from tests import systems


def test_constant_and_nan_and_short_series() -> None:
    table = np.ones((5, 300))
    table[0] = 0.1  # its mean is not 0.1 to the last bit
    table[1] = 0.0
    table[2, 7] = np.nan
    table[3] = np.random.default_rng(14).standard_normal(300)
    table[4, 5] = np.inf
    g = statistical_inefficiency(table)
    np.testing.assert_array_equal(np.isnan(g), [False, False, True, False, True])
    assert g[0] == g[1] == 1
    answer = from_series(table)
    assert answer.standard_error[0] == answer.standard_error[1] == 0
    np.testing.assert_array_equal(np.isnan(answer.standard_error), [False, False, True, False, True])
    np.testing.assert_array_equal(answer.unreliable, [False, False, True, False, True])
    for samples in (0, 1, 2, 19):
        short = from_series(np.random.default_rng(15).standard_normal((2, samples)))
        assert np.isnan(short.standard_error).all()
        assert short.unreliable.all()


def test_nan_below_20_and_flagged_below_200_or_500() -> None:
    white = np.random.default_rng(16).standard_normal((4, 2000))
    slow = np.repeat(white, 50, axis=1)[:, :2000]  # 40 independent values
    slower = np.repeat(white, 200, axis=1)[:, :2000]  # 10 independent values
    reliable, flagged, refused = from_series(white), from_series(slow), from_series(slower)
    assert not reliable.unreliable.any()
    assert flagged.unreliable.all()
    assert np.isfinite(flagged.standard_error).all()
    assert refused.n_eff.max() < 20
    assert np.isnan(refused.standard_error).all()
    middle = 10 + white[[0, 2, 3, 0], :400]
    assert not from_series(middle, weights=2).unreliable.any()
    np.testing.assert_array_equal(from_series(middle, weights=[1, 2, 1, 3]).unreliable, [True, False, True, False])


def cosines(x: np.ndarray, count: int) -> np.ndarray:
    """Λ_j of one series, by a plain loop over the definition."""
    time = (np.arange(x.size) + 0.5) / x.size
    return np.array(
        [np.sqrt(2 / x.size) * ((x - x.mean()) * np.cos(np.pi * j * time)).sum() for j in range(1, count + 1)]
    )


def test_the_bar_comes_from_twelve_cosines_and_n_eff_from_the_others() -> None:
    """By hand: S = mean of Λ², the bar is √(S/N)·t(12)/1.96; n_eff is N·variance/S with S of the 13th to 64th."""
    seen = 0
    for seed in range(8):
        x = np.random.default_rng(seed).standard_normal(1000)
        squares = cosines(x, 64) ** 2
        density = squares[:12].mean()
        falls = fdtrc(12, 28, squares[12:24].mean() / squares[36:].mean())
        if fdtrc(4, 52, squares[:4].mean() / squares[12:].mean()) < 0.1 or falls < 0.01:
            continue  # the four slowest have a say
        seen += 1
        found = from_series(x)
        assert found.standard_error[0] == pytest.approx(np.sqrt(density / 1000) * stdtrit(12, 0.975) / NORMAL, rel=1e-9)
        assert found.n_eff[0] == pytest.approx(min(1000 * x.var() / squares[12:].mean(), 1000), rel=1e-9)
        assert found.inefficiency[0] == pytest.approx(1000 / found.n_eff[0], rel=1e-12)
    assert seen >= 5


def test_a_window_that_changes_slowly_has_four_degrees_of_freedom_and_is_flagged() -> None:
    """A wave of 2 % of the variance: no n_eff of a series of white noise would show it."""
    rng = np.random.default_rng(5)
    time = (np.arange(20_000) + 0.5) / 20_000
    x = rng.standard_normal(20_000) + 0.2 * np.cos(np.pi * 3 * time)
    squares = cosines(x, 64) ** 2
    assert fdtrc(4, 52, squares[:4].mean() / squares[12:].mean()) < 1e-4
    found = from_series(x)
    assert found.unreliable[0]
    expected = np.sqrt(squares[:4].mean() / 20_000) * stdtrit(4, 0.975) / NORMAL
    assert found.standard_error[0] == pytest.approx(expected, rel=1e-2)  # the series is averaged in bins first
    assert found.n_eff[0] == pytest.approx(20_000 * x.var() / squares[:4].mean(), rel=0.02), "as the bar has it"
    flagged = from_series(rng.standard_normal((2000, 1500))).unreliable.mean()
    assert flagged == pytest.approx(0.011, abs=4 * np.sqrt(0.011 / 2000)), "both F are exact for white noise"


def test_what_is_flagged_does_not_depend_on_the_bar() -> None:
    """White noise at the threshold of n_eff: half is flagged, and 95 % of the others hold the truth.

    If n_eff came from the cosines of the bar, the unflagged would be those with a small bar: 92 % held.
    """
    found = from_series(1 + np.random.default_rng(22).standard_normal((3000, 200)), weights=10)
    good = ~found.unreliable
    assert 0.4 < good.mean() < 0.6
    held = np.abs(found.mean - 1) < NORMAL * found.standard_error
    assert held[good].mean() > 0.95 - 2.5 * np.sqrt(0.05 * 0.95 / good.sum())
    bars = found.standard_error
    assert bars[good].mean() == pytest.approx(bars[~good].mean(), rel=0.1)


def test_few_batches_widen_the_interval_smoothly() -> None:
    """Of B batches there are B − 1 cosines, a quarter of them in the bar, 4 to 12: t/1.96 is 1.62, 1.42, … 1.11."""
    values = np.random.default_rng(3).standard_normal((1, 2048)) + 3
    for batches, freedom in ((4, 3), (5, 4), (8, 4), (13, 4), (16, 4), (22, 5), (37, 9), (49, 12), (60, 12)):
        length = 2048 // batches
        sums = values[:, : batches * length].reshape(batches, length).sum(axis=1)
        found = from_batches(np.full(batches, length), sums[np.newaxis], relative_variance=np.array([1 / 9]))
        means = sums / length
        density = (cosines(means, freedom) ** 2).mean() * length
        raw = np.sqrt(density / (batches * length))
        assert found.standard_error[0] == pytest.approx(raw * stdtrit(freedom, 0.975) / NORMAL, rel=1e-9)
        assert found.unreliable[0] == (batches < 10)
        if batches > 8:
            others = (cosines(means, min(batches - 1, 64))[freedom:] ** 2).mean() * length
            assert found.n_eff[0] == pytest.approx(
                min(batches * length * means.mean() ** 2 / 9 / others, 2048), rel=0.02
            )


def test_skewed_bars_are_wider_by_the_square_of_the_relative_error() -> None:
    """(1 + 20 e²), at most twice as wide, and only of kinetic energies."""
    x = np.random.default_rng(23).standard_normal((3, 400)) ** 2
    x[1] += 30
    x[2] *= np.repeat([0, 1], [395, 5])
    plain, kinetic = from_series(x), from_series(x, weights=[1, 1, 3])
    e = plain.standard_error / plain.mean
    assert e[0] == pytest.approx(np.sqrt(2 / 400) * 1.11, rel=0.4)
    assert e[1] < 0.005
    assert e[2] > 0.3
    np.testing.assert_allclose(
        kinetic.standard_error, plain.standard_error * (1 + np.minimum(20 * e**2, 1)), rtol=1e-12
    )


def test_a_mean_of_few_bursts_is_flagged() -> None:
    """The bias of BERT's keys, whose gradient is rounding alone: ±310 % stood beside n_eff 202 and no flag."""
    rng = np.random.default_rng(25)
    bursts = np.where(rng.random((40, 8000)) < 0.001, 1e4, 1.0) * rng.chisquare(4, (40, 8000))
    found = from_series(bursts, weights=4)
    wide = found.standard_error > 0.25 * found.mean
    assert wide.mean() > 0.8
    assert (found.n_eff > 500).mean() > 0.9
    assert found.unreliable[wide].all()
    assert from_series(bursts).unreliable.mean() < 0.2, "n_eff does not show it"


def test_single_weights_at_the_threshold_of_n_eff_hold_the_truth() -> None:
    """AR(1) with ρ = 0.9, 4,000 samples: 7 in 10 are flagged, and of the others 92 % held before bars had the skewness.

    A mean that came out low has a short correlation time and a small bar, so n_eff cannot be independent of it.
    """
    series = systems.kinetic(np.random.default_rng(24), systems.ar1(0.9), 1500, 1, 4000)
    found = from_series(series, weights=1)
    held = np.abs(found.mean - 5e-7) <= NORMAL * found.standard_error
    good = ~found.unreliable
    assert 0.2 < good.mean() < 0.36
    assert 0.94 < held.mean() < 0.975
    assert held[good].mean() > 0.94 - 2.5 * np.sqrt(0.06 * 0.94 / good.sum())


def test_relative_errors_do_not_jump_over_lags() -> None:
    """Displacements of one run at lags 1, 2, 5: they were 2.5, 7.6 and 2.3 %, as quantiles of one degree switched in.

    Of SGD at ηh = 0.1 the true relative errors at lags 1 and 5 differ by half; bars of 500 seeds are compared with the
    scatter of the means, and those of one seed with each other: each has 12 degrees of freedom, and one would be 6.5
    times as wide.
    """
    seeds, steps, weights = 500, 2000, 4
    series: dict[int, list[np.ndarray]] = {1: [], 2: [], 5: []}
    for seed in range(seeds):
        velocity = systems.sgd(0.1).velocities(np.random.default_rng([7, seed]), weights, steps)
        for lag, found in series.items():
            moved = velocity.reshape(weights, -1, lag).sum(axis=2)
            found.append(0.5 * (moved**2).mean(axis=0))
    bars = {}
    for lag, found in series.items():
        table = np.stack(found)
        counts = np.ones(table.shape[1])
        answer = from_batches(counts, table, weights=weights)
        truth = table.mean()
        held = np.abs(answer.mean - truth) <= NORMAL * answer.standard_error
        assert 0.92 <= held[~answer.unreliable].mean() <= 0.98, lag
        rms = np.sqrt(np.mean(answer.standard_error**2))
        assert rms == pytest.approx(1.11 * answer.mean.std(), rel=0.12), lag
        bars[lag] = np.where(answer.unreliable, np.nan, answer.standard_error / answer.mean)
    assert np.nanquantile(bars[2] / bars[1], 0.99) < 4
    assert np.nanquantile(bars[5] / bars[2], 0.99) < 4


def test_a_row_has_its_own_n_eff() -> None:
    """Blocks of one row scatter, those of its parameter hardly do: n_eff of the row is its own, and it is flagged.

    A bar of ±33 % stood beside n_eff 3,978, the parameter's. Over 500 seeds the bar is the scatter of the means.
    """
    seeds, batches, length = 500, 48, 256
    rng = np.random.default_rng(8)
    factor = np.repeat(np.exp(0.5 * rng.standard_normal((seeds, batches)) - 0.125), length, axis=1)
    row = factor * rng.chisquare(10, size=(seeds, batches * length)) / 10
    sums = row.reshape(seeds, batches, length).sum(axis=2)
    found = from_batches(np.full(batches, length), sums, weights=10, relative_variance=np.full(seeds, 0.2))
    assert np.isfinite(found.standard_error).mean() > 0.95
    scatter = row.mean(axis=1).std()
    wider = 1 + uncertainty.SKEWED * (1.11 * scatter) ** 2  # the mean is 1
    assert np.sqrt(np.nanmean(found.standard_error**2)) == pytest.approx(1.11 * wider * scatter, rel=0.15)
    assert np.median(found.n_eff) < 120
    assert found.unreliable.mean() > 0.97
    steady = from_batches(np.full(batches, length), sums / factor[:, ::length], weights=10)
    assert np.median(steady.n_eff) > 3000
    assert steady.unreliable.mean() < 0.03


def test_relative_variances() -> None:
    x = np.random.default_rng(9).chisquare(4, size=(3, 50_000))
    np.testing.assert_allclose(relative_variances(x), 0.5, rtol=0.05)  # variance 2k over the mean's square k²
    present = np.ones(50_000, dtype=bool)
    present[::2] = False
    np.testing.assert_allclose(relative_variances(x, present), x[:, present].var(1) / x[:, present].mean(1) ** 2)


def test_batches_of_one_sample_are_the_series() -> None:
    x = np.random.default_rng(17).standard_normal((50, 400)) + 3
    series, batches = from_series(x), from_batches(np.ones(400), x, x**2)
    for name in ("mean", "standard_error", "n_eff"):
        np.testing.assert_allclose(getattr(batches, name), getattr(series, name), rtol=1e-9)
    np.testing.assert_array_equal(batches.unreliable, series.unreliable)


@pytest.mark.parametrize("squares", [True, False])
def test_batches_of_unequal_length_with_gaps(squares: bool) -> None:
    """Var(mean) = 2T²g/(dN) for d independent AR(1) velocities: unequal batches and missing ones give it too."""
    rho, weights, samples, groups = 0.9, 3, 20_000, 200
    system = systems.ar1(rho)
    rng = np.random.default_rng(18)
    series = systems.kinetic(rng, system, groups, weights, samples)
    edges = np.append(0, np.cumsum(rng.integers(100, 400, size=200)))
    edges = edges[edges < samples]
    counts = np.diff(np.append(edges, samples))
    sums = np.add.reduceat(series, edges, axis=1)
    squared = np.add.reduceat(series**2, edges, axis=1)
    counts[[5, 6, 30]] = 0
    sums[:, [5, 6, 30]] = np.nan
    answer = from_batches(counts, sums, squared if squares else None, weights=weights)
    g, n = (1 + rho**2) / (1 - rho**2), counts.sum()
    error = system.truth * np.sqrt(2 / weights * g / n)
    # The t quantile of 12 degrees of freedom is 11 % above the normal one.
    assert np.sqrt(np.mean(answer.standard_error**2)) == pytest.approx(1.11 * error, rel=0.06)
    assert np.median(answer.n_eff) == pytest.approx(n / g, rel=0.12)
    assert np.std(answer.mean) == pytest.approx(error, rel=0.2)


def test_few_batches_are_flagged() -> None:
    x = np.random.default_rng(19).standard_normal((3, 9, 300)) + 5
    answer = from_batches(np.full(9, 300), x.sum(axis=2), (x**2).sum(axis=2))
    assert answer.unreliable.all()
    assert np.isfinite(answer.standard_error).all()
    assert np.isnan(from_batches([300], x[:, :1, 0], x[:, :1, 0] ** 2).standard_error).all()


def test_batches_of_a_dead_unit() -> None:
    answer = from_batches(np.full(30, 256), np.zeros((2, 30)), weights=4)
    assert (answer.mean == 0).all()
    assert (answer.standard_error == 0).all()
    assert (answer.n_eff == 30 * 256).all()


def test_what_repeats_in_every_epoch_is_no_noise() -> None:
    """Twelve epochs of 100 samples with the same pattern, whose means it does not change."""
    rng = np.random.default_rng(21)
    noise = rng.standard_normal((200, 1200))
    pattern = np.tile(np.sin(2 * np.pi * np.arange(100) / 100), 12)
    epoch = np.repeat(np.arange(12), 100)
    with_pattern, without = from_series(noise + pattern, epoch=epoch), from_series(noise, epoch=epoch)
    assert np.median(from_series(noise + pattern).standard_error / without.standard_error) > 1.1, "without epochs"
    np.testing.assert_allclose(with_pattern.standard_error, without.standard_error, rtol=1e-9)


def test_two_or_three_batches_make_no_error_bar() -> None:
    """From two blocks 1.96 standard errors were 2.7 times the temperature itself: nothing is said instead."""
    rng = np.random.default_rng(0)
    for blocks in (2, 3, 4):
        sums = 256 * (1 + 0.1 * rng.random((5, blocks)))
        found = from_batches(np.full(blocks, 256.0), sums, weights=np.full(5, 10))
        assert np.isfinite(found.standard_error).all() == (blocks >= 4)
        assert found.unreliable.all()
    constant = from_batches(np.full(2, 256.0), np.full((1, 2), 256.0), weights=np.array([10]))
    assert constant.standard_error == 0


WORDS = {4: "four", 7.25: "eight", 10: "ten", 12: "twelve"}


def test_the_page_on_error_bars_states_the_thresholds_of_the_code() -> None:
    page = " ".join((Path(__file__).parents[3] / "docs/error-bars.md").read_text(encoding="utf-8").split())
    u, d, many, few = uncertainty, density, density.PROJECTIONS, density.FEW_PROJECTIONS
    ratio = {freedom: stdtrit(freedom, 0.975) / NORMAL for freedom in (3, few, 7, many)}
    begin, full = d._FULLY
    for said in (
        f"| K | {many}; of fewer than {4 * many} cosines a quarter, at least {WORDS[few]}: t(K)/1.96 = "
        f"{ratio[many]:.2f}, {ratio[7]:.2f} with 32 batches, {ratio[few]:.2f} with 20 or fewer, "
        f"{ratio[3]:.2f} with {WORDS[d.LEAST_BATCHES]} |",
        f"1 + {u.SKEWED:g} e²",
        f"the bar is above a quarter of T: {'few bursts' if u.RELIABLE_ERROR == 1 / 4 else u.RELIABLE_ERROR}",
        f"| no error bar | `n_eff` below {u.LEAST_N_EFF:g}, or fewer than {WORDS[d.LEAST_BATCHES]} batches |",
        f"| flagged | `n_eff` below {u.RELIABLE_N_EFF:g} ({u.RELIABLE_N_EFF_ELEMENT:g} for a single weight",
        f"| flagged | fewer than {WORDS[u.RELIABLE_BATCHES]} batches |",
        f"the {many + 1}th to {2 * many}th cosines are stronger than those from the {d._FLAT + 1}th to the "
        f"{d._BROAD}th "
        f"(F test, p < {d.SLOW:g}; {d.SLOW:.0%}".replace("%", " %"),
        f"the {WORDS[few]} slowest are stronger than those from the {many + 1}th on "
        f"(from the fifth of fewer than {2 * many}; p < {d.VERY_SLOW:.4f})",
        f"of fewer than {d._FLAT + many} cosines, the second quarter than the last half |",
        f"the cosines that the bar does not have, up to the {d._BROAD}th",
        f"the bar goes over from its K cosines to the {WORDS[few]} slowest, t({few})/1.96 = "
        f"{ratio[few]:.2f}, as p of the latter test falls from {begin:g} to {full:g} |",
        f"sums over batches of {BIN_FRAMES} steps or more",
        f"a window of each stretch of at least {FEWEST_STEPS} steps",
        f"(p ≥ {equilibrium.DIFFERENT:g})",
        f"`n_eff` after t0 is below {u.LEAST_N_EFF:g}",
        f"batches of at least max({lagged.LEAST_FRAMES}, 2τ) frames",
        f"fewer than {WORDS[lagged.FEWEST_BATCHES]} such batches",
    ):
        assert said in page, said
