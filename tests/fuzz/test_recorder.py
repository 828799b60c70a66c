"""Damaged stores and the recorder's commands: an answer, or one sentence about what is wrong; never a traceback.

Measured: 1,600 cases of a run like this one, with resumptions and dead spools among them, found three faults, all
mended: losses that are no list, sizes of arrays that contradict each other, and sizes of arrays that no memory holds.
`FUZZ_CASES=10000 pytest tests/fuzz/test_recorder.py` runs more.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from recorder.__main__ import main
from recorder.writer import ownership
from tests.fuzz import cases
from tests.stores import scratch, write_store

CASES = int(os.environ.get("FUZZ_CASES", "60"))
KINDS = (cases._document, cases._huge, cases._chunk, cases._bytes, cases._text)
COMMANDS = (("recover",), ("annotate", "a=1"), ("trim", "--every", "2", "-o"), ("trim", "--keep", "50%:", "-o"))


@pytest.mark.timeout(300 + CASES)
def test_an_answer_or_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "DEAD_AFTER_SECONDS", 0.0)  # what seems to be written elsewhere is not waited for
    with scratch() as place:
        home = Path(place)
        rng = np.random.default_rng(0)
        walk = {"lin.weight": np.cumsum(rng.standard_normal((4, 3, 50)), axis=-1).astype(np.float32)}
        complete = write_store(home / "complete.zarr", walk, scalars={"loss": np.arange(50.0)}, compression="pcodec")
        copied = shutil.copytree(complete, home / "copied.zarr")
        (copied / "zarr.json").write_text(json.dumps(as_copied(json.loads((complete / "zarr.json").read_text()))))
        wrong = [told for number in range(CASES) if (told := fault(number, home))]
        assert not wrong, "\n".join(wrong)


def as_copied(root: dict) -> dict:
    """A root document as a living writer left it in a copy: counts, losses, and an owner that is not here."""
    owner = dict.fromkeys(ownership.Owner.__dataclass_fields__, 1) | {
        "host": "a", "boot_id": ownership.boot_id(), "pid_namespace": ownership.pid_namespace(), "store": "/original"
    }  # fmt: skip
    root["attributes"] |= {
        "status": "running",
        "recording": {"session": "a" * 32, "spool": "/nowhere", "owner": owner},
        "chunk_checksums": [1, 2, 3, 4],
        "dropped_frames": 0,
        "lost_frames": [{"least": 1, "most": 2, "after_step": 3, "before_step": None}],
        "lost_scalars": [{"first_step": 4, "last_step": 5}],
    }
    return root


def fault(number: int, home: Path) -> str:
    """Run one case; return what was wrong with it, or nothing."""
    chance = random.Random(number)
    folder = home / str(number)
    store = Path(shutil.copytree(home / chance.choice(("complete.zarr", "copied.zarr")), folder / "run.zarr"))
    mine = folder / "thesis.tex"
    mine.write_text("five years of work")
    damage = [chance.choices(KINDS, (6, 2, 2, 1, 1))[0](chance, store) for _ in range(chance.choice((1, 1, 2)))]
    name, *rest = chance.choice(COMMANDS)
    output = [str(folder / "new.zarr")] if name == "trim" else []
    result = CliRunner().invoke(main, [name, str(store), *rest, *output])
    found = ""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        found = repr(result.exception)
    elif result.exit_code not in (0, 1) or (result.exit_code == 1 and not result.stderr.strip()):
        found = f"exit code {result.exit_code}, {result.stderr!r}"
    elif not mine.exists():
        found = "a file of the user is gone"
    shutil.rmtree(folder)
    return found and f"case {number}: {name} {rest} after {damage}: {found}"
