"""A run under watch: what is derived from one root document after another."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.cli import watched as module
from analyzer.cli.screen import line_of, table_of
from analyzer.cli.watched import RATE_SECONDS, Watched
from analyzer.errors import AnalyzerError
from analyzer.store import heartbeat
from analyzer.store.heartbeat import PROCESSES
from analyzer.store.schema import Store, parse_store, read_store
from analyzer.text import printable
from tests.stores import edit_root, segment

GOLDEN = Path(__file__).parents[2] / "contract" / "golden" / "v1.zarr"
ATTRIBUTES = ("recent", "last", "recording", "segments", "status", "heartbeat", "created", "run_id")
MEMBERS = ("first_step", "last_step", "velocities", "stride", "mean_kinetic_energy", "learning_rate", "step", "loss",
           "waiting", "capacity", "owner", "scale", "trainer", "first_frame")  # fmt: skip


@pytest.fixture
def running(make: Callable[..., Path]) -> Callable[..., Store]:
    """A store that is being written, with other attributes."""
    path = make(status="running")

    def store(**attributes: Any) -> Store:
        beat = datetime.now(UTC).isoformat(timespec="seconds")
        edit_root(path, lambda root: root["attributes"].update({"heartbeat": beat} | attributes))
        return read_store(path)

    return store


def recent(last: int, energy: float = 1.0, **changes: Any) -> dict[str, Any]:
    energies = {"conv1.lin.weight": energy, "conv1.bias": 2 * energy, "lin.weight": 3 * energy, "lin.bias": 3 * energy}
    return {"first_step": last - 10, "last_step": last, "velocities": 10, "stride": 1, "mean_kinetic_energy": energies,
            "learning_rate": [0.1, None]} | changes  # fmt: skip


def test_steps_a_second_are_those_between_commits(running: Callable[..., Store]) -> None:
    watched = Watched()
    assert watched.look(running(last={"step": 100}), 1000.0).rate is None
    assert watched.look(running(last={"step": 150}), 1001.0).rate == 50
    assert watched.look(running(last={"step": 150}), 1005.0).rate == 50, "a heartbeat brings no step"
    assert watched.look(running(last={"step": 250}), 1010.0).rate == 15
    far = watched.look(running(last={"step": 350}), 1010.0 + RATE_SECONDS + 1)
    assert far.rate == pytest.approx(100 / (RATE_SECONDS + 1)), "older commits do not count"


def test_temperatures_are_remembered_once_each(running: Callable[..., Store]) -> None:
    watched = Watched()
    watched.look(running(recent=recent(20)), 0.0)
    watched.look(running(recent=recent(20)), 1.0)
    view = watched.look(running(recent=recent(30, energy=2.0)), 2.0)
    assert view.history["lin"] == (3.0, 6.0)
    assert view.history["conv1"] == pytest.approx([(24 + 2 * 8) / 32, 2 * (24 + 2 * 8) / 32])
    assert view.since == 10
    assert view.learning_rates == (0.1,)


def test_the_loss_is_found_whatever_it_is_called(running: Callable[..., Store]) -> None:
    logged = {"step": 7, "val/loss": 9.0, "train/loss": 1.5, "epoch": 2.0, "flag": True, "text": "x", "huge": 10**400}
    view = Watched().look(running(last=logged), 0.0)
    assert view.loss == ("train/loss", 1.5)
    assert view.scalars == {"val/loss": 9.0, "epoch": 2.0}
    assert Watched().look(running(last={"loss": 1.0, "train/loss": 1.5}), 0.0).loss == ("loss", 1.0)
    assert Watched().look(running(last={"step": 7}), 0.0).loss is None


def test_a_resumption_and_another_run_are_said(running: Callable[..., Store]) -> None:
    watched = Watched()
    listed = [segment(0, 0)]
    watched.look(running(segments=listed, last={"step": 10}, recent=recent(10)), 0.0)
    view = watched.look(running(segments=[*listed, segment(50, 60)], last={"step": 70}), 10.0)
    assert [event[9:] for event in view.events] == ["resumed at step 60"]
    assert view.rate is None, "nothing was trained between the two"
    assert view.history["lin"] == (3.0,)
    view = watched.look(running(run_id="f" * 32, created="2030-01-01T00:00:00Z", segments=listed), 20.0)
    assert [event[9:] for event in view.events] == ["resumed at step 60", "another run took its place"]
    assert len(view.history["lin"]) == 1, "the other run's begins anew"


def test_a_cut_of_the_same_run_is_a_resumption(running: Callable[..., Store]) -> None:
    """A run that went on from an older frame has a new run_id, and was created when it was."""
    watched = Watched()
    watched.look(running(segments=[segment(0, 0)]), 0.0)
    view = watched.look(running(run_id="e" * 32, segments=[segment(0, 0), segment(20, 20)]), 1.0)
    assert [event[9:] for event in view.events] == ["resumed at step 20"]


@pytest.mark.parametrize("status", ["complete", "interrupted"])
def test_a_closed_run_is_over(running: Callable[..., Store], status: str) -> None:
    view = Watched().look(running(status=status), 0.0)
    assert view.is_over
    assert view.status.startswith(status)


def test_a_run_that_nobody_writes_any_more_is_over(running: Callable[..., Store]) -> None:
    old = (datetime.now(UTC) - timedelta(seconds=500)).isoformat(timespec="seconds")
    view = Watched().look(running(heartbeat=old), 0.0)
    assert view.is_over
    assert re.search(
        r"nobody writes any more: last sign 5\d\d s ago\. Recover its frames: recorder recover", view.status
    )
    assert not Watched().look(running(), 0.0).is_over


def test_a_time_that_no_calendar_has_is_no_fault(running: Callable[..., Store]) -> None:
    assert Watched().look(running(), 1e20).committed == "--:--:--"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS) | st.text(max_size=3), inner),
    max_leaves=8,
)


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(ATTRIBUTES), JSON, min_size=1))
def test_attributes_may_hold_anything(attributes: dict[str, Any]) -> None:
    root = json.loads((GOLDEN / "zarr.json").read_text())
    root["attributes"] |= {"status": "running"} | attributes
    try:
        store = parse_store(str(GOLDEN), root)
    except AnalyzerError:
        return
    view = Watched().look(store, 0.0)
    for line in (*table_of(view, 60, 20), line_of(view)):
        assert printable(line) == line


def test_a_process_that_ends_during_the_look_does_not_end_the_watch(
    running: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be resumed: only a run on another machine is over when nobody writes it."""
    looks = iter([{"writer"}, PROCESSES])
    monkeypatch.setattr(heartbeat, "ended_processes", lambda store: next(looks))
    monkeypatch.setattr(module, "ended_processes", lambda store: next(looks))
    assert not module.state_of(running())[1]
