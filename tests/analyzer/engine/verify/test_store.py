from __future__ import annotations

import json
import shutil
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from analyzer.engine import spans
from analyzer.engine.kept.cache import Shelf, keep
from analyzer.engine.verify import store as verifying
from analyzer.store import reading
from analyzer.store.schema import read_store
from tests.analyzer.shell import invoke
from tests.patience import PATIENCE
from tests.stores import chunk_file, edit_root, segment


def test_a_whole_store(store: Path) -> None:
    result = invoke("verify", store)
    assert result.exit_code == 0
    assert result.stdout.strip() == f"{7 * 7} chunks, 100 frames, 0 faults"


def test_every_fault_is_listed(make: Callable[..., Path], frames: dict[str, np.ndarray]) -> None:
    frames["conv1.bias"][2, 70] = np.inf
    store = make()
    chunk_file(store, "parameters/lin/weight", 0, 0, 1).unlink()
    file = chunk_file(store, "loss", 3)
    file.write_bytes(b"x" + file.read_bytes()[1:])
    result = invoke("verify", store)
    assert result.exit_code == 1
    faults = [line for line in result.stdout.splitlines() if line.startswith("FAULT")]
    assert len(faults) == 3
    assert "loss" in faults[0]
    assert "parameters/lin/weight, steps 16 to 31" in faults[1]
    assert "conv1.bias: expected finite weights, got NaN or infinity from step 70 on" in faults[2]


def test_gaps_segments_and_the_spool_are_notes(make: Callable[..., Path]) -> None:
    steps = np.arange(100)
    steps[50:] += 3
    store = make(steps=steps, segments=[segment(0, 0), segment(80, 83)], status="running")
    edit_root(store, lambda root: root["attributes"].update(recording={"pushed": 120}))
    result = invoke("verify", store)
    assert result.exit_code == 0
    for text in (
        "gap: steps 49 to 53",
        "segment 1: from step 83, not continuous",
        "spool: 20 frames",
        "status: running",
    ):
        assert text in result.stdout


def test_steps_that_do_not_increase_and_segments_outside(make: Callable[..., Path]) -> None:
    steps = np.arange(100)
    steps[10] = 3
    assert "expected strictly increasing steps, got 9 then 3" in invoke("verify", make(steps=steps)).stdout
    outside = invoke("verify", make("b.zarr", segments=[segment(0, 0), segment(200, 200)]))
    assert outside.exit_code == 1
    assert "expected first_frame of segment 1 within 0 and 100, got 200" in outside.stdout


def test_a_dead_writer_and_its_spool_are_named_with_the_remedy(make: Callable[..., Path], tmp_path: Path) -> None:
    store, spool = make(status="running"), tmp_path / "spool"
    edit_root(store, lambda root: root["attributes"].update(recording={"spool": str(spool)}))
    told = invoke("verify", store).stdout
    assert "heartbeat: nobody writes any more (last sign" in told
    assert f"Close it: recorder recover {store}" in told
    assert "may hold frames" not in told, "the spool is on another machine"
    spool.mkdir()
    told = invoke("verify", store).stdout
    assert f"spool: {spool} is on this machine" in told
    assert f"Bring them into the store: recorder recover {store}" in told
    # While somebody writes, nothing is to be recovered.
    beat = datetime.now(UTC).isoformat()
    edit_root(store, lambda root: root["attributes"].update(heartbeat=beat))
    told = invoke("verify", store).stdout
    assert f"spool: {spool} is on this machine" in told
    assert "recorder recover" not in told
    assert "heartbeat" not in told
    edit_root(store, lambda root: root["attributes"].update(heartbeat="soon"))
    assert "without a readable heartbeat" in invoke("verify", store).stdout


def test_arrays_of_unequal_length_are_refused(store: Path) -> None:
    def shorten(root: Any) -> None:
        root["consolidated_metadata"]["metadata"]["parameters/lin/weight"]["shape"][-1] = 99

    edit_root(store, shorten)
    result = invoke("verify", store)
    assert result.exit_code == 1
    assert "array 'parameters/lin/weight': expected 100 frames, as 'step' has, got 99" in result.stderr


def test_chunks_are_walked_in_parallel_and_each_thread_holds_one(store: Path) -> None:
    """The first two reads wait for each other: one thread alone would never get past them."""
    both, lock, alive, most, reads = threading.Barrier(2, timeout=PATIENCE), threading.Lock(), 0, 0, 0

    def gone() -> None:
        nonlocal alive
        with lock:
            alive -= 1

    def spy(*arguments: Any) -> np.ndarray:
        nonlocal alive, most, reads
        with lock:
            reads += 1
            wait = reads <= 2
        if wait:
            both.wait()
        values = reading.read(*arguments).copy()
        with lock:
            alive += 1
            most = max(most, alive)
        weakref.finalize(values, gone)
        return values

    with mock.patch.object(verifying, "read", spy), ThreadPoolExecutor(2) as pool:
        *_, report = verifying.verify(read_store(store), pool, ahead=4)
    assert (report.faults, report.chunks, reads) == ([], 7 * 7, 7 * 7)
    assert most <= 2 + 7, "a chunk a thread, and the steps of 7 chunks, which are kept"


def test_faults_come_in_the_order_of_the_store_whoever_finds_them(store: Path) -> None:
    for number in (5, 1, 3):
        chunk_file(store, "parameters/lin/weight", 0, 0, number).unlink()
    chunk_file(store, "parameters/conv1/bias", 0, 2).unlink()
    told = [invoke("verify", store, "--workers", workers).stdout for workers in (1, 2, 7)]
    assert told[0] == told[1] == told[2]
    faults = [line.partition(": expected")[0] for line in told[0].splitlines() if line.startswith("FAULT")]
    assert [fault.rpartition("parameters/")[2] for fault in faults] == [
        "conv1/bias, steps 32 to 47",
        *(f"lin/weight, steps {16 * n} to {16 * n + 15}" for n in (1, 3, 5)),
    ]


