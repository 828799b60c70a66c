"""What a fit refuses: one sentence that names what was expected, what was found and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from analyzer.errors import AnalyzerError, FitError
from analyzer.fitting.fit import fit, predict
from analyzer.fitting.many import compare, fit_groups
from tests.sweeps import RATES, cross

SQUARE = RATES**2


def ask(model: str = "power", x: Any = RATES, temperature: Any = None, **options: Any) -> Callable[[], object]:
    values = np.asarray(x).reshape(len(x), -1)[:, 0] ** 2 + 1e-9 if temperature is None else temperature
    return lambda: fit(model, x, values, **options)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "unknown model": (ask("cubic"), r"model: expected one of power, parabola, .*joint, got 'cubic'\."),
    "one run": (
        ask(x=[1e-3], names=["learning_rate"]),
        r"Fit against learning_rate: expected a sweep of 5 or more runs, got one\. .* Record runs at other values\.",
    ),
    "one run left": (
        ask(temperature=np.where(RATES[0] == RATES, 1.0, np.nan)),
        r"expected a sweep of 5 or more runs, got one \(6 more left out: 6 not finite\)",
    ),
    "equal": (
        ask(x=np.full(7, 1e-3), names=["learning_rate"]),
        r"learning_rate: expected runs that differ in it, got 7 runs at 0\.001\. .* "
        r"Choose the hyperparameter that was varied\.",
    ),
    "few runs": (
        ask(x=RATES[:4]),
        r"model power: expected at least 5 runs for 2 coefficient\(s\), got 4\. .* Record more runs or fit a smaller",
    ),
    "few runs left": (
        ask("parabola", temperature=np.where(np.arange(7) < 5, SQUARE, 0.0)),
        r"expected at least 6 runs for 3 coefficient\(s\), got 5 \(2 more left out: 2 with T <= 0\)",
    ),
    "few settings": (
        ask("parabola", x=np.repeat(RATES[:2], 5)),
        r"model parabola: expected at least 3 different values of x1, got 2\. .* Record more values or fit a smaller",
    ),
    "all dead": (
        ask(temperature=np.zeros(7)),
        r"expected runs with a finite positive temperature, got none of 7 \(7 with T <= 0\)\. .* leave it out",
    ),
    "all unfinished": (ask(finished=np.zeros(7, bool)), r"got none of 7 \(7 unfinished\)"),
    "zero rate": (
        ask(x=np.array([0.0, *RATES]), names=["weight_decay"]),
        r"weight_decay: expected positive values for the model power, got 0\. .* or fit a parabola\.",
    ),
    "negative for the stiff square": (ask("stiff", x=RATES - 1e-3), r"expected positive values for the model stiff"),
    "zero rate of a proportional model": (
        ask("proportional", x=np.array([0.0, *RATES])),
        r"model proportional: expected a curve T = a·x that is positive at every run, got none\. .* fit `linear`",
    ),
    "missing rate": (
        ask(x=np.where(RATES[2] == RATES, np.nan, RATES), temperature=SQUARE, names=["learning_rate"]),
        r"learning_rate: expected a finite value for every run, got 1 of 7 without\. .* Leave these runs out\.",
    ),
    "no stiffness": (
        ask("stiff", temperature=RATES**0.5),
        r"model stiff: expected c inside its domain .* got its edge\. .* Fit `power` or `linear`\.",
    ),
    "one hyperparameter of two": (
        ask("joint"),
        r"model joint: expected 2 hyperparameter\(s\), got 1 \(x1\)\. `joint` takes two, every other model one\.",
    ),
    "two hyperparameters for one": (ask("power", x=cross()), r"expected 1 hyperparameter\(s\), got 2 \(x1 and x2\)"),
    "rate and batch vary together": (
        ask("joint", x=np.column_stack([RATES, 1e4 * RATES])),
        r"model joint: expected hyperparameters that tell a, p, q apart, got some that .* Vary each at a fixed value",
    ),
    "fixed batch": (ask("joint", x=np.column_stack([RATES, np.full(7, 32.0)])), r"that tell a, p, q apart"),
    "shapes": (ask(temperature=SQUARE[:5]), r"expected one temperature per run, got shapes \(7,\) and \(5,\)"),
    "seed's shape": (ask(seed=[0, 1]), r"seed: expected one value per run \(7\), got the shape \(2,\)"),
    "level": (ask(level=95), r"level: expected a share between 0 and 1, got 95\. 0\.95 is usual\."),
    "per-seed without seeds": (
        ask(intervals="per-seed"),
        r"expected runs for 'per-seed', got none that allow it: no seeds were given\. Use 'pooled'\.",
    ),
    "per-seed with two": (
        ask(x=np.repeat(RATES, 2), seed=np.tile([0, 1], 7), intervals="per-seed"),
        r"there are 2 seeds\. Use 'pooled'",
    ),
    "weights without errors": (ask(intervals="weighted"), r"expected a positive standard error of every temperature"),
    "weights with a missing error": (
        ask(intervals="weighted", within=np.where(RATES[0] == RATES, np.nan, 1e-9)),
        r"expected a positive standard error of every temperature, .* Use 'auto', which needs none\.",
    ),
    "weights in T": (
        ask("square", intervals="weighted", within=np.full(7, 1e-9)),
        r"'weighted': expected a model linear in ln T, got square\.",
    ),
    "kind": (ask(intervals="bootstrap"), r"expected 'auto', 'per-seed', 'pooled' or 'weighted', got 'bootstrap'"),
    "prediction": (
        lambda: predict(fit("power", RATES, SQUARE), np.array([0.0])),
        r"predict: expected positive values of x1, got 0",
    ),
    "prediction of two": (
        lambda: predict(fit("power", RATES, SQUARE), cross()),
        r"predict: expected 1 hyperparameter\(s\) a point, got the shape \(13, 2\)\.",
    ),
    "no models": (lambda: compare([], RATES, SQUARE), r"compare: expected at least one model, got none"),
    "no model possible": (lambda: compare(["power", "linear"], RATES[:3], SQUARE[:3]), r"model power: .* got 3\."),
    "no group possible": (lambda: fit_groups("power", RATES, np.zeros((2, 7))), r"got none of 7 \(7 with T <= 0\)"),
    "groups' shape": (lambda: fit_groups("power", RATES, SQUARE), r"expected the shape \(groups, runs\), got \(7,\)\."),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    refused, text = REFUSED[case]
    with pytest.raises(FitError, match=text) as caught:
        refused()
    assert isinstance(caught.value, AnalyzerError)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_the_numbers_of_a_refusal_are_attributes() -> None:
    with pytest.raises(FitError) as caught:
        fit("power", RATES[:4], SQUARE[:4])
    assert (caught.value.expected, caught.value.found) == (5, 4)  # type: ignore[attr-defined]


def test_as_many_settings_as_coefficients_are_noted() -> None:
    x = np.repeat(RATES[:2], 3)
    found = fit("power", x, x**2 * np.linspace(1, 1.1, 6))
    assert "2 settings for as many coefficients: the shape of the curve is not tested" in found.notes
    assert np.isnan(found.lack_of_fit)
    assert np.isnan(found["b"].without_low), "without one of two settings there is no slope"


def test_equal_temperatures_have_no_r_squared() -> None:
    found = fit("linear", RATES, np.ones(7))
    assert np.isnan(found.r_squared)
    assert found["c"].value == pytest.approx(1)
