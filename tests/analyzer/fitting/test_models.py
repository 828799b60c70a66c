"""What fits must not depend on, and what they must recover exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.errors import FitError
from analyzer.fitting.fit import Fit, fit, predict
from analyzer.fitting.many import compare
from analyzer.fitting.models import MODELS, equation
from tests.sweeps import BATCHES, RATES, Sweep, cross, sweep

TRUTH: dict[str, tuple[np.ndarray, tuple[float, ...]]] = {
    "power": (RATES, (0.03, 2.3)),
    "parabola": (RATES, (0.03, 1e-5, 2e-9)),
    "square": (RATES, (0.03,)),
    "stiff": (np.geomspace(0.01, 0.3, 7), (0.5, 2.5)),
    "linear": (RATES, (0.03, 1e-5)),
    "proportional": (RATES, (0.03,)),
    "inverse_power": (BATCHES, (2e-8, 0.9)),
    "joint": (cross(), (0.03, 2.1, 0.9)),
}


def curve(name: str, x: np.ndarray, c: tuple[float, ...]) -> np.ndarray:
    """The models' equations, written out again."""
    return {
        "power": lambda: c[0] * x ** c[1],
        "parabola": lambda: c[0] * x**2 + c[1] * x + c[2],
        "square": lambda: c[0] * x**2,
        "stiff": lambda: c[0] * x**2 / (1 - c[1] * x),
        "linear": lambda: c[0] * x + c[1],
        "proportional": lambda: c[0] * x,
        "inverse_power": lambda: c[0] * x ** -c[1],
        "joint": lambda: c[0] * x[:, 0] ** c[1] * x[:, 1] ** -c[2],
    }[name]()


def values(found: Fit) -> np.ndarray:
    return np.array([c.value for c in found.coefficients])


def numbers(found: Fit) -> np.ndarray:
    """Every number of every coefficient, in units of its interval's width where it may vanish."""
    return np.array(
        [
            (c.value, c.standard_error, c.low, c.high, c.without_low, c.without_high)
            for c in found.coefficients
        ]
    )  # fmt: skip


def noisy(name: str, seed: int, scatter: float = 0.05, seeds: int = 3) -> Sweep:
    x, coefficients = TRUTH[name]
    flat = sweep(np.random.default_rng(seed), (0.0,) * (1 if x.ndim == 1 else 2), x, seeds=seeds, scatter=scatter)
    return Sweep(flat.x, flat.temperature / 0.025 * curve(name, flat.x, coefficients), flat.within, flat.seed)


def test_every_model_is_tested_here() -> None:
    assert set(TRUTH) == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("intervals", ["per-seed", "pooled"])
def test_exact_data_give_exact_coefficients(name: str, intervals: str) -> None:
    x, truth = TRUTH[name]
    x, seed = np.repeat(x, 3, axis=0), np.tile(np.arange(3), len(x))
    found = fit(name, x, curve(name, x, truth), seed=seed, intervals=intervals)  # type: ignore[arg-type]
    np.testing.assert_allclose(values(found), truth, rtol=1e-8)
    np.testing.assert_allclose(found.fitted, curve(name, x, truth), rtol=1e-10)
    assert found.scatter < 1e-10
    assert found.r_squared == pytest.approx(1)
    np.testing.assert_allclose(predict(found, x).temperature, curve(name, x, truth), rtol=1e-10)


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"joint", "inverse_power"}))
def test_the_true_model_stands_in_a_comparison(name: str) -> None:
    """At 1 % scatter the true model is within 5 of the best AICc, and models of another shape are far behind."""
    data = noisy(name, 4, scatter=0.01)
    table = compare(["power", "parabola", "square", "stiff", "linear", "proportional"], data.x, data.temperature)
    delta = {one.model.name: float(far) for one, far in zip(table.fits, table.delta, strict=True)}
    assert delta[name] < 5, delta
    straight = {"linear", "proportional"}
    wrong = {"linear": {"square", "stiff"}, "proportional": {"square"}}.get(name, straight)
    assert all(delta.get(other, np.inf) > 20 for other in wrong), delta


