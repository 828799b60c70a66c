"""Attempts: what they hold, what is left of them, and what a store claims of them."""

from __future__ import annotations

import os

from torch import nn

from recorder.writer.resuming.attempts import listed, next_number, remove_remnants
from tests.recorder.resumes import assert_history, assert_whole, attributes_of, train
from tests.recorder.writer.resuming.test_cutting import FIRST, SECOND, crashed


def test_the_attempt_is_a_run_like_any_other(tmp_path):
    model, store = nn.Linear(3, 2), tmp_path / "run.zarr"
    crashed(store, model)
    old = attributes_of(store)
    train(store, model, SECOND, 500, 800)
    attempt = store / "attempts/1"
    assert_history(attempt, model, FIRST, range(496, 731))
    attributes = attributes_of(attempt)
    assert attributes["superseded_from"] == 5, "step 501"
    assert attributes["status"] == "interrupted"
    assert len({attributes["run_id"], old["run_id"], attributes_of(store)["run_id"]}) == 3
    assert "recording" not in attributes
    assert "attempts" not in attributes
    (segment,) = attributes["segments"]
    assert (segment["first_frame"], segment["first_step"], segment["continuous"]) == (0, 496, False)
    assert segment["user_step"] == 496
    assert attributes["last"] == {"step": 730, "loss": 730.0}
    # An attempt is a store in which a recording can go on, by the same rules.
    train(attempt, model, FIRST, 730, 740)
    assert_history(attempt, model, FIRST, range(496, 741))
    assert_history(store, model, SECOND, range(801))


def test_the_attempt_takes_no_room_for_what_the_run_had(tmp_path):
    """Its chunks are the run's own objects, by another name; the run loses those that lie wholly after the cut."""
    model, store = nn.Linear(3, 2), tmp_path / "run.zarr"
    crashed(store, model, 730)
    objects = {path.stat().st_ino for path in store.glob("parameters/**/c/**/*") if path.is_file()}
    train(store, model, SECOND, 500, 502)
    held = {path.stat().st_ino for path in (store / "attempts/1").glob("parameters/**/c/**/*") if path.is_file()}
    assert held <= objects
    chunks = {int(path.name) for path in (store / "parameters/weight/c/0/0").iterdir()}
    assert chunks == set(range(500 // 16 + 1))


def test_where_the_file_system_has_no_links_chunks_are_copied(tmp_path, monkeypatch):
    from recorder.writer.resuming import attempts
    from recorder.writer.resuming.search import read_steps

    model, store = nn.Linear(3, 2), tmp_path / "run.zarr"
    crashed(store, model, 100)

    def refused(*args, **kwargs):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    attempts.set_aside(store, 41, read_steps(store, 101, 16))
    assert_history(store / "attempts/1", model, FIRST, range(32, 101))
    assert all(path.stat().st_nlink == 1 for path in store.rglob("c/**/*") if path.is_file())


def test_remnants_are_removed_and_what_is_listed_or_foreign_stays(tmp_path):
    model, store = nn.Linear(3, 2), tmp_path / "run.zarr"
    crashed(store, model, 50)
    train(store, model, [(0, 0), (31, 1)], 30, 60)
    for name in (".2.tmp", "2", ".9.tmp", "notes"):
        (store / "attempts" / name).mkdir()
        (store / "attempts" / name / "zarr.json").write_text("{}")
    assert_whole(store)
    train(store, model, [(0, 0), (31, 1), (46, 2)], 45, 70)
    assert sorted(path.name for path in (store / "attempts").iterdir()) == ["1", "2", "notes"]
    assert_history(store, model, [(0, 0), (31, 1), (46, 2)], range(71))
    assert_history(store / "attempts/2", model, [(0, 0), (31, 1)], range(32, 61))
    remove_remnants(tmp_path / "none.zarr", {})


def test_what_a_store_says_of_attempts_is_a_claim():
    entries = [{"path": "attempts/3"}, {"path": "attempts/../x"}, {"path": "/attempts/1"}, {"path": "attempts/01"}, 5]
    assert list(listed({"attempts": entries})) == [3]
    assert listed({"attempts": "damaged"}) == {}
    assert next_number({"attempts": entries, "segments": [{"supersedes": {"attempt": 8}}, {"supersedes": 1}]}) == 9
