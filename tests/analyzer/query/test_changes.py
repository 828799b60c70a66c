"""Settings that change at a resume: said once, refused by fits, and shown by `info`."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analyzer
from analyzer import errors
from analyzer.query.changes import changes_of, setting_in, stretches, within
from tests.analyzer.shell import invoke
from tests.stores import segment


def sgd(rate: float, **group: Any) -> list[dict[str, Any]]:
    return [{"class": "torch.optim.sgd.SGD", "defaults": {"lr": rate}, "groups": [{"lr": rate} | group]}]


def resumed(at: int = 60, rate: float = 0.01, continuous: bool = False) -> list[dict[str, Any]]:
    """A run that was begun at a rate of 0.1 and resumed at step `at` with another."""
    return [
        segment(0, 0, hyperparameters={"learning_rate": 0.1, "depth": 3}, optimizer=sgd(0.1), stride=1, session="a"),
        segment(
            at, at, continuous, hyperparameters={"learning_rate": rate, "depth": 3}, optimizer=sgd(rate), stride=1,
            session="b",
        ),
    ]  # fmt: skip


def test_differences_are_named() -> None:
    (change,) = changes_of(resumed())
    assert change.first_step == 60
    assert change.differences == ("learning_rate 0.1 → 0.01", "optimizer lr 0.1 → 0.01")
    other = [
        segment(0, 0, optimizer=[{"class": "SGD", "groups": [{"lr": 1}, {"lr": 2, "momentum": 0.9}]}], stride=1),
        segment(5, 5, optimizer=[{"class": "Adam", "groups": [{"lr": 1}, {"lr": 3}]}], stride=2),
    ]
    assert changes_of(other)[0].differences == (
        "optimizer SGD → Adam", "optimizer group 1 lr 2 → 3", "optimizer group 1 momentum 0.9 → none", "stride 1 → 2",
    )  # fmt: skip


@pytest.mark.parametrize(
    "segments",
    [
        [segment(0, 0), segment(60, 60)],
        [segment(0, 0), segment(60, 60, hyperparameters={"a": 1})],
        resumed(rate=0.1),
        None,
        "damaged",
        [1, None],
        [segment(0, 0, optimizer="?", hyperparameters=[]), segment(60, 60, optimizer=3, hyperparameters=5)],
    ],
)
def test_older_and_equal_and_damaged_segments_have_no_changes(segments: object) -> None:
    assert changes_of(segments) == ()


def test_what_a_schedule_moved_is_no_change() -> None:
    """The recorder lists it in the segment. Groups are numbered through all optimizers."""
    one, two = sgd(0.1, momentum=0.9), sgd(0.1, momentum=0.9)
    began = segment(0, 0, optimizer=one + two, stride=1)
    moved = [{"param_group": 1, "setting": "momentum"}]
    went_on = segment(9, 9, optimizer=sgd(0.1, momentum=0.5) + sgd(0.1, momentum=0.8), stride=1, scheduled=moved)
    (change,) = changes_of([began, went_on])
    assert change.differences == ("optimizer 0 momentum 0.9 → 0.5",)
    for damaged in (3, [None], [{"param_group": [], "setting": {}}]):
        assert len(changes_of([began, went_on | {"scheduled": damaged}])[0].differences) == 2


@pytest.mark.parametrize("continuous", [False, True])
def test_a_window_spans_a_change_where_it_has_updates_of_both_sides(continuous: bool) -> None:
    steps, changes = np.arange(100), changes_of(resumed(continuous=continuous))
    begin = 59 if continuous else 60
    assert stretches(changes, steps) == [(0, 59), (begin, 99)]
    for start, stop, spans in (
        (0, 99, True),
        (0, 59, False),
        (begin, 99, False),
        (58, begin + 1, True),
        (0, begin, False),
    ):
        assert bool(within(changes, steps, start, stop)) == spans
        attrs = {"segments": resumed(continuous=continuous), "hyperparameters": {"learning_rate": 1}}
        found = setting_in("hyperparameters", attrs, steps, start, stop)
        assert found["learning_rate"] == (1 if spans else 0.1 if stop <= begin else 0.01)


def test_a_question_about_both_sides_is_answered_with_one_word(make: Callable[..., Path]) -> None:
    store = make(segments=resumed())
    run = analyzer.open_run(store)
    text = r"expected one setting in the range, got several: at step 60: learning_rate 0.1 → 0.01.*--start 0 --stop 59"
    for ask in (run.thermo.temperature, run.thermo.velocity_summary):
        with pytest.warns(errors.SettingsWarning, match=text):
            ask()
        ask(stop=59)
        ask(start=60)
    told = invoke("temperature", store, "--lag", "1,2").stderr
    assert told.count("expected one setting") == 1
    assert told.startswith("Warning: ")
    assert "setting" not in invoke("temperature", store, "--start", 60).stderr


def test_a_check_expects_what_the_optimizer_of_its_range_leads_to(make: Callable[..., Path]) -> None:
    began, went_on = resumed()
    went_on["optimizer"] = [{"class": "torch.optim.adam.Adam", "defaults": {"betas": [0.9, 0.999]}, "groups": []}]
    run = analyzer.open_run(make(segments=[began, went_on]))
    for asked, name in (({"stop": 59}, "SGD"), ({"start": 60}, "Adam")):
        assert run.thermo.check(only="equipartition", **asked).attrs["optimizer"] == name
    with pytest.warns(errors.SettingsWarning, match="optimizer torch.optim.sgd.SGD → torch.optim.adam.Adam"):
        assert run.thermo.check(only="equipartition").attrs["optimizer"] == ""


def test_info_shows_what_changed(make: Callable[..., Path]) -> None:
    store = make(segments=resumed())
    assert "segment 1, from step 60: learning_rate 0.1 → 0.01, optimizer lr" in invoke("info", store).stdout
    (change,) = json.loads(invoke("info", store, "--format", "json").stdout)["changes"]
    assert change["segment"] == 1
    assert "changes" not in invoke("info", make("plain.zarr")).stdout


def test_a_fit_refuses_both_sides_and_places_one_by_its_own_rate(make: Callable[..., Path]) -> None:
    """Every run was begun at a rate of 0.1 and resumed at another, where T = ½η² exactly."""
    rates = (0.01, 0.02, 0.04, 0.08, 0.16)
    paths = []
    for rate in rates:
        rng = np.random.default_rng(int(1e4 * rate))
        scale = np.where(np.arange(400) < 200, 0.1, rate)
        frames = {"conv.weight": np.cumsum(scale * rng.normal(size=(16, 16, 400)), axis=-1)}
        paths.append(
            make(
                f"run{rate}.zarr",
                parameters=frames,
                scalars={},
                hyperparameters={"learning_rate": 0.1, "depth": 3},
                segments=resumed(200, rate),
                chunk_steps=64,
            )
        )
    sweep = analyzer.open_sweep(paths)
    with pytest.raises(errors.FitError, match=r"run0.01: expected one setting .* --start 0 --stop 199, or --start 200"):
        analyzer.fit(sweep)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = analyzer.fit(sweep, start=200)
    assert answer["learning_rate"].values.tolist() == list(rates)
    b = answer.isel(group=0).sel(coefficient="b")
    assert b["low"].item() < 2 < b["high"].item()
    assert sweep.thermo.temperature(start=200)["learning_rate"].values.tolist() == list(rates)
    assert sweep.thermo.temperature(stop=199)["learning_rate"].values.tolist() == [0.1] * 5
    done = invoke("fit", *paths)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
