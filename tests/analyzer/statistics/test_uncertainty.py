"""Standard errors of correlated averages: pymbar as judge of the inefficiency, theory as judge of the rest."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from analyzer.statistics import correlations
from analyzer.statistics.drift import drift_null
from analyzer.statistics.uncertainty import batches_of, from_batches, from_series, statistical_inefficiency
from tests import oracles, systems

logging.disable(logging.WARNING)  # pymbar advertises JAX while it is imported
from pymbar import timeseries  # noqa: E402

logging.disable(logging.NOTSET)


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


def test_groups_do_not_see_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    table = systems.kinetic(np.random.default_rng(11), systems.ar1(0.9), 9, 2, 700)
    alone = [statistical_inefficiency(row) for row in table]
    monkeypatch.setattr(correlations, "_TILE", 3000)  # tiles of two groups
    np.testing.assert_allclose(statistical_inefficiency(table), alone, rtol=1e-12)


def test_inefficiency_across_a_gap_is_that_of_the_pairs() -> None:
    """Missing samples: C(t) over the pairs that are there, by a plain loop, and the same rule."""
    rng = np.random.default_rng(12)
    series = systems.autoregression(rng, 1, 400, 0.8, 1.0)[0]
    present = np.ones(400, dtype=bool)
    present[100:150] = present[220:223] = False
    d = np.where(present, series - series[present].mean(), 0.0)
    n = int(present.sum())
    g = 1.0
    for t in range(1, 399):
        pairs = int((present[t:] & present[:-t]).sum())
        c = (d[t:] * d[:-t]).sum() / pairs / (d @ d / n)
        if c <= 0 and t > 3:
            break
        g += 2 * c * pairs / n
    assert statistical_inefficiency(series, present=present) == pytest.approx(g, rel=1e-9)
    series[~present] = np.nan  # what stands in a gap is not looked at
    assert statistical_inefficiency(series, present=present) == pytest.approx(g, rel=1e-9)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_inefficiency_of_kinetic_energy(rho: float) -> None:
    """AR(1) velocities: Cov(v(0)², v(τ)²) = 2σ⁴ρ^2τ, so 𝒯 is correlated as ρ^2τ: g = (1 + ρ²)/(1 − ρ²)."""
    series = systems.kinetic(np.random.default_rng(13), systems.ar1(rho), 40, 1, 20_000)
    g = statistical_inefficiency(series)
    assert g.mean() == pytest.approx((1 + rho**2) / (1 - rho**2), rel=0.04)


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
    middle = white[:, :400]
    assert not from_series(middle, weights=2).unreliable.any()
    np.testing.assert_array_equal(from_series(middle, weights=[1, 2, 1, 3]).unreliable, [True, False, True, False])


def test_standard_error_is_the_larger_of_batch_means_and_inefficiency() -> None:
    """By hand, on 1,000 white samples: 20 batches of 50 against √(variance/(n_eff − 1))."""
    seen = set()
    for seed in range(12):
        x = np.random.default_rng(seed).standard_normal(1000)
        batches = x.reshape(20, 50).mean(axis=1)
        by_batches = np.sqrt(batches.var(ddof=1) / 20) * 2.0930240544 / 1.9599639845
        by_g = np.sqrt(x.var() / (1000 / timeseries.statistical_inefficiency(x) - 1))
        seen.add(by_batches > by_g)
        assert from_series(x).standard_error[0] == pytest.approx(max(by_batches, by_g), rel=1e-9)
    assert seen == {True, False}


def test_blocks_of_one_sample_are_the_series() -> None:
    """White noise, one sample a block: both are the larger of two estimates of the same variance."""
    x = np.random.default_rng(17).standard_normal((50, 400)) + 3
    series, blocks = from_series(x), from_batches(np.ones(400), x, x**2)
    np.testing.assert_allclose(blocks.mean, series.mean, rtol=1e-13)
    np.testing.assert_allclose(blocks.standard_error, series.standard_error, rtol=0.25)
    assert np.median(blocks.standard_error / series.standard_error) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("squares", [True, False])
def test_blocks_of_unequal_length_with_gaps(squares: bool) -> None:
    """Var(mean) = 2T²g/(dN) for d independent AR(1) velocities: unequal blocks and missing ones give it too."""
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
    # The larger of two estimates is on average 12 % above.
    assert np.sqrt(np.mean(answer.standard_error**2)) == pytest.approx(1.12 * error, rel=0.06)
    assert np.median(answer.n_eff) == pytest.approx(n / g, rel=0.08)
    assert np.std(answer.mean) == pytest.approx(error, rel=0.2)


def test_few_blocks_are_flagged_and_blocks_need_a_variance() -> None:
    x = np.random.default_rng(19).standard_normal((3, 9, 300)) + 5
    answer = from_batches(np.full(9, 300), x.sum(axis=2), (x**2).sum(axis=2))
    assert answer.unreliable.all()
    assert np.isfinite(answer.standard_error).all()
    assert np.isnan(from_batches([300], x[:, :1, 0], x[:, :1, 0] ** 2).standard_error).all()
    with pytest.raises(TypeError, match="needs squares, weights or inefficiency"):
        from_batches(np.full(9, 300), x.sum(axis=2))


def test_blocks_of_a_dead_unit() -> None:
    answer = from_batches(np.full(30, 256), np.zeros((2, 30)), weights=4)
    assert (answer.mean == 0).all()
    assert (answer.standard_error == 0).all()
    assert (answer.n_eff == 30 * 256).all()


def test_epochs_are_kept_whole() -> None:
    """What recurs in every epoch is no noise: 40 epochs of 25 samples with the same pattern have an exact mean."""
    epoch = np.repeat(np.arange(40), 25)
    batch = batches_of(np.ones(1000), 20, epoch)
    assert all(np.unique(batch[epoch == e]).size == 1 for e in range(40))
    np.testing.assert_array_equal(np.bincount(batch), np.full(20, 50))
    # Thirteen epochs of unequal length in at most 13 batches, none empty.
    epoch = np.repeat(np.arange(13), np.arange(20, 33))
    batch = batches_of(np.ones(epoch.size), 20, epoch)
    assert np.unique(batch).size >= 10
    assert all(np.unique(batch[epoch == e]).size == 1 for e in range(13))
    # Nine epochs are cut.
    assert np.unique(batches_of(np.ones(900), 10, np.repeat(np.arange(9), 100))).size == 10


def null_of(velocity: np.ndarray, edges: np.ndarray) -> float:
    """Mean over weights of the null ⟨v⟩² of velocities (weights, samples), from blocks that begin at `edges`."""
    weights, samples = velocity.shape
    lengths = np.diff(np.append(edges, samples))
    displaced = (np.add.reduceat(velocity, edges, axis=1) ** 2).sum()
    sums, squares = (velocity.sum(axis=1) ** 2).sum(), (velocity**2).sum()
    return float(drift_null(displaced, sums, squares, (lengths**2).sum(), samples)) / weights


@pytest.mark.parametrize(("rho", "samples"), [(0.0, 2000), (0.9, 313 * 16)])
def test_drift_null(rho: float, samples: int) -> None:
    """⟨v⟩² without drift is ⟨v²⟩·g/N with g = (1 + ρ)/(1 − ρ); blocks of n see g to 2ρ/((1 − ρ²)·n)."""
    sigma, weights = 1e-3, 3000
    position = oracles.ar1_velocities(np.random.default_rng(20), weights, samples + 1, rho, sigma)
    velocity = np.diff(position, axis=1)
    edges = np.sort(np.append(np.arange(0, samples, 313), 100))  # blocks need not be of one length
    null = null_of(velocity, edges)
    theory = sigma**2 * (1 + rho) / (1 - rho) / samples
    assert null == pytest.approx(theory, rel=5 * np.sqrt(2 / (weights * (samples // 313 - 1))) + 0.04)
    assert (velocity.mean(axis=1) ** 2).mean() == pytest.approx(theory, rel=5 * np.sqrt(2 / weights))
    # A drift that is really there is not in the null: blocks of one length do not see it, others within their scatter.
    even = np.arange(0, samples, samples // 16)
    assert null_of(velocity + 10 * sigma, even) == pytest.approx(null_of(velocity, even), rel=1e-6)
    assert null_of(velocity + 10 * sigma, edges) < 1e-4 * (10 * sigma) ** 2
    assert np.isnan(null_of(velocity, np.array([0])))
    assert np.isnan(null_of(velocity, np.array([0, samples - 10])))


def test_drift_null_of_blocks_that_are_too_short_is_not_known() -> None:
    velocity = np.diff(oracles.ar1_velocities(np.random.default_rng(3), 500, 1001, 0.9, 1.0), axis=1)
    assert np.isnan(null_of(velocity, np.arange(0, 1000, 10)))
    assert null_of(velocity, np.arange(1000)) == pytest.approx(velocity.var(axis=1, ddof=1).mean() / 1000)
    assert null_of(np.ones((3, 100)), np.arange(0, 100, 10)) == 0


def test_two_or_three_blocks_make_no_error_bar() -> None:
    """From two blocks 1.96 standard errors were 2.7 times the temperature itself: nothing is said instead."""
    rng = np.random.default_rng(0)
    for blocks in (2, 3, 4):
        sums = 256 * (1 + 0.1 * rng.random((5, blocks)))
        found = from_batches(np.full(blocks, 256.0), sums, weights=np.full(5, 10), inefficiency=np.ones(5))
        assert np.isfinite(found.standard_error).all() == (blocks >= 4)
        assert found.unreliable.all()
    constant = from_batches(np.full(2, 256.0), np.full((1, 2), 256.0), weights=np.array([10]))
    assert constant.standard_error == 0
