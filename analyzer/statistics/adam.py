"""The signal-to-noise ratio of gradients from the temperature of a training with Adam.

Adam's step is v = −η m/√u, with m the running mean of gradients and u that of their squares. A gradient has variance C
and signal-to-noise ratio s² = ḡ²/C. Once u has settled at its mean C(1 + s²), m has mean s√C and variance
C(1 − β1)/(1 + β1), so

    T/η² = ½ (s² + a)/(1 + s²),    a = (1 − β1)/(1 + β1),

which is ½a for white gradients (s = 0) and ½ for consistent ones (s → ∞). Adam: Kingma and Ba, arXiv:1412.6980.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

CONSISTENT = 0.5
"""T/η² if every step has the same gradient."""
SPARSE = 0.12
"""Largest relative error of the formula in simulations: it is too high by 12 % for sparse gradients, by 2 % for
Student's t with three degrees of freedom, by 0.1 % for Gaussian ones."""


def white(beta1: float) -> float:
    """Return T/η² of white gradients, ½(1 − β1)/(1 + β1): 0.0263 for β1 = 0.9."""
    return 0.5 * (1 - beta1) / (1 + beta1)


def signal_to_noise(ratio: Any, error: Any, beta1: float) -> tuple[Array, Array]:
    """Return the s² that belongs to a T/η², and its standard error to first order.

    The formula of this module, solved for s²: (2T/η² − a)/(1 − 2T/η²).

    Parameters
    ----------
    ratio, error
        T/η² and its standard error: numbers, or arrays of one shape.
    beta1
        Adam's decay rate of m, between 0 and 1.

    Returns
    -------
    s² and its standard error, of the shape of `ratio`. No s² gives a T/η² of ½ or more: the result is NaN. No s² gives
    less than white gradients do: the result is negative.
    """
    twice, a = 2 * np.asarray(ratio, dtype=np.float64), 2 * white(beta1)
    room = np.where(twice < 1, 1 - twice, np.nan)
    return (twice - a) / room, 2 * np.asarray(error) * (1 - a) / room**2
