"""Which scatter an interval comes from."""

from __future__ import annotations

import numpy as np

from analyzer.fitting.fit import fit
from tests.sweeps import RATES


def test_why_an_interval_is_pooled() -> None:
    """Runs that each have a seed of their own are no blocks: leaving one out shows nothing about seeds."""
    x = np.tile(RATES, 2)
    found = fit("power", x, x**2 * np.linspace(1, 1.1, 14), seed=np.arange(14))
    assert found.uncertainty.kind == "pooled"
    assert found.notes[0].endswith("because 14 seeds have only 14 of the 98 combinations of seed and setting")
    assert np.isfinite(found.between_seed)
    lone = fit("power", x, x**2 * np.linspace(1, 1.1, 14), seed=np.zeros(14))
    assert np.isnan(lone.between_seed), "one seed twice says nothing about other seeds"
    assert "no setting has two seeds: the variance between seeds is unknown" in lone.notes
