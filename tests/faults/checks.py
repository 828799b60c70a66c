"""What must hold after every fault: the store opens, its frames are exact, and nothing is missing or it is reported."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import numpy as np
from torch import nn

from recorder.writer.recovery import Recovery, recover
from tests.faults.trainers import make_model
from tests.patience import PATIENCE, wait_until
from tests.recorder.runs import assert_frames_are_scripted, open_tree, read_array, store_path, weights_at


def assert_nothing_is_missing(store: Path, returned: int) -> None:
    """Every frame is exact and there, up to the last step that returned, or the one under way; so is what was logged.

    `returned` −1: not even the first frame was sure, and there may be no store.
    """
    assert spools_of(store) == [], "a closed store leaves no spool behind"
    if returned < 0 and not (store / "zarr.json").exists():
        return
    steps = assert_frames_are_scripted(store, make_model())
    assert len(steps) - 1 in (returned, returned + 1), f"{len(steps)} frames, step {returned} returned last"
    np.testing.assert_array_equal(steps, np.arange(len(steps)))
    assert "lost_frames" not in open_tree(store).attrs
    loss = read_array(store, "loss") if "loss" in open_tree(store) else np.full(len(steps), np.nan)
    np.testing.assert_array_equal(loss[1 : max(returned, 1)], steps[1 : max(returned, 1)])


def assert_what_is_missing_is_reported(store: Path, pushed: int, damaged: set[int]) -> None:
    """Of the frames 0 … pushed − 1 only `damaged` ones may be missing, each in an interval that the store names, with
    a count that holds.
    """
    assert spools_of(store) == []
    steps = assert_frames_are_scripted(store, make_model())
    missing = set(range(pushed)) - set(steps.tolist())
    assert missing <= damaged
    reported = set()
    for lost in open_tree(store).attrs.get("lost_frames", []):
        after = -1 if lost["after_step"] is None else lost["after_step"]
        inside = {step for step in missing if after < step and step < (lost["before_step"] or pushed)}
        assert lost["least"] <= len(inside) <= lost["most"]
        reported |= inside
    assert missing == reported


def recover_when_free(store: Path) -> Recovery:
    """Recover; a writer that the trainer had just started again may still be draining: wait for it first."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return recover(store)
        except BlockingIOError:
            assert time.monotonic() < deadline, "the writer does not end"
            time.sleep(0.05)


def assert_recovering_again_changes_nothing(store: Path) -> None:
    before = (store / "zarr.json").read_bytes()
    # The trainer may have started a writer just before it died. It comes only now, finds no spool, and ends.
    assert recover_when_free(store).recovered == 0
    assert (store / "zarr.json").read_bytes() == before


def frames_of_updates(store: Path, interrupts: int) -> set[int]:
    """Return the updates whose weights the store's frames hold, bit for bit.

    Each interrupt may have struck between an update and the recorder's hook: such an update was never counted, and
    all later frames stand one step before their update.
    """
    steps, model = read_array(store, "step"), make_model()
    weights = [read_array(store, store_path(name)) for name, _ in model.named_parameters()]
    updates: list[int] = []
    for frame, step in enumerate(steps):
        held = [values[..., frame].tobytes() for values in weights]
        shifts = [shift for shift in range(interrupts + 1) if held == weights_of(model, int(step) + shift)]
        assert len(shifts) == 1, f"frame {frame} holds no weights of this training"
        updates.append(int(step) + shifts[0])
    assert (np.diff(updates) >= 1).all()
    assert (np.diff(np.array(updates) - steps) >= 0).all(), "a count of updates that was lost stays lost"
    return set(updates)


def weights_of(model: nn.Module, update: int) -> list[bytes]:
    shapes = [tuple(parameter.shape) for parameter in model.parameters()]
    return [weights_at(update, index, shape).numpy().tobytes() for index, shape in enumerate(shapes)]


def wait_for_the_spool_to_go(store: Path) -> None:
    """A writer that nobody waits for closes the store first, then removes its spool."""
    wait_until(lambda: not spools_of(store), "the spool stays", every=0.005)


def spools_of(store: Path) -> list[Path]:
    """Return the spools of a store that lie in shared memory or beside it."""
    digest = hashlib.sha256(os.fsencode(store)).hexdigest()[:8]
    folders = (Path("/dev/shm"), store.parent)
    return [path for folder in folders for path in folder.glob(f"*thermotrace-{digest}-*")]
