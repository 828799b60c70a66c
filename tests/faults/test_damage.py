"""Spool files that are cut short, overwritten or gone: random ones, at random places and instants."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from recorder.spool_files import Session, SpoolFile, file_path
from recorder.writer.recovery import recover
from tests.faults.checks import (
    assert_recovering_again_changes_nothing,
    assert_what_is_missing_is_reported,
    recover_when_free,
    spools_of,
)
from tests.faults.trainers import Trainer, every_round
from tests.recorder.runs import open_tree, read_array


def damage(path: Path, regions: dict[str, tuple[int, int]], chance: random.Random) -> str:
    """Damage a file as a random one of these; return which."""
    kind = chance.choice(["truncated", "removed", "flipped", "flipped", "flipped", "zeroed", "noise"])
    if kind == "truncated":
        os.truncate(path, chance.randrange(path.stat().st_size))
    elif kind == "removed":
        path.unlink()
    else:
        begin, end = chance.choice(list(regions.values()))
        stored = np.memmap(path, np.uint8, mode="r+")
        place = chance.randrange(begin, end)
        run = slice(place, place + chance.choice([1, 8, 64, 4096]))
        if kind == "flipped":
            stored[place] ^= 1 << chance.randrange(8)
        elif kind == "zeroed":
            stored[run] = 0
        else:
            stored[run] = np.frombuffer(chance.randbytes(len(stored[run])), np.uint8)
        stored.flush()
    return kind


@every_round
def test_random_damage_costs_only_its_own_frames_and_is_reported(tmp_path, chance, round_):
    store = tmp_path / "run.zarr"
    trainer = Trainer(store)
    trainer.wait_for_an_instant(chance)
    os.kill(trainer.writer(), signal.SIGSTOP)
    time.sleep(chance.random() * 0.08)  # the pool is full after about 0.1 s
    os.kill(trainer.pid, signal.SIGSTOP)
    os.kill(trainer.writer(), signal.SIGKILL)
    returned = trainer.kill()
    (spool,) = spools_of(store)
    session = Session.load(spool)
    paths = [file_path(spool, index) for index in range(session.budget.files)]
    intact = {path: SpoolFile(path, session) for path in paths}
    held = {path: range(s.first_frame or 0, (s.first_frame or 0) + (s.count or 0)) for path, s in intact.items()}
    unsealed = {path for path, file in intact.items() if not file.words[4]}  # still being filled
    pushed = max(max(frames.stop for frames in held.values()), len(read_array(store, "step")))
    assert pushed - 1 in (returned, returned + 1)
    layout = session.layout
    regions = {
        "header": (0, 40),
        "steps": (layout.steps, layout.checksums),
        "checksums": (layout.checksums, layout.scalars),
        "scalars": (layout.scalars, layout.planes[0]),
        "planes": (layout.planes[0], layout.size),
        "anywhere": (0, layout.size),
    }
    used = [path for path in paths if held[path]]
    victims = chance.sample(used, min(len(used), chance.randrange(1, 4))) + chance.sample(paths, 1)
    del intact
    kinds = {path: damage(path, regions, chance) for path in dict.fromkeys(victims)}
    result = recover_when_free(store)
    damaged = {frame for path in kinds for frame in held[path]}
    assert_what_is_missing_is_reported(store, pushed, damaged)
    for path, kind in kinds.items():
        assert kind not in ("truncated", "removed") or any(path.name in message for message in result.messages)
    assert_what_was_logged_is_exact_or_reported(
        store, returned, {frame for path in unsealed & kinds.keys() for frame in held[path]}
    )
    assert open_tree(store).attrs["status"] == "interrupted"
    assert_recovering_again_changes_nothing(store)


def assert_what_was_logged_is_exact_or_reported(store: Path, returned: int, unsealed: set[int]) -> None:
    """Except in damaged spool files that were still being filled: their logged values have no checksum yet."""
    if "loss" not in open_tree(store):
        return
    steps, loss = read_array(store, "step"), read_array(store, "loss")
    reported = set()
    for lost in open_tree(store).attrs.get("lost_scalars", []):
        reported |= set(range(lost["first_step"], lost["last_step"] + 1))
    for step, value in zip(steps.tolist(), loss.tolist(), strict=True):
        if step in unsealed or step == 0 or step >= returned:
            continue
        assert np.isnan(value) if step in reported else value == step


@pytest.fixture(scope="module")
def dead(tmp_path_factory):
    """A folder with a store whose recording was killed, and its spool; and the last step that returned."""
    folder = tmp_path_factory.mktemp("dead")
    trainer = Trainer(folder / "run.zarr", pause=0.002)
    trainer.wait_for_step(0)
    writer = trainer.writer()
    os.kill(writer, signal.SIGSTOP)
    trainer.wait_for_step(20)
    os.kill(trainer.pid, signal.SIGSTOP)
    os.kill(writer, signal.SIGKILL)
    returned = trainer.kill()
    (spool,) = spools_of(folder / "run.zarr")
    shutil.move(spool, folder / "spool")
    return folder, returned


def point_to(store: Path, spool: Path) -> None:
    """Make store and spool those of each other."""
    for path, change in (
        (store / "zarr.json", lambda root: root["attributes"]["recording"].update(spool=str(spool))),
        (spool / "session.json", lambda session: session.update(store=str(store))),
    ):
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))


@pytest.mark.parametrize("name", ["control", "scalars"])
@pytest.mark.parametrize("kind", ["removed", "cut", "empty", "longer by a byte", "a link to a device", "a pipe"])
def test_frames_do_not_need_the_small_files_of_a_spool(dead, tmp_path, name, kind):
    """Neither the words of the writer nor the names of logged values: what is lost with them is said."""
    folder, returned = dead
    store, spool = tmp_path / "run.zarr", tmp_path / "spool"
    shutil.copytree(folder / "run.zarr", store)
    shutil.copytree(folder / "spool", spool)
    spool.chmod(0o700)
    point_to(store, spool)
    path = spool / name
    size = path.stat().st_size
    if kind in ("removed", "a link to a device", "a pipe"):
        path.unlink()
    if kind == "a link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind != "removed":
        os.truncate(path, {"cut": size // 16 // 8 * 8, "empty": 0, "longer by a byte": size + 1}[kind])
    result = recover(store)
    assert result.frames - 1 in (returned, returned + 1)
    assert result.recovered
    told = [message for message in result.messages if "logged after the last commit are lost" in message]
    assert len(told) == (name == "scalars")
    assert not spool.exists()
