"""Killed at random and resumed from a random checkpoint: the run has every step once, as if it had never died.

`FAULT_ROUNDS=100 pytest tests/integrations/test_crash_and_resume.py` draws a hundred of each. A round's name decides
its random numbers.
"""

from __future__ import annotations

import importlib.util
import os
import random
import re
import shutil
import warnings
from pathlib import Path

import pytest
import torch

from tests.faults.checks import wait_for_the_spool_to_go
from tests.integrations import children
from tests.integrations.frames import assert_frames, attributes

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        importlib.util.find_spec("recorder.writer.resuming.attempts") is None,
        reason="the writer numbers frames from before the last one as later steps: it does not find their place",
    ),
]

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("lightning")
    pytest.importorskip("transformers")
    from tests.integrations import graphs, test_lightning, test_transformers

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))
every_round = pytest.mark.parametrize("round_", range(ROUNDS))


@pytest.fixture
def chance(request) -> random.Random:
    return random.Random(request.node.name)


def crash(train, store: Path, *args, steps: int, checkpoints, chance: random.Random, places, **training) -> list[int]:
    """Train, kill and resume up to three times, then to the end; return the steps that were resumed from.

    Each time a random checkpoint of those that there are is resumed from, or none: then the first training begins anew.
    """
    resume, resumed, begun = None, [], 0
    for _ in range(chance.randrange(1, 4)):
        if begun + 1 >= steps:
            break
        at = chance.randrange(begun + 1, steps)
        dying = {"kill_at": (at, chance.choice(places(at)))}
        assert children.run(train, *args, dying, resume=resume, **training) == -9
        wait_for_the_spool_to_go(store)
        found = checkpoints()
        begun = chance.choice(sorted(found)) if found else 0
        resume = found.get(begun)
        if resume is None:
            shutil.rmtree(store, ignore_errors=True)
            resumed.clear()
        else:
            resumed.append(begun)
    assert children.run(train, *args, {}, resume=resume, **training) == 0
    return resumed


def assert_one_run(store: Path, states, resumed: list[int]) -> None:
    assert_frames(store, states)
    found = attributes(store)
    assert found["status"] == "complete"
    assert len(found["segments"]) <= len(resumed) + 1


@every_round
def test_a_training_by_lightning(tmp_path, chance, round_):
    """Checkpoints at epochs' ends, since Lightning replays the data of an epoch that it resumes."""
    batches, epochs = chance.randrange(2, 9), chance.randrange(3, 7)
    store, kept = tmp_path / "run.zarr", tmp_path / "checkpoints"

    def train(module, resume):
        test_lightning.record(
            store, epochs=epochs, batches=batches, checkpoints=kept, resume=resume, module=module,
            options={"chunk_steps": 16},
        )  # fmt: skip

    resumed = crash(
        train, store, steps=batches * epochs, chance=chance,
        checkpoints=lambda: {int(re.findall(r"step=(\d+)", path.name)[0]): path for path in kept.glob("*.ckpt")},
        places=lambda at: ("training_step", "on_before_zero_grad", "on_train_batch_end"),
    )  # fmt: skip
    assert_one_run(store, test_lightning.of_module(graphs.plain(batches * epochs, batches)[0]), resumed)


@every_round
def test_a_training_by_transformers(tmp_path, chance, round_):
    """Checkpoints anywhere, inside of epochs too."""
    steps, every = chance.randrange(8, 41), chance.randrange(1, 9)
    whole = tmp_path / "whole"
    whole.mkdir()
    saving = {"save_strategy": "steps", "save_steps": every}
    assert children.run(test_transformers.record, whole, steps, truth="truth.pt") == 0

    def train(witness, resume):
        test_transformers.record(
            tmp_path, steps, witness=witness, resume=resume, options={"chunk_steps": 16}, **saving
        )  # fmt: skip

    def checkpoints():
        whole_ones = [
            path for path in (tmp_path / "out").glob("checkpoint-*") if (path / "trainer_state.json").exists()
        ]
        return {int(path.name.partition("-")[2]): path for path in whole_ones}

    resumed = crash(
        train, tmp_path / "run.zarr", steps=steps, chance=chance, checkpoints=checkpoints,
        places=lambda at: (
            "on_pre_optimizer_step", "on_optimizer_step", "on_step_end", *["on_save"] * (at % every == 0)
        ),
    )  # fmt: skip
    assert_one_run(tmp_path / "run.zarr", torch.load(whole / "truth.pt"), resumed)
