"""The picture of a fit: labels of learning rates that can be read."""

from __future__ import annotations

import numpy as np

from analyzer.plots.fit import _apart


def test_labels_that_would_touch_are_left_out() -> None:
    rates = np.array([0.0007, 0.001, 0.0013, 0.0016, 0.002, 0.0025, 0.003])
    shown = _apart([f"{rate:.3g}" for rate in rates], np.log(rates))
    assert [label for label in shown if label] == ["0.0007", "0.001", "0.0013", "0.002", "0.003"]
    assert _apart(["0.001"], np.log([0.001])) == ["0.001"]
