"""`recorder recover`: frames of a dead recording are brought home."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import torch

from recorder import Recorder
from recorder.writer import ownership
from recorder.writer.store import lock_store
from tests.recorder.test_main import invoke


def test_recover_tells_what_it_brought_home(tmp_path, monkeypatch):
    body = (
        "import os, sys, signal, torch; from recorder import Recorder\n"
        "model = torch.nn.Linear(2, 2); recorder = Recorder(sys.argv[1], model); recorder.start()\n"
        "os.kill(recorder._writer._process.pid, signal.SIGKILL)\n"
        "for _ in range(50): recorder.step()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    store = tmp_path / "run.zarr"
    killed = subprocess.run([sys.executable, "-c", body, str(store)], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    # As a writer that was killed holds it until it is gone (this one may not be gone yet): while `recover` waits.
    lock = ownership.wait_for_lock(store, lock_store, os.getpid(), print)
    monkeypatch.setattr(ownership.time, "sleep", lambda seconds: os.close(lock))
    shown = invoke("recover", str(store))
    assert shown.exit_code == 0, shown.output
    assert "still drains its spool; waiting for it" in shown.stderr
    assert f"{store}: 51 frames, 51 of them recovered from the spool" in shown.output
    assert "51 frames, 0 of them recovered" in invoke("recover", str(store)).output


def test_recover_of_a_complete_store_changes_nothing(tmp_path):
    with Recorder(tmp_path / "run.zarr", torch.nn.Linear(2, 2)) as recorder:
        recorder.start()
    before = (tmp_path / "run.zarr/zarr.json").stat().st_mtime_ns
    assert "1 frame, 0 of them recovered" in invoke("recover", str(tmp_path / "run.zarr")).output
    assert (tmp_path / "run.zarr/zarr.json").stat().st_mtime_ns == before
