"""Kept sums are of the chunks in the store, whatever it is called: copies, backups, branches, edits, replaced runs."""

from __future__ import annotations

import itertools
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import google_crc32c
import numpy as np
import pytest
import xarray as xr

import analyzer
from analyzer import errors
from analyzer.engine import frames as frames_module
from analyzer.engine import plan, shelves
from analyzer.engine.kept import contents
from analyzer.store.reading import read
from tests.stores import chunk_file, segment

OLD = 1_600_000_000_000_000_000


@pytest.fixture(autouse=True)
def small_tasks() -> Any:
    with mock.patch.object(plan, "SPAN_FRAMES", 1), mock.patch.object(plan, "KEPT_FRAMES", 1):
        yield


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old enough for their stamps to be relied on."""
    monkeypatch.setattr(contents, "_SETTLED_NS", -(1 << 62))


def answer(store: Path | xr.DataTree, **options: Any) -> xr.Dataset:
    run = store if isinstance(store, xr.DataTree) else analyzer.open_run(store)
    return run.thermo.temperature(**options).compute(scheduler="synchronous")


def heat(store: Path, **options: Any) -> list[float]:
    return answer(store, **options)["temperature"].values.ravel().tolist()


def decoded(store: Path, **options: Any) -> tuple[list[float], int]:
    """Temperatures, and how many chunks of parameters were decoded for them."""
    with mock.patch.object(frames_module, "read", wraps=read) as reader:
        return heat(store, **options), len(reader.call_args_list)


def edit(store: Path, array: str = "parameters/lin/weight", *place: int, factor: float = 3.0) -> None:
    """Another content of a chunk, of the same size, in the same file, with a checksum that holds."""
    file = chunk_file(store, array, *(place or (0, 0, 2)))
    raw = (np.frombuffer(file.read_bytes()[:-4], "<f4") * np.float32(factor)).tobytes()
    with file.open("r+b") as there:
        there.write(raw + struct.pack("<I", google_crc32c.value(raw)))


def test_a_copy_with_its_sums_needs_no_decoding(store: Path, tmp_path: Path) -> None:
    first = heat(store)
    copy = tmp_path / "copy.zarr"
    shutil.copytree(store, copy)
    shutil.copytree(f"{store}.moments", f"{copy}.moments")
    assert decoded(copy) == (first, 0)


def test_an_edit_in_place_is_seen_and_what_was_kept_before_stays(store: Path, settled: None) -> None:
    before = heat(store)
    kept = {path: path.read_bytes() for path in Path(f"{store}.moments").rglob("*.sums")}
    times = chunk_file(store, "parameters/lin/weight", 0, 0, 2).stat()
    edit(store)
    os.utime(chunk_file(store, "parameters/lin/weight", 0, 0, 2), ns=(times.st_atime_ns, times.st_mtime_ns))
    after = heat(store)
    assert after == heat(store, cache=False)
    assert after != before
    assert {path: path.read_bytes() for path in kept} == kept
    assert decoded(store) == (after, 0), "the sums of the edited frames have a folder of their own"
    edit(store, factor=1 / 3)
    again, reads = decoded(store)
    np.testing.assert_allclose(again, before)
    assert (again == before) == (reads == 0)


def test_checksums_are_read_only_where_stamps_differ(store: Path, settled: None) -> None:
    heat(store)
    with mock.patch.object(contents, "checksums", wraps=contents.checksums) as reader:
        heat(store)
        assert not reader.call_args_list
        os.utime(chunk_file(store, "parameters/lin/weight", 0, 0, 2), ns=(OLD, OLD))
        assert decoded(store)[1] == 0
        assert reader.call_args_list, "another time, the same content"
        reader.reset_mock()
        heat(store)
        assert not reader.call_args_list, "the new time was noted"


def test_a_file_that_changed_just_now_is_not_trusted_for_its_stamp(store: Path) -> None:
    """Its time may be the same after another change: clocks of file systems tick coarsely."""
    heat(store)
    with mock.patch.object(contents, "checksums", wraps=contents.checksums) as reader:
        assert decoded(store)[1] == 0
    assert reader.call_args_list


def branches(make: Callable[..., Path], frames: dict[str, np.ndarray]) -> tuple[Path, Path]:
    """Two runs of one name, with the same frames up to 60 and the same number of frames."""
    other = {name: np.concatenate([v[..., :60], 2 * v[..., 60:]], axis=-1) for name, v in frames.items()}
    times = [{**segment(60, 60), "wall_time": f"2026-01-0{n}T00:00:00Z"} for n in (2, 3)]
    listed = [[segment(0, 0), later] for later in times]
    one = make("one.zarr", run_id="b" * 32, segments=listed[0])
    return one, make("two.zarr", run_id="b" * 32, parameters=other, segments=listed[1])


def test_branches_of_a_run_in_one_folder_have_their_own_sums(
    make: Callable[..., Path], frames: dict[str, np.ndarray], tmp_path: Path
) -> None:
    chosen = str(tmp_path / "kept")
    stores = branches(make, frames)
    bare = [heat(store, cache=False) for store in stores]
    assert bare[0] != bare[1]
    for _ in range(2):
        assert [heat(store, cache=chosen) for store in stores] == bare
    assert [decoded(store, cache=chosen) for store in stores] == [(bare[0], 0), (bare[1], 0)]
    base = tmp_path / "kept" / f"{'b' * 32}.moments"
    with pytest.warns(errors.KeptSumsWarning, match="expected the sums of one run, got those of 2"):
        assert heat(base) == bare[0]
    assert heat(base / ("b" * 32)) == bare[1]


def test_a_branch_whose_segments_look_alike_is_told_by_its_chunks(
    make: Callable[..., Path], frames: dict[str, np.ndarray]
) -> None:
    first = heat(make(run_id="b" * 32))
    other = make(run_id="b" * 32, parameters={name: 2 * values for name, values in frames.items()})
    np.testing.assert_allclose(heat(other), [4 * value for value in first])
    assert heat(other) == heat(other, cache=False)


def test_a_restored_backup_with_fewer_frames(make: Callable[..., Path], frames: dict[str, np.ndarray]) -> None:
    whole = heat(make(run_id="b" * 32, scalars={}))
    fewer = {name: values[..., :50] for name, values in frames.items()}
    backup = make(run_id="b" * 32, scalars={}, parameters=fewer)
    assert heat(backup) == heat(backup, cache=False) != whole
    with pytest.warns(errors.KeptSumsWarning, match="expected the sums of one run, got those of 2"):
        assert heat(Path(f"{backup}.moments")) == whole, "what was kept of the whole run stays"


def test_sums_of_other_kernels_are_made_again(store: Path) -> None:
    first = heat(store)
    with mock.patch.object(shelves, "KERNELS", shelves.KERNELS + 1):
        assert decoded(store)[1] > 0
        assert decoded(store) == (first, 0)


CHANGES: dict[str, Callable[[Callable[..., Path], dict[str, np.ndarray]], Path]] = {
    "recorded anew": lambda make, frames: make(run_id="c" * 32),
    "a backup of fewer frames": lambda make, frames: make(
        run_id="b" * 32, scalars={}, parameters={name: values[..., :50] for name, values in frames.items()}
    ),
    "resumed from an earlier frame": lambda make, frames: make(
        run_id="b" * 32, segments=[segment(0, 0), segment(60, 60)]
    ),
    "other segments": lambda make, frames: make(run_id="b" * 32, segments=[segment(0, 0, True)]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("cache", [True, False])
def test_a_store_that_is_another_one_is_refused_at_every_question(
    make: Callable[..., Path], frames: dict[str, np.ndarray], change: Any, cache: bool
) -> None:
    run = analyzer.open_run(make(run_id="b" * 32))
    answer(run, cache=cache)
    lazy = run.thermo.temperature(cache=cache)
    change(make, frames)
    for ask in (
        lambda: answer(run, cache=cache),
        lambda: answer(run, window=7, cache=cache),
        lambda: lazy.compute(),
        lambda: run["parameters/lin/weight"].compute(),
    ):
        with pytest.raises(errors.StoreChangedError, match=r"expected the run b{32}, got .* Open it again"):
            ask()
    answer(analyzer.open_run(run.encoding["trajectory"].store.location), cache=cache)


def test_a_run_that_only_grew_is_no_other_one(make: Callable[..., Path], frames: dict[str, np.ndarray]) -> None:
    short = {name: values[..., :60] for name, values in frames.items()}
    run = analyzer.open_run(make(run_id="b" * 32, scalars={}, parameters=short, status="running"))
    first = answer(run)
    ended = segment(0, 0) | {"end_step": 59}  # what a writer adds when the session ends
    make(run_id="b" * 32, scalars={}, segments=[ended, segment(60, 60)])
    xr.testing.assert_identical(answer(run), first)


def test_an_answer_that_was_overtaken_is_refused(make: Callable[..., Path]) -> None:
    """The store is replaced while its frames are read: nothing of the mixture is given."""
    run = analyzer.open_run(make(run_id="b" * 32))
    calls = itertools.count()

    def replacing(*arguments: Any, **known: Any) -> Any:
        values = read(*arguments, **known)
        if next(calls) == 3:
            make(run_id="c" * 32)
        return values

    with mock.patch.object(frames_module, "read", replacing), pytest.raises(errors.StoreChangedError):
        answer(run)
    location = run.encoding["trajectory"].store.location
    assert not Path(f"{location}.moments/zarr.json").exists(), "nothing of it stands for a run"
