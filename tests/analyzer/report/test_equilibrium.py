"""The section on equilibrium: its headline says what its table says, and each verdict has its test and its size."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from scipy.signal import lfilter

import analyzer
from analyzer.report.content import Note, Table
from analyzer.report.equilibrium import equilibrium
from analyzer.report.subject import Asked
from analyzer.statistics.equilibrium import DRIFTING, STATIONARY, UNDECIDED

Make = Callable[..., Path]


def run_of(make: Make, steps: int, rise: float, rho: float) -> Any:
    """A layer of 30 weights whose velocities are AR(1) and grow to (1 + rise) times; the loss is noise."""
    rng = np.random.default_rng(11)
    noise = rng.standard_normal((30, steps + 200))  # the first 200 are forgotten
    velocity = lfilter([1.0], [1.0, -rho], noise, axis=1)[:, 200:] * np.linspace(1, 1 + rise, steps)
    frames = np.concatenate([np.zeros((30, 1)), np.cumsum(velocity, axis=1)], axis=1)
    loss = 1 + 0.1 * rng.standard_normal(steps + 1)
    return analyzer.open_run(make(parameters={"a.weight": frames}, scalars={"loss": loss}, chunk_steps=steps))


def section(run: Any) -> tuple[str, list[dict[str, str]]]:
    """The headline, and the rows of the table by title."""
    contents = list(equilibrium(cast(Any, SimpleNamespace(equilibrium=run.thermo.equilibration())), Asked()))
    notes = [content.text for content in contents if isinstance(content, Note)]
    rows = [dict(zip(t.columns, row, strict=True)) for t in contents if isinstance(t, Table) for row in t.rows]
    return notes[0], rows


@pytest.mark.parametrize(
    ("steps", "rise", "rho", "verdicts"),
    [
        (800, 0.0, 0.0, [STATIONARY, STATIONARY]),
        (800, 1.0, 0.0, [DRIFTING, STATIONARY]),
        (60, 0.0, 0.95, [UNDECIDED, STATIONARY]),
        (30, 0.0, 0.0, []),
    ],
    ids=["steady", "drifting", "too short to tell", "too short for any series"],
)
def test_the_headline_says_what_the_table_says(
    make: Make, steps: int, rise: float, rho: float, verdicts: list[str]
) -> None:
    run = run_of(make, steps, rise, rho)
    headline, rows = section(run)
    assert [row["verdict"] for row in rows] == verdicts
    if not rows:
        assert headline == "No series has the 40 samples that a search for equilibrium takes. Record 40 steps."
        return
    names = {verdict: [f"{row['series']} {row['of']}".removesuffix(" –") for row in rows if row["verdict"] == verdict]
             for verdict in (DRIFTING, UNDECIDED)}  # fmt: skip
    for verdict, said in ((DRIFTING, "still drift after it"), (UNDECIDED, "are undecided, the table says why")):
        found = re.search(rf"(\d+) of {len(rows)} series {said}: ([^.]+)\.", headline)
        assert (found is not None) == bool(names[verdict])
        if found:
            assert (int(found[1]), found[2].split(", ")) == (len(names[verdict]), names[verdict])
    assert (f"None of the {len(rows)} series drifts" in headline) == (not any(names.values()))
    assert f"step {max(int(row['t₀ (step)']) for row in rows):,} " in headline


def test_a_series_that_is_not_finite_is_not_said_to_be_short(make: Make) -> None:
    frames = np.cumsum(np.random.default_rng(3).standard_normal((5, 101)), axis=1)
    frames[2, 50] = np.nan
    headline, rows = section(analyzer.open_run(make(parameters={"a.weight": frames}, scalars={}, chunk_steps=50)))
    assert [(row["verdict"], row["why"]) for row in rows] == [(UNDECIDED, "the series has NaN or infinite values")]
    assert "1 of 1 series are undecided, the table says why: temperature a." in headline


@pytest.mark.parametrize(
    ("steps", "rise", "rho"), [(800, 0.0, 0.0), (800, 1.0, 0.0), (60, 0.0, 0.95)], ids=["steady", "drifting", "short"]
)
def test_a_verdict_has_its_test_statistic_threshold_and_size(make: Make, steps: int, rise: float, rho: float) -> None:
    """The interval of the change leaves out 0 where, and only where, the statistic passes its threshold."""
    answer = run_of(make, steps, rise, rho).thermo.equilibration().isel(window=0)
    for n in range(answer.sizes["group"]):
        one = {name: answer[name].values[n] for name in answer.data_vars}
        decided = one["verdict"] != UNDECIDED
        assert one["threshold"] == pytest.approx(1.96 if decided else 20, abs=1e-3)
        number = f"{one['statistic']:.2f}" if decided else f"{one['statistic']:.3g}"
        assert re.search(rf"(slope (after|before) t0.*|n_eff ){re.escape(number)}\b", one["reason"]), one["reason"]
        assert f"{one['threshold']:.3g}" in one["reason"]
        if not decided:
            assert one["statistic"] < one["threshold"]
            assert np.isnan(one["drift_percent"]), "nobody knows"
            continue
        low, size, high = (one[f"drift_percent{end}"] for end in ("_low", "", "_high"))
        assert low < size < high
        assert (low > 0 or high < 0) == (one["verdict"] == DRIFTING) == (one["statistic"] > one["threshold"])
        assert size / ((high - low) / 2 / 1.96) == pytest.approx(np.sign(size) * one["statistic"], rel=1e-3)
    if rise:  # T grows fourfold over the run, and from t0 on by a good part of its mean
        assert answer["drift_percent"].values[0] > 10
