"""Correlations and displacements of systems whose answers are known; each derivation stands with its test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.signal import lfilter

import analyzer
from analyzer import errors
from tests import oracles
from tests.analyzer.shell import invoke
from tests.stores import write_store

WEIGHTS, STEPS = 40, 8192
Make = Callable[[np.ndarray], xr.Dataset]


@pytest.fixture
def dynamics(tmp_path: Path) -> Make:
    """The dynamics of weights (weights, frames) in float64."""

    def answer(values: np.ndarray, **options: object) -> xr.Dataset:
        path = write_store(tmp_path / "run.zarr", {"lin.weight": values[:, np.newaxis]}, chunk_steps=1024)
        return analyzer.open_run(path).thermo.dynamics(**options).compute().isel(group=0, window=0)

    return answer


def assert_true(answer: xr.Dataset, column: str, truth: np.ndarray, most: float = 4.5) -> None:
    """The truth lies within so many standard errors at every lag with an error bar, and the bars say something."""
    error = answer[f"{column}_error"].values
    known = np.isfinite(error) & (error > 0)
    assert known.sum() >= 0.8 * known.size
    off = np.abs(answer[column].values - truth)[known] / error[known]
    assert off.max() < most, dict(zip(answer["lag"].values[known].tolist(), off.tolist(), strict=True))


def test_independent_steps(dynamics: Make) -> None:
    """v(t) independent, variance s²: C(τ) = 0, MSD(τ) = Σ of τ independent terms = τs², exponent 1, D = s²/2."""
    v = 2.0 * np.random.default_rng(0).standard_normal((WEIGHTS, STEPS))
    answer = dynamics(np.cumsum(v, axis=1))
    lags = answer["lag"].values
    assert_true(answer, "mean_squared_displacement", 4.0 * lags)
    assert_true(answer, "autocorrelation", np.where(lags == 0, 4.0, 0.0))
    assert_true(answer, "exponent", np.ones(lags.size))
    where = np.isfinite(answer["diffusion_coefficient"])
    assert int(where.sum()) > 0.8 * lags.size
    assert_true(answer.isel(lag=where), "diffusion_coefficient", np.full(int(where.sum()), 2.0))
    time, error = answer["correlation_time"].item(), answer["correlation_time_error"].item()
    assert abs(time - 0.5) < 4 * error < 0.05


def test_correlated_velocities(dynamics: Make) -> None:
    """v(t) = ρ v(t − 1) + ε: C(τ) = s²ρ^τ. MSD(τ) = τC(0) + 2 Σ_k (τ − k) C(k) = s²(τ(1+ρ)/(1−ρ) − 2ρ(1−ρ^τ)/(1−ρ)²).
    ½ + Σ ρ^τ = ½ + ρ/(1 − ρ)."""
    rho = 0.8
    values = oracles.ar1_velocities(np.random.default_rng(1), WEIGHTS, STEPS, rho, 1.0)
    answer = dynamics(values)
    lags = answer["lag"].values
    assert_true(answer, "autocorrelation", rho**lags)
    assert_true(answer, "normalised_autocorrelation", rho**lags)
    truth = lags * (1 + rho) / (1 - rho) - 2 * rho * (1 - rho**lags) / (1 - rho) ** 2
    assert_true(answer, "mean_squared_displacement", truth)
    time, error = answer["correlation_time"].item(), answer["correlation_time_error"].item()
    assert abs(time - (0.5 + rho / (1 - rho))) < 4 * error < 1
    # Between lags that lie far apart C is not linear: Σ up to 256 would be 100 here.
    assert np.isnan(dynamics(values, lags=[1, 256])["correlation_time"])
    assert dynamics(values, lags="1:256:log")["correlation_time"].item() == pytest.approx(time, abs=4 * error)
    assert answer["exponent"].sel(lag=1) > 1.5, "ballistic at first"
    assert np.isnan(answer["diffusion_coefficient"].sel(lag=2)), "and so no diffusion"


def test_sgd_in_a_minimum(dynamics: Make) -> None:
    """w' = a w − ηξ, a = 1 − ηh: ⟨w w(τ)⟩ = σ²a^τ with σ² = η²C/(1 − a²). So MSD(τ) = 2σ²(1 − a^τ). With v = w − w(−1),
    C(τ) = σ²(2a^τ − a^(τ−1) − a^(τ+1)) = −σ²(1 − a)² a^(τ−1) for τ ≥ 1, and C(0) = 2σ²(1 − a)."""
    step, stiffness, noise = 0.1, 4.0, 1.0
    a = 1 - step * stiffness
    w = lfilter([1], [1, -a], step * np.random.default_rng(2).standard_normal((WEIGHTS, STEPS + 200)), axis=1)[:, 200:]
    answer = dynamics(w)
    lags = answer["lag"].values
    variance = step**2 * noise / (1 - a**2)
    assert_true(answer, "mean_squared_displacement", 2 * variance * (1 - a**lags))
    truth = np.where(lags == 0, 2 * variance * (1 - a), -variance * (1 - a) ** 2 * a ** (lags - 1.0))
    assert_true(answer, "autocorrelation", truth)
    assert truth[0] / 2 == pytest.approx(oracles.sgd_temperature(step, stiffness, noise)), "C(0) = 2T"
    assert abs(float(answer["exponent"][-1])) < 0.2, "confined"


@pytest.mark.parametrize(("momentum", "pull"), [(0.9, 0.3), (0.5, 0.05)], ids=["underdamped", "overdamped"])
def test_heavy_ball_momentum(dynamics: Make, momentum: float, pull: float) -> None:
    """v' = μv − η(hw + ξ), w' = w + v'. With s = (w, v): s' = A s − ηξ(1, 1), A = [[1 − ηh, μ], [−ηh, μ]].

    The stationary covariance S = A S Aᵀ + η²C [[1, 1], [1, 1]] is ⟨v²⟩ = 2η²C/((1 − μ)(2(1 + μ) − ηh)), ⟨wv⟩ = ⟨v²⟩/2
    and ηh⟨w²⟩ = ⟨v²⟩(1 + μ)/2, which is checked here, and ⟨s(t + τ) s(t)ᵀ⟩ = A^τ S. A has complex eigenvalues, and C
    swings, where (1 + μ − ηh)² < 4μ.
    """
    a = np.array([[1 - pull, momentum], [-pull, momentum]])
    assert ((1 + momentum - pull) ** 2 < 4 * momentum) == (momentum == 0.9)
    squared = 2 / ((1 - momentum) * (2 * (1 + momentum) - pull))  # in units of η²C
    s = np.array([[squared * (1 + momentum) / (2 * pull), squared / 2], [squared / 2, squared]])
    np.testing.assert_allclose(a @ s @ a.T + 1, s, rtol=1e-12)
    noise = np.random.default_rng(3).standard_normal((WEIGHTS, STEPS + 500))
    # w(t) = (1 + μ − ηh) w(t − 1) − μ w(t − 2) − ηξ: the two equations in one.
    w = lfilter([1], [1, -(1 + momentum - pull), momentum], noise, axis=1)[:, 500:]
    answer = dynamics(w)
    lags = answer["lag"].values
    after = np.array([np.linalg.matrix_power(a, int(lag)) @ s for lag in lags])
    assert_true(answer, "autocorrelation", after[:, 1, 1])
    assert_true(answer, "mean_squared_displacement", 2 * (s[0, 0] - after[:, 0, 0]))
    if momentum == 0.9:
        assert after[:, 1, 1].min() < -0.1 * squared, "it swings"


def test_adam_in_white_noise(dynamics: Make) -> None:
    """Adam's first moment is AR(1) with β1; where its second moment is steady, so is the velocity: C(τ)/C(0) ≈ β1^τ.
    The division by √v is no constant: allow 0.02."""
    rng = np.random.default_rng(4)
    w = oracles.adam(rng, WEIGHTS, STEPS, 1e-3, lambda g, n: g.standard_normal(n), burn_in=2000)
    answer = dynamics(w, lags=[0, 1, 2, 5, 10, 20])
    off = np.abs(answer["normalised_autocorrelation"].values - 0.9 ** answer["lag"].values)
    assert (off < 0.02 + 4 * answer["normalised_autocorrelation_error"].values).all()


def test_sampling_without_replacement(tmp_path: Path) -> None:
    """N minibatches an epoch, each once, in a new order, gradients g_i with Σ g_i = 0 and mean square C, no curvature.

    Two steps of one epoch are different minibatches: ⟨g g'⟩ = Σ_{i≠j} g_i g_j/(N(N − 1)) = −C/(N − 1). At lag τ < N a
    share (N − τ)/N of all origins has both ends in one epoch, others are independent: C(τ) = −C(N − τ)/(N(N − 1)).
    Then MSD(N) = NC + 2 Σ_k (N − k) C(k) = NC − 2C/(N(N − 1)) · (N − 1)N(2N − 1)/6 = C(N + 1)/3 over all origins, and
    0 from the end of one epoch to the next (Kühn & Rosenow, arXiv:2306.05300).
    """
    minibatches, epochs = 16, 600
    rng = np.random.default_rng(5)
    gradients = rng.standard_normal((WEIGHTS, minibatches))
    gradients -= gradients.mean(axis=1, keepdims=True)
    square = (gradients**2).mean()
    orders = np.concatenate([rng.permutation(minibatches) for _ in range(epochs)])
    w = np.concatenate([np.zeros((WEIGHTS, 1)), np.cumsum(gradients[:, orders], axis=1)], axis=1)
    epoch = np.concatenate([[0], np.repeat(np.arange(epochs), minibatches)])
    path = write_store(tmp_path / "run.zarr", {"lin.weight": w}, scalars={"epoch": epoch}, chunk_steps=512)
    answer = analyzer.open_run(path).thermo.dynamics(lags=[*range(minibatches), "epoch"]).compute()
    answer = answer.isel(group=0, window=0)
    lags = answer["lag"].values
    assert lags[-1] == minibatches
    truth = -square * (minibatches - lags) / (minibatches * (minibatches - 1))
    truth[0] = square
    # The velocities are those of one set of minibatches, and so is the mean square: C(0) has no scatter but the ends'.
    np.testing.assert_allclose(answer["autocorrelation"].values[0], square, rtol=1e-9)
    assert_true(answer.isel(lag=slice(1, None)), "autocorrelation", truth[1:])
    msd = answer["mean_squared_displacement"].values[-1]
    error = answer["mean_squared_displacement_error"].values[-1]
    assert abs(msd - square * (minibatches + 1) / 3) < 4.5 * error < 0.2 * msd
    aligned = analyzer.open_run(path).thermo.temperature(lag="epoch").compute()["temperature"].item()
    assert aligned < 1e-20 * square


def test_lags_beyond_a_sixteenth_have_no_interval(dynamics: Make) -> None:
    w = np.cumsum(np.random.default_rng(6).standard_normal((3, 4001)), axis=1)
    default = dynamics(w)
    assert default["lag"].values.max() <= 250
    answer = dynamics(w, lags="1:2000:log")
    far = answer.sel(lag=answer["lag"] > 300)
    assert far.sizes["lag"] > 5
    assert np.isfinite(far["mean_squared_displacement"]).all()
    for column in ("autocorrelation", "mean_squared_displacement", "exponent", "diffusion_coefficient"):
        assert np.isnan(far[f"{column}_error"]).all()
    near = answer.sel(lag=answer["lag"] <= 200)
    assert np.isfinite(near["mean_squared_displacement_error"]).all()


def test_correlation_is_over_that_at_lag_0_whether_or_not_it_is_asked_for(dynamics: Make) -> None:
    w = np.cumsum(np.random.default_rng(12).standard_normal((3, 6000)), axis=1)
    known = dynamics(w, lags=[0, 1, 2, 5, 5000])
    assert np.isfinite(known["normalised_autocorrelation"]).all()
    xr.testing.assert_equal(dynamics(w, lags=[1, 2, 5, 5000]), known.isel(lag=slice(1, None)))


def test_weights_times_three_are_nine_times_the_squares(dynamics: Make) -> None:
    w = np.cumsum(np.random.default_rng(7).standard_normal((3, 3000)), axis=1)
    one, other = dynamics(w), dynamics(4 * w)
    for column in ("autocorrelation", "mean_squared_displacement", "mean_squared_displacement_error"):
        np.testing.assert_array_equal(other[column], 16 * one[column])
    for column in ("exponent", "exponent_error", "n_eff", "correlation_time"):
        np.testing.assert_allclose(other[column], one[column], rtol=1e-9)


def test_a_sweep_has_runs(tmp_path: Path) -> None:
    for seed in range(3):
        w = np.cumsum(np.random.default_rng(seed).standard_normal((4, 3, 3000)), axis=-1)
        write_store(tmp_path / f"{seed}.zarr", {"lin.weight": w}, hyperparameters={"seed": seed})
    answer = analyzer.open_sweep(f"{tmp_path}/*.zarr").thermo.dynamics(lags=[0, 1, 10])
    assert answer["mean_squared_displacement"].dims == ("run", "group", "window", "lag")
    answer = answer.compute()
    spread = answer["mean_squared_displacement"].sel(lag=10).std("run").item()
    assert 0 < spread < 3 * float(answer["mean_squared_displacement_error"].sel(lag=10).mean())


def test_strides(tmp_path: Path) -> None:
    w = np.cumsum(np.random.default_rng(8).standard_normal((4, 3000)), axis=-1)
    path = write_store(tmp_path / "run.zarr", {"lin.weight": w}, stride=5)
    answer = analyzer.open_run(path).thermo.dynamics(lags="5,10,50").compute()
    assert answer["autocorrelation"].attrs["units"] == "weight^2 lag^-2"
    one = ((w[:, 10:] - w[:, :-10]) ** 2).mean()
    np.testing.assert_allclose(answer["mean_squared_displacement"].sel(lag=50).item(), one, rtol=1e-12)
    assert answer["correlation_cutoff"].item() == 10, "C(5) is noise: summed to twice that, in steps"
    summed = 0.5 + answer["normalised_autocorrelation"].sel(lag=[5, 10]).sum().item()
    np.testing.assert_allclose(answer["correlation_time"].item(), 5 * summed, rtol=1e-12)
    # 2,999 velocities are 11 batches of 256, and 183. Where their scatter shows no correlation, they are independent.
    rows = analyzer.open_run(path).thermo.dynamics(by="element", lags=5).compute()
    assert rows["n_eff"].max().item() == pytest.approx(2999**2 / (11 * 256**2 + 183**2), rel=1e-9)
    with pytest.raises(errors.WindowError, match=r"--lags: expected multiples of the stride \(5 steps\), got 7"):
        analyzer.open_run(path).thermo.dynamics(lags=7)


def test_the_command(tmp_path: Path) -> None:
    w = np.cumsum(np.random.default_rng(9).standard_normal((4, 3, 3000)), axis=-1)
    path = write_store(tmp_path / "run.zarr", {"conv1.lin.weight": w, "lin.bias": w[0]})
    done = invoke("dynamics", path, "--plot", tmp_path / "figure.svg")
    assert done.exit_code == 0, done.stderr
    assert "C/C(0)" in done.stdout
    assert "exponent: the slope" not in done.stdout
    assert (
        "up to 50 times apart; for local ones --lags 1:500:log" in invoke("dynamics", path, "--lags", "1,10,500").stdout
    )
    assert "integrated correlation time in steps: conv1: 0.49 (se 0.01)" in done.stdout
    assert (tmp_path / "figure.svg").stat().st_size > 10_000
    records = json.loads(invoke("dynamics", path, "--lags", "0,1,1000", "--format", "json").stdout)["records"]
    assert [record["lag"] for record in records] == [0, 1, 1000] * 2
    assert records[0]["layer"] == "conv1"
    assert records[2]["mean_squared_displacement_error"] is None
    for column in ("start_step", "stop_step", "autocorrelation", "mean_squared_displacement", "exponent",
                   "diffusion_coefficient", "correlation_time", "origins", "n_eff", "autocorrelation_error",
                   "exponent_error"):  # fmt: skip
        assert column in records[1]
    for form, name in (("csv", "a.csv"), ("netcdf", "a.nc"), ("parquet", "a.parquet")):
        done = invoke("dynamics", path, "--window", 1000, "--format", form, "--output", tmp_path / name)
        assert done.exit_code == 0, done.stderr
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as held:
        assert held["autocorrelation"].dims == ("group", "window", "lag")
    assert invoke("dynamics", path, "--window", 1000, "--plot", tmp_path / "windows.png").exit_code == 0


def test_over_the_learning_rate_squared(tmp_path: Path) -> None:
    """Steps of η times noise: MSD(τ)/η² = τ in both windows of one rate; where the rate changes there is none."""
    rates = np.repeat([0.1, 0.02], 3000)
    v = rates * np.random.default_rng(10).standard_normal((30, 6000))
    w = np.concatenate([np.zeros((30, 1)), np.cumsum(v, axis=1)], axis=1)
    recorded = np.concatenate([[np.nan], rates])[:, np.newaxis]
    path = write_store(tmp_path / "run.zarr", {"lin.weight": w[:, np.newaxis]}, scalars={"learning_rate": recorded})
    answer = analyzer.open_run(path).thermo.dynamics(per="eta2", window="rate", lags=[0, 1, 10]).compute()
    over = answer["mean_squared_displacement_per_eta2"].isel(group=0)
    error = answer["mean_squared_displacement_per_eta2_error"].isel(group=0)
    assert over.attrs["units"] == "weight^2 learning_rate^-2"
    assert (np.abs(over - over["lag"]) <= 4.5 * error).all()
    assert float(error.sel(lag=1).max()) < 0.05
    np.testing.assert_allclose(
        answer["autocorrelation_per_eta2"].isel(group=0, window=1), answer["autocorrelation"][0, 1] / 0.02**2
    )
    whole = analyzer.open_run(path).thermo.dynamics(per="eta2", lags=[1]).compute()
    assert np.isnan(whole["mean_squared_displacement_per_eta2"]).all()
    assert whole["remark"].item() == "η changes ×5 within this window"
    done = invoke("dynamics", path, "--per-eta2", "--window", "rate", "--lags", "1,10")
    assert "MSD/η²" in done.stdout
    other = write_store(tmp_path / "other.zarr", {"lin.weight": w[:, np.newaxis]})
    with pytest.raises(errors.OptionError, match="--per-eta2: expected a learning rate"):
        analyzer.open_run(other).thermo.dynamics(per="eta2")
    with pytest.raises(errors.OptionError, match="per: expected 'eta2' or None, got 'eta'"):
        analyzer.open_run(other).thermo.dynamics(per="eta")
    assert invoke("dynamics", other, "--waiting", "1:10:log", "--remove-drift").exit_code == 2


def test_a_constant_drift_changes_nothing_without_it(dynamics: Make) -> None:
    """v + c: each weight's mean velocity grows by c, which is taken off again. With it MSD(τ) is (cτ)² higher."""
    w = np.cumsum(np.random.default_rng(11).standard_normal((WEIGHTS, 4000)), axis=1)
    drift = np.linspace(-1, 1, WEIGHTS)[:, np.newaxis] * np.arange(4000)
    still, moving = dynamics(w, remove_drift=True), dynamics(w + drift, remove_drift=True)
    assert (still.attrs["drift_removed"], dynamics(w).attrs["drift_removed"]) == (1, 0)
    for column in ("autocorrelation", "mean_squared_displacement", "exponent", "exponent_error"):
        np.testing.assert_allclose(moving[column], still[column], rtol=1e-8, atol=1e-10)
    with_drift = dynamics(w + drift)["mean_squared_displacement"].sel(lag=224).item()
    assert with_drift > 0.9 * float(((224 * drift[:, 1]) ** 2).mean())


def test_a_correlation_time_without_an_error_bar_is_said_so(tmp_path: Path) -> None:
    """SGD in a wide minimum: C(τ) is lost in its errors, and the displacement says that it sums up to −½."""
    w = lfilter([1], [1, -0.98], np.random.default_rng(13).standard_normal((8, 4500)), axis=1)[:, 400:]
    path = write_store(tmp_path / "run.zarr", {"lin.weight": w}, chunk_steps=4100)
    done = invoke("dynamics", path)
    assert "integrated correlation time in steps: lin: 0.4" in done.stdout
    assert "(no se)\nno se: too few batches, or the MSD at long lags tells of correlation" in done.stdout
