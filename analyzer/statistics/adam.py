"""What Adam's temperature says of its gradients: T/η² between that of white ones and that of consistent ones.

v = −η m/√u. Where u has settled at its mean C(1 + s²), with C the variance of a gradient and s² = ḡ²/C its
signal-to-noise ratio, m has the mean s√C and the variance C(1 − β1)/(1 + β1), so

    T/η² = ½ (s² + a)/(1 + s²),    a = (1 − β1)/(1 + β1),

which is ½a for white gradients and ½ for consistent ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

CONSISTENT = 0.5
"""T/η² where all gradients are alike."""
SPARSE = 0.12
"""How far below the formula gradients that are not Gaussian lie: by 2 % for Student's three degrees of freedom, by 12 %
where they are sparse (simulated; Gaussian: 0.1 %)."""


def white(beta1: float) -> float:
    """T/η² of white gradients, ½(1 − β1)/(1 + β1): 0.0263 for β1 = 0.9."""
    return 0.5 * (1 - beta1) / (1 + beta1)


def signal_to_noise(ratio: Any, error: Any, beta1: float) -> tuple[Array, Array]:
    """The s² that gives a T/η², (2T/η² − a)/(1 − 2T/η²), and its standard error to first order.

    Parameters
    ----------
    ratio, error
        T/η² and its standard error, of one shape.

    Returns
    -------
    NaN where T/η² ≥ ½; negative where it is below that of white gradients: there is no such s².
    """
    twice, a = 2 * np.asarray(ratio, dtype=np.float64), 2 * white(beta1)
    room = np.where(twice < 1, 1 - twice, np.nan)
    return (twice - a) / room, 2 * np.asarray(error) * (1 - a) / room**2
