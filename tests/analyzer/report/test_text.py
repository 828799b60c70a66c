"""Numbers as a reader of the page sees them."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.report.text import number


@pytest.mark.parametrize(
    ("value", "text"),
    [(5.488e-8, "5.488×10⁻⁸"), (0.0012345, "0.001234"), (9.9996, "10.00"), (99999.6, "1.000×10⁵"), (1234.5, "1,234"),
     (-0.5, "−0.5000"), (0.0, "0"), (np.nan, "–"), (np.inf, "∞"), (12345, "12,345"), (True, "yes")],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text