def moments_of(store: Path) -> Path:
    """The sums of a run, without its trajectory."""
    assert invoke("cache", "fill", store).exit_code == 0
    shutil.rmtree(store)
    return Path(f"{store}.moments")


def test_sums_without_their_trajectory(store: Path) -> None:
    kept = moments_of(store)
    result = invoke("verify", kept)
    assert result.exit_code == 0
    note, account = result.stdout.splitlines()
    assert note == "trajectory: not here, only sums of it were kept; the files of sums were checked instead."
    files = [*kept.rglob("*.sums"), *kept.rglob("*.pairs")]
    assert account == f"{len(files)} files of sums, {3 * 7} chunks, 100 frames, 0 faults"


def test_every_byte_of_a_file_of_sums_counts(store: Path) -> None:
    kept = moments_of(store)
    file = next(kept.rglob("*.sums"))
    whole = file.read_bytes()
    for place in (0, 9, 14, 40, len(whole) // 2, len(whole) - 9):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        result = invoke("verify", kept)
        assert result.exit_code == 1, place
        assert f"FAULT {file}: expected " in result.stdout
    file.write_bytes(whole[: len(whole) // 2])
    assert invoke("verify", kept).exit_code == 1
    file.write_bytes(whole)
    chunk_file(kept, "loss", 2).unlink()
    assert "loss, steps of frames 32 to 47: expected the committed chunk" in invoke("verify", kept).stdout


def test_info_says_that_only_sums_are_there(make: Callable[..., Path]) -> None:
    store = make(status="running")
    known = json.loads(invoke("info", store, "--format", "json").stdout)
    assert (known["trajectory"], known["kept_from"]) == (True, None)
    assert invoke("cache", "fill", store).exit_code == 1, "it is still being written"
    shutil.rmtree(store)
    kept = Path(f"{store}.moments")
    known = json.loads(invoke("info", kept, "--format", "json").stdout)
    assert (known["trajectory"], known["kept_from"]) == (False, str(store))
    assert known["written_by"] is None, "what the recorder cannot recover is not said to be recovered"
    told = invoke("info", kept).stdout
    assert "trajectory       not here: only its sums were kept" in told
    assert "recorder recover" not in told + invoke("verify", kept).stdout


def test_kept_sums_are_held_against_the_frames(store: Path) -> None:
    assert invoke("temperature", store, "--by", "layer").exit_code == 0
    files = sorted(Path(f"{store}.moments").rglob("*.sums"))
    whole = invoke("verify", store)
    assert whole.exit_code == 0
    assert whole.stdout.splitlines()[-1] == f"{len(files)} files of sums, {7 * 7} chunks, 100 frames, 0 faults"

    def wrong(place: Shelf, start: int, stop: int, bins: Any, sums: Any, chunks: Any) -> None:
        keep(place, start, stop, bins, replace(sums, series=2 * sums.series), chunks)

    shutil.rmtree(f"{store}.moments")
    with mock.patch.object(spans, "keep", wrong):  # as of a machine that computes wrongly
        assert invoke("temperature", store, "--by", "layer").exit_code == 0
    told = invoke("verify", store)
    assert told.exit_code == 1
    [path] = Path(f"{store}.moments").rglob("*.sums")
    assert (
        f"FAULT {path}: expected the sums of the frames, got others. Answers from it cannot be trusted" in told.stdout
    )
    assert f"analyzer cache drop {store}" in told.stdout


def test_kept_sums_of_other_frames_are_no_fault_of_a_store(store: Path, make: Callable[..., Path]) -> None:
    assert invoke("temperature", store, "--by", "layer").exit_code == 0
    shutil.rmtree(store)
    assert invoke("verify", make()).exit_code == 0


def test_kept_sums_with_damage_are_named_beside_their_store(store: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "kept"
    assert invoke("temperature", store, "--cache", chosen).exit_code == 0
    [path] = chosen.rglob("*.sums")
    path.write_bytes(path.read_bytes()[:-1])
    assert invoke("verify", store).exit_code == 0
    told = invoke("verify", store, "--cache", chosen)
    assert told.exit_code == 1
    assert f"FAULT {path}: expected a whole file of sums, got" in told.stdout


def test_steps_behind_a_damaged_chunk_of_steps_are_not_numbered(
    make: Callable[..., Path], frames: dict[str, np.ndarray]
) -> None:
    """The steps that can be read must not take the places of those that cannot."""
    frames["conv1.bias"][2, 70] = np.inf
    store = make(steps=np.arange(1000, 1100))
    chunk_file(store, "step", 2).unlink()
    told = invoke("verify", store).stdout
    assert "conv1.bias: expected finite weights, got NaN or infinity from frame 70 on" in told
    assert "step: not checked from frame 32 on" in told
    assert "gap" not in told


def test_a_missing_chunk_is_one_fault(store: Path) -> None:
    """Its checksum is missing, too: that alone does not mean that the store was copied while it was written."""
    checksums = 6 * [0]
    edit_root(store, lambda root: root["attributes"].update(chunk_checksums=checksums))
    chunk_file(store, "step", 2).unlink()
    others = [line for line in invoke("verify", store).stdout.splitlines() if "chunks that were published" in line]
    assert [line.partition(":")[0] for line in others] == [
        f"FAULT frames {16 * n} to {16 * n + 15}" for n in (0, 1, 3, 4, 5)
    ]
