"""Batches: the same velocities in shorter pieces, whose sums are those of the window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analyzer
from analyzer.errors import WindowError
from analyzer.query.timeline import timeline
from analyzer.query.windows import sample


@pytest.mark.parametrize(
    ("share", "step"),
    [("29%", 29), ("57%", 57), ("58%", 58), ("0.5%", 0), ("1/3%", 0), ("100/3%", 33), ("33.3%", 33), ("99.9%", 99),
     ("100%", 100), ("0%", 0), (" 50 %", 50), ("1e1%", 10)],
)  # fmt: skip
def test_percentages_are_exact(share: str, step: int) -> None:
    """Of 100 steps, 29% are 29; 0.29 · 100 in floating-point numbers is less."""
    whole = timeline(np.arange(101), 1)
    if step < 100:
        assert sample(whole, start=share).windows.start_step.tolist() == [step]
    else:
        assert sample(whole, stop=share).windows.stop_step.tolist() == [step]


@settings(deadline=None, max_examples=100)
@given(steps=st.integers(1, 10_000), stride=st.integers(1, 7), tenths=st.integers(1, 999))
def test_two_windows_that_meet_at_a_percentage_hold_every_step(steps: int, stride: int, tenths: int) -> None:
    line = timeline(np.arange(0, (steps + 2) * stride, stride), stride)
    share = f"{tenths / 10:.1f}%"
    cut = tenths * (steps + 1) // 1000 * stride
    before = sample(line, stop=share).windows if cut else None
    after = sample(line, start=share).windows if cut < line.steps[-1] else None
    assert before is None or before.stop_step[0] == cut
    assert after is None or after.start_step[0] == cut
    held = sum(int(part.velocities[0]) for part in (before, after) if part is not None)
    assert held == steps + 1


@pytest.mark.parametrize("share", ["%", "nan%", "-1%", "100.1%", "1/0%", "1e9999%", "inf%", "5/%"])
def test_what_is_no_percentage_is_refused(share: str) -> None:
    with pytest.raises(analyzer.errors.WindowError, match="--start: expected a step or a percentage from 0% to 100%"):
        sample(timeline(np.arange(10), 1), start=share)


def test_epochs_of_one_step_are_no_windows(make: Callable[..., Path]) -> None:
    """A training on full batches logs a new epoch at each step."""
    path = make(scalars={"epoch": np.arange(100.0) - 1})
    with pytest.raises(WindowError, match=r"got 99 epochs of one\. .* Give steps: --window 100"):
        analyzer.open_run(path).thermo.temperature(window="epoch")


def test_a_lag_longer_than_any_integer_of_the_machine_is_one_that_no_window_has(make: Callable[..., Path]) -> None:
    run = analyzer.open_run(make())
    for lag in (10**18, 10**30, 10**400):
        for measure in (run.thermo.temperature, run.thermo.velocity_summary):
            with pytest.raises(WindowError, match="expected a window with at least one velocity, got none"):
                measure(lag=lag)