@settings(deadline=None, max_examples=40)
@given(name=st.sampled_from(sorted(MODELS)), seed=st.integers(0, 999), data=st.data())
def test_order_does_not_matter(name: str, seed: int, data: st.DataObject) -> None:
    runs = noisy(name, seed)
    order = np.array(data.draw(st.permutations(range(runs.temperature.size))))
    one = fit(name, runs.x, runs.temperature, seed=runs.seed)
    other = fit(name, runs.x[order], runs.temperature[order], seed=runs.seed[order])
    scale = np.abs(numbers(one)).max(axis=1, keepdims=True)
    np.testing.assert_allclose(numbers(other) / scale, numbers(one) / scale, rtol=0, atol=1e-6)
    np.testing.assert_allclose(other.leverage, one.leverage[order], rtol=1e-6)
    np.testing.assert_allclose(other.aicc, one.aicc, rtol=1e-9)


@settings(deadline=None, max_examples=40)
@given(name=st.sampled_from(sorted(MODELS)), seed=st.integers(0, 999), factor=st.floats(1e-6, 1e6))
def test_a_unit_of_temperature_scales_prefactors_only(name: str, seed: int, factor: float) -> None:
    runs = noisy(name, seed)
    one = fit(name, runs.x, runs.temperature, seed=runs.seed)
    other = fit(name, runs.x, factor * runs.temperature, seed=runs.seed)
    linear = MODELS[name].method == "relative"
    expected = np.array([[factor if linear or n == 0 else 1.0] for n in range(len(one.coefficients))]) * numbers(one)
    scale = np.abs(expected).max(axis=1, keepdims=True)
    np.testing.assert_allclose(numbers(other) / scale, expected / scale, rtol=0, atol=1e-5)
    np.testing.assert_allclose(other.scatter, one.scatter, rtol=1e-7)
    shift = 2 * one.points.runs * np.log(factor)  # the density of T per unit
    np.testing.assert_allclose(other.aicc, one.aicc + shift, rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(name=st.sampled_from(sorted(MODELS)), seed=st.integers(0, 999), factor=st.floats(1e-3, 1e3))
def test_a_unit_of_the_hyperparameter_changes_coefficients_by_its_power(name: str, seed: int, factor: float) -> None:
    runs = noisy(name, seed)
    one = fit(name, runs.x, runs.temperature, seed=runs.seed)
    other = fit(name, factor * runs.x, runs.temperature, seed=runs.seed)
    power = {
        "power": lambda v: [v[0] * factor ** -v[1], v[1]],
        "inverse_power": lambda v: [v[0] * factor ** v[1], v[1]],
        "joint": lambda v: [v[0] * factor ** (v[2] - v[1]), v[1], v[2]],
        "parabola": lambda v: [v[0] / factor**2, v[1] / factor, v[2]],
        "square": lambda v: [v[0] / factor**2],
        "stiff": lambda v: [v[0] / factor**2, v[1] / factor],
        "linear": lambda v: [v[0] / factor, v[1]],
        "proportional": lambda v: [v[0] / factor],
    }[name]
    errors = np.array([c.standard_error for c in one.coefficients])
    size = np.maximum(np.abs(values(one)), errors) if name == "parabola" else values(one)  # its b and c may vanish
    scale = np.abs(power(size))
    np.testing.assert_allclose(values(other) / scale, np.array(power(values(one))) / scale, rtol=0, atol=1e-5)
    np.testing.assert_allclose(other.fitted, one.fitted, rtol=1e-7)
    np.testing.assert_allclose(other.leverage, one.leverage, rtol=1e-5)
    np.testing.assert_allclose(other.aicc, one.aicc, rtol=1e-9)


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(sorted(MODELS)),
    seed=st.integers(0, 999),
    bad=st.lists(st.sampled_from([0.0, -1.0, np.nan, np.inf, "unfinished"]), min_size=1, max_size=6),
)
def test_runs_left_out_change_counts_only(name: str, seed: int, bad: list[float | str]) -> None:
    runs = noisy(name, seed)
    rng = np.random.default_rng(seed)
    place = rng.integers(0, runs.temperature.size, len(bad))
    temperature = np.insert(runs.temperature, place, [1.0 if value == "unfinished" else value for value in bad])
    x = np.insert(runs.x, place, runs.x[place], axis=0)
    finished = np.insert(np.ones(runs.temperature.size, bool), place, [value != "unfinished" for value in bad])
    label = np.insert(runs.seed, place, 99)
    one = fit(name, runs.x, runs.temperature, seed=runs.seed)
    other = fit(name, x, temperature, seed=label, finished=finished)
    np.testing.assert_array_equal(numbers(other), numbers(one))
    assert other.aicc == one.aicc
    left = other.points.left_out
    assert left.total == len(bad)
    assert left.unfinished == bad.count("unfinished")
    assert left.not_finite == sum(isinstance(value, float) and not np.isfinite(value) for value in bad)
    assert left.not_positive == bad.count(0.0) + bad.count(-1.0)
    assert any(note.startswith("left out: ") for note in other.notes)
    np.testing.assert_array_equal(other.points.used, finished & np.isfinite(temperature) & (temperature > 0))


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(sorted(MODELS)), seed=st.integers(0, 999), scatter=st.floats(0.001, 0.4))
def test_leverage_sums_to_the_number_of_coefficients(name: str, seed: int, scatter: float) -> None:
    runs = noisy(name, seed, scatter, seeds=2)
    try:
        found = fit(name, runs.x, runs.temperature)
    except FitError:
        assert name == "stiff"  # at much scatter, as straight as a line
        return
    np.testing.assert_allclose(found.leverage.sum(), len(found.coefficients))
    assert ((found.leverage > 0) & (found.leverage < 1)).all()
    assert (found.fitted > 0).all()
    for c in found.coefficients:
        assert c.low < c.value < c.high
        assert c.without_low <= c.without_high or np.isnan(c.without_low)


