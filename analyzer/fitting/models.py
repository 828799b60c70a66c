"""The models that temperatures are fitted with, in one table, `MODELS`.

A model is linear in T (`relative`), linear in ln T (`log`) or nonlinear in ln T (`nonlinear`). All assume that T
scatters by a constant fraction of itself, as different seeds show. With a constant absolute scatter, the hottest point
of a sweep alone would decide the fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from analyzer.errors import FitError

Array = np.ndarray[Any, np.dtype[Any]]
Method = Literal["relative", "log", "nonlinear"]


@dataclass(frozen=True)
class Model:
    """A curve T(x; coefficients).

    Attributes
    ----------
    name
        Its key in `MODELS`.
    template
        Its equation, with `{x}` (`{x1}`, `{x2}`) for the hyperparameters and `{a}` … for the coefficients.
    coefficients
        Names of the coefficients. In a model of ln T the first is a, which is fitted as ln a.
    method
        "relative": linear least squares in T with weights 1/T̂², iterated; "log": ordinary least squares in ln T;
        "nonlinear": nonlinear least squares in ln T.
    hyperparameters
        Number of columns of x.
    columns
        For the linear methods: x (runs, hyperparameters) → design matrix (runs, coefficients).
    curve
        For the nonlinear method: x, θ → ln T (runs,) and its derivatives ∂ln T/∂θ (runs, coefficients).
    limits
        For the nonlinear method: x → lowest and highest θ, both (coefficients,).
    starts
        For the nonlinear method: x, ln T → values of θ to start from.
    """

    name: str
    template: str
    coefficients: tuple[str, ...]
    method: Method
    hyperparameters: int = 1
    columns: Callable[[Array], Array] | None = None
    curve: Callable[[Array, Array], tuple[Array, Array]] | None = None
    limits: Callable[[Array], tuple[Array, Array]] | None = None
    starts: Callable[[Array, Array], list[Array]] | None = None

    @property
    def equation(self) -> str:
        """The equation in x, or x1 and x2."""
        return equation(self)

    @property
    def of_logarithm(self) -> bool:
        """Whether it is a model of ln T. If so, x must be positive, and θ[0] is ln a."""
        return self.method != "relative"

    def predictor(self, x: Array, theta: Array) -> tuple[Array, Array]:
        """Return T (ln T for a model of ln T) at x (runs, hyperparameters), and its derivatives by θ (runs, k)."""
        if self.curve is not None:
            return self.curve(x, theta)
        assert self.columns is not None
        design = self.columns(x)
        return design @ theta, design

    def mean(self, x: Array, theta: Array) -> Array:
        """Return T at x (runs, hyperparameters)."""
        value, _ = self.predictor(x, theta)
        return np.exp(value) if self.of_logarithm else value

    def values(self, theta: Array) -> Array:
        """Return the coefficients from θ (coefficients,), with a in place of ln a."""
        return np.concatenate([np.exp(theta[:1]), theta[1:]]) if self.of_logarithm else theta


STIFFEST, SOFTEST = 1 - 1e-9, -1e4
"""Largest and smallest c·max(x) in a·x²/(1 − c·x). The largest is just below the pole at 1; at the smallest the curve
is a straight line."""


def _stiff(x: Array, theta: Array) -> tuple[Array, Array]:
    rate = x[:, 0]
    rest = 1 - theta[1] * rate
    return theta[0] + 2 * np.log(rate) - np.log(rest), np.column_stack([np.ones_like(rate), rate / rest])


def _stiff_limits(x: Array) -> tuple[Array, Array]:
    top = x[:, 0].max()
    return np.array([-np.inf, SOFTEST / top]), np.array([np.inf, STIFFEST / top])


def _stiff_starts(x: Array, log_temperature: Array) -> list[Array]:
    rate = x[:, 0]
    trials = np.array([-100.0, -10.0, -3.0, -1.0, -0.3, 0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.97, 0.99]) / rate.max()
    # For a given c, the best ln a is a mean.
    return [np.array([(log_temperature - 2 * np.log(rate) + np.log(1 - c * rate)).mean(), c]) for c in trials]


def _powers(*exponents: int) -> Callable[[Array], Array]:
    return lambda x: np.column_stack([x[:, 0] ** power for power in exponents])


def _logarithms(*signs: int) -> Callable[[Array], Array]:
    return lambda x: np.column_stack([np.ones(len(x)), *(s * np.log(x[:, n]) for n, s in enumerate(signs))])


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model("power", "T = {a}·{x}^{b}", ("a", "b"), "log", columns=_logarithms(1)),
        Model("parabola", "T = {a}·{x}² + {b}·{x} + {c}", ("a", "b", "c"), "relative", columns=_powers(2, 1, 0)),
        Model("square", "T = {a}·{x}²", ("a",), "relative", columns=_powers(2)),
        Model(
            "stiff",
            "T = {a}·{x}²/(1 − {c}·{x})",
            ("a", "c"),
            "nonlinear",
            curve=_stiff,
            limits=_stiff_limits,
            starts=_stiff_starts,
        ),
        Model("linear", "T = {a}·{x} + {c}", ("a", "c"), "relative", columns=_powers(1, 0)),
        Model("proportional", "T = {a}·{x}", ("a",), "relative", columns=_powers(1)),
        Model("inverse_power", "T = {a}·{x}^(−{q})", ("a", "q"), "log", columns=_logarithms(-1)),
        Model("joint", "T = {a}·{x1}^{p}·{x2}^(−{q})", ("a", "p", "q"), "log", 2, columns=_logarithms(1, -1)),
    )
}
"""All models by name. `joint` is ln T = ln a + p ln x1 − q ln x2, with learning rate x1 and batch size x2."""


def model_of(model: str | Model) -> Model:
    """Return the model of that name, or the model itself if given one.

    Raises
    ------
    FitError
        `MODELS` has no model of that name.
    """
    if isinstance(model, Model):
        return model
    if model not in MODELS:
        raise FitError(f"model: expected one of {', '.join(MODELS)}, got {model!r}.", model=model)
    return MODELS[model]


def equation(
    model: Model, symbols: Sequence[str] | None = None, values: Mapping[str, float] | None = None, digits: int = 3
) -> str:
    """Return the equation of a model as text, for tables and plots.

    Parameters
    ----------
    model
        The model.
    symbols
        Symbol of each hyperparameter. Default: x, or x1 and x2.
    values
        Values by name of the coefficients, to replace the names.
    digits
        Significant digits of the values.

    Examples
    --------
    >>> equation(MODELS["power"], ["η"])
    'T = a·η^b'
    >>> equation(MODELS["linear"], ["η"], {"a": 2.0, "c": -0.5})
    'T = 2·η − 0.5'
    """
    names = ["x"] if model.hyperparameters == 1 else [f"x{n + 1}" for n in range(model.hyperparameters)]
    written = dict(zip(names, names if symbols is None else symbols, strict=True))
    for name in model.coefficients:
        written[name] = name if values is None else f"{values[name]:.{digits}g}"
    text = model.template.format(**written)
    for minus, sign in (("+ -", "− "), ("− -", "+ "), ("(−-", "(")):
        text = text.replace(minus, sign)
    return text
