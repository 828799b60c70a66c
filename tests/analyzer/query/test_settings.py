"""Stretches within which no recorded setting changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import analyzer
from analyzer import errors
from analyzer.query.settings import constant_stretches
from analyzer.tree import trajectory
from tests.analyzer.scheduled import Make, recorded, scheduled, sgd
from tests.stores import edit_root, segment


def test_momentum_that_moves_is_a_remark_and_cuts_stretches(make: Make) -> None:
    momentum = np.full(1201, np.nan)
    momentum[601:] = 0.5
    path = scheduled(
        make, np.repeat(0.1, 1200),
        scalars={"learning_rate": recorded(np.repeat(0.1, 1200)), "param_group%2F0%2Fmomentum": momentum},
        segments=[segment(0, 0, optimizer=sgd(momentum=0.9), stride=1)],
    )  # fmt: skip

    def named(document: dict[str, Any]) -> None:
        nodes = document["consolidated_metadata"]["metadata"]
        nodes["param_group%2F0%2Fmomentum"]["attributes"]["name"] = "param_group/0/momentum"

    edit_root(path, named)
    run = analyzer.open_run(path)
    answer = run.thermo.temperature(per="eta2").compute()
    assert answer["remark"].item() == "momentum changes from 0.5 to 0.9 within this window"
    assert answer["expectation"].item() == "no expectation: momentum changes within the window"
    by_rate = run.thermo.temperature(window="rate").compute()
    assert by_rate["start_step"].values.tolist() == [0, 600]
    assert by_rate["stop_step"].values.tolist() == [600, 1200]


def test_the_range_of_a_stride_leaves_the_first_displacement_of_a_stretch_out(make: Make) -> None:
    """With a stride nobody knows where between two frames the rate changed."""
    rates = np.repeat([0.1, 0.02], 400)
    path = scheduled(make, rates, steps=np.arange(801) * 5, stride=5)
    answer = analyzer.open_run(path).thermo.temperature(window="rate").compute()
    assert answer["start_step"].values.tolist() == [0, 2005]
    assert answer["stop_step"].values.tolist() == [2000, 4000]


def test_stretches_of_constant_settings_within_one_spacing_of_an_uneven_run(make: Make) -> None:
    """Frames 0 to 600 of every step, then of every fifth: the rate changes at step 1,300 and again at step 2,600."""
    steps = np.concatenate([np.arange(601), 600 + 5 * np.arange(1, 681)])
    rates = np.where(steps[1:] <= 1300, 0.1, np.where(steps[1:] <= 2600, 0.02, 0.004))
    said = {"optimizer": sgd(), "hyperparameters": {}}
    segments = [segment(0, 0, **said, stride=1), segment(601, 605, True, **said, stride=5)]
    run = analyzer.open_run(scheduled(make, rates, steps=steps, segments=segments))
    with pytest.raises(errors.WindowError, match=r"equal spacing for --window rate.*--start"):
        run.thermo.temperature(window="rate")
    answer = run.thermo.temperature(window="rate", start=600).compute()
    assert answer["start_step"].values.tolist() == [600, 1305, 2605]
    assert answer["stop_step"].values.tolist() == [1300, 2600, 4000]
    assert answer["learning_rate"].values.tolist() == [[0.1, 0.02, 0.004]]
    whole = run.thermo.temperature(per="eta2").compute()
    assert whole["steps_per_lag"].values.tolist() == [1, 5]
    assert whole["learning_rate"].values[0, 0] == 0.1
    assert np.isnan(whole["learning_rate"].values[0, 1])
    assert whole["remark"].values[0].tolist() == ["", "η changes ×25 within this window"]
    assert np.isfinite(whole["temperature_per_eta2"].values[0, 0])
    found = run.thermo.equilibration(start=600)
    assert found["start_step"].values.tolist() == [600, 1305, 2605]
    assert found.sel(group="temperature a")["inefficiency"].values.min() >= 5
    with pytest.raises(errors.WindowError, match="equal spacing for a search for equilibrium"):
        run.thermo.equilibration()


def test_another_stride_alone_is_no_other_setting(make: Make) -> None:
    steps = np.concatenate([np.arange(601), 600 + 5 * np.arange(1, 201)])
    said = {"optimizer": sgd(), "hyperparameters": {}}
    segments = [segment(0, 0, **said, stride=1), segment(601, 605, True, **said, stride=5)]
    run = analyzer.open_run(scheduled(make, np.repeat(0.1, 800), steps=steps, segments=segments))
    line = trajectory(run).line
    assert line.changes
    assert constant_stretches(line) == [(0, 1600)]