def test_rates_that_differ_in_rounding_are_one_setting() -> None:
    rates = np.concatenate([[0.1 + 0.2, 0.3], RATES, [1e-3, 1e-3 * 3 / 3]])
    found = fit("power", rates, rates**2, seed=np.arange(rates.size))
    assert len(found.points.settings) == 9
    assert np.isfinite(found.between_seed)


@pytest.mark.parametrize(
    ("name", "coefficients", "text"),
    [
        ("power", {"a": 0.0251, "b": 2.034}, "T = 0.0251·η^2.03"),
        ("parabola", {"a": 0.02, "b": -1e-6, "c": -2e-9}, "T = 0.02·η² − 1e-06·η − 2e-09"),
        ("parabola", {"a": 0.02, "b": 1e-6, "c": 2e-9}, "T = 0.02·η² + 1e-06·η + 2e-09"),
        ("square", {"a": 0.02}, "T = 0.02·η²"),
        ("stiff", {"a": 0.02, "c": -3.0}, "T = 0.02·η²/(1 + 3·η)"),
        ("stiff", {"a": 0.02, "c": 3.0}, "T = 0.02·η²/(1 − 3·η)"),
        ("inverse_power", {"a": 0.02, "q": 1.01}, "T = 0.02·η^(−1.01)"),
        ("inverse_power", {"a": 0.02, "q": -1.01}, "T = 0.02·η^(1.01)"),
        ("proportional", {"a": 12345.0}, "T = 1.23e+04·η"),
    ],
)
def test_equations_as_text(name: str, coefficients: dict[str, float], text: str) -> None:
    assert equation(MODELS[name], ["η"], coefficients) == text


def test_an_equation_with_names() -> None:
    assert MODELS["joint"].equation == "T = a·x1^p·x2^(−q)"
    assert equation(MODELS["joint"], ["η", "β"]) == "T = a·η^p·β^(−q)"
    x, truth = TRUTH["joint"]
    assert fit("joint", x, curve("joint", x, truth)).equation(["η", "β"]) == "T = 0.03·η^2.1·β^(−0.9)"
