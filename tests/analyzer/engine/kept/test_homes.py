"""Sums as the only copy of a run: no other run may take them, and they are read back before the trajectory may go."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import google_crc32c
import numpy as np
import pytest

import analyzer
from analyzer import errors
from analyzer.engine import plan, spans
from analyzer.engine.kept import cache, earlier, homes, remains
from analyzer.store.files import temporary_file
from tests.analyzer.shell import invoke
from tests.stores import chunk_file

GOLDEN = Path(__file__).parent / "golden/kept-version-3"


@pytest.fixture(autouse=True)
def small_tasks() -> Any:
    with mock.patch.object(plan, "SPAN_FRAMES", 1), mock.patch.object(plan, "KEPT_FRAMES", 1):
        yield


def heat(store: Path, **options: Any) -> list[float]:
    tree = analyzer.open_run(store).thermo.temperature(**options).compute(scheduler="synchronous")
    return tree["temperature"].values.ravel().tolist()


def contents_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def second(make: Callable[..., Path], frames: dict[str, np.ndarray]) -> tuple[Path, Path, dict[Path, bytes]]:
    """A run at the path of one whose sums alone are left; the folder of these, and what lay in it."""
    store = make(run_id="a" * 32)
    assert invoke("cache", "fill", store).exit_code == 0
    shutil.rmtree(store)
    base = Path(f"{store}.moments")
    before = contents_of(base)
    make(run_id="b" * 32, parameters={name: 2 * values for name, values in frames.items()})
    return store, base, before


def test_another_run_at_the_same_path_has_a_folder_of_its_own(second: tuple[Path, Path, dict[Path, bytes]]) -> None:
    store, base, before = second
    first = heat(base)
    assert heat(store) == heat(store, cache=False)
    assert invoke("cache", "fill", store).exit_code == 0
    assert {path: path.read_bytes() for path in before} == before
    with pytest.warns(errors.KeptSumsWarning, match=r"expected the sums of one run, got those of 2\. The run .* first"):
        assert heat(base) == first
    assert heat(base / ("b" * 32)) == heat(store)
    told = invoke("temperature", base, "--format", "csv")
    assert told.exit_code == 0
    assert told.stderr.startswith(f"Warning: {base}: expected the sums of one run, got those of 2. ")
    assert told.stderr.endswith(f"by its own path: {base / ('b' * 32)}\n")


@pytest.mark.parametrize("kind", ["missing", "pipe", "folder"])
def test_a_logged_value_that_is_not_there_keeps_the_trajectory(make: Callable[..., Path], kind: str) -> None:
    """If both sides have no chunk, that does not count as a kept chunk."""
    store = make()
    chunk = store / "loss/c/0"
    chunk.unlink()
    if kind == "pipe":
        os.mkfifo(chunk)
    if kind == "folder":
        chunk.mkdir()
    told = invoke("cache", "fill", store)
    assert told.exit_code == 1
    assert "loss/c/0" in told.stderr
    assert "The trajectory must stay" in told.stderr


@pytest.mark.parametrize("name", ["n" * 250 + ".zarr", "層" * 83 + ".zarr"])
def test_a_name_without_room_for_the_suffix_is_cut(make: Callable[..., Path], name: str) -> None:
    """The folder of kept sums is found again by the store's name, also when the store has gone."""
    stores = [make(f"{start}{name[2:]}", run_id=f"{n}" * 32) for n, start in enumerate(("x", "y"))]
    for store in stores:
        assert invoke("cache", "fill", store).exit_code == 0
    truth = [heat(store) for store in stores]
    assert len({path for store in stores for path in store.parent.glob("*.moments")}) == 2
    for store, expected in zip(stores, truth, strict=True):
        shutil.rmtree(store)
        with pytest.warns(errors.KeptSumsWarning, match="got only the sums that were kept of it"):
            assert heat(store) == expected


def test_dropping_names_what_it_leaves(second: tuple[Path, Path, dict[Path, bytes]]) -> None:
    store, base, before = second
    heat(store)
    dropped = invoke("cache", "drop", store)
    assert dropped.exit_code == 0
    assert f"bytes of {base / ('b' * 32)}\n" in dropped.stderr
    assert f"{base}: sums of another run, perhaps all that is left of it; they stay" in dropped.stderr
    assert contents_of(base) == before
    again = invoke("cache", "drop", store)
    assert again.exit_code == 0
    assert contents_of(base) == before


def test_sums_have_the_permissions_of_the_umask(store: Path) -> None:
    """Colleagues who can read the store can read its sums; parts that a process left when it died go with them."""
    heat(store)
    base = Path(f"{store}.moments")
    (store.parent / "plain").touch()
    want = (store.parent / "plain").stat().st_mode
    assert {path.stat().st_mode for path in base.rglob("*") if path.is_file()} == {want}
    file = next(base.rglob("*.sums"))
    parts = [temporary_file(file), file.with_name(".part-x7")]
    parts[1].touch()
    assert not set(homes.files_of(base)) & set(parts)
    assert homes.drop(base)
    assert not base.exists()


def test_a_copy_of_sums_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.sums").write_bytes(b"sums")
    with (
        mock.patch.object(earlier.os, "link", side_effect=OSError),
        mock.patch.object(earlier.shutil, "copyfile", side_effect=OSError),
    ):
        assert not earlier.link(tmp_path / "a.sums", tmp_path / "b.sums")
    assert [path.name for path in tmp_path.iterdir()] == ["a.sums"]


@pytest.mark.parametrize("is_link", [False, True])
def test_dropping_leaves_what_this_package_did_not_write(store: Path, tmp_path: Path, is_link: bool) -> None:
    """Somebody's files in the folder of kept sums, and somebody's folder behind a link in its place."""
    base = Path(f"{store}.moments")
    if is_link:
        (tmp_path / "elsewhere").mkdir()
        base.symlink_to(tmp_path / "elsewhere")
    own = [base / name for name in ("thesis.tex", "sums/notes.txt", "figures/c/0.png", "figures/17")]
    for path in own:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    assert invoke("cache", "fill", store).exit_code == 0
    assert invoke("cache", "drop", store).exit_code == 0
    assert sorted(path for path in base.rglob("*") if path.is_file()) == sorted(own)


def test_dropping_the_first_run_leaves_those_below_it(make: Callable[..., Path], frames: dict[str, np.ndarray]) -> None:
    store = make(run_id="a" * 32)
    heat(store)
    shutil.rmtree(store)
    doubled = make(run_id="b" * 32, parameters={name: 2 * values for name, values in frames.items()})
    want = heat(doubled)
    shutil.rmtree(doubled)
    make(run_id="a" * 32)
    assert invoke("cache", "drop", store).exit_code == 0
    base = Path(f"{store}.moments")
    assert [path.name for path in base.iterdir()] == ["b" * 32]
    shutil.rmtree(store)
    with pytest.warns(errors.KeptSumsWarning, match=rf"in its place: {base / ('b' * 32)}"):
        assert heat(store) == want
    with pytest.warns(errors.KeptSumsWarning):
        assert heat(base) == want


def test_a_store_of_which_sums_are_left_is_opened_from_them_and_says_so(store: Path) -> None:
    want = heat(store)
    assert invoke("cache", "fill", store).exit_code == 0
    shutil.rmtree(store)
    for command in ("temperature", "info", "verify"):
        told = invoke(command, store)
        assert told.exit_code == 0, told.stderr
        assert told.stderr.splitlines() == [
            f"Warning: {store}: expected a trajectory, got only the sums that were kept of it. These sums answer in "
            f"its place: {store}.moments"
        ]
    with pytest.warns(errors.KeptSumsWarning):
        assert heat(store) == want
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused = invoke("cache", "drop", store)
    assert refused.exit_code == 1
    assert "would lose the run" in refused.stderr
    assert Path(f"{store}.moments/zarr.json").is_file()


def test_sums_of_several_runs_do_not_stand_in_for_a_store(second: tuple[Path, Path, dict[Path, bytes]]) -> None:
    store, base, _ = second
    heat(store)
    shutil.rmtree(store)
    refused = invoke("temperature", store)
    assert refused.exit_code == 1
    assert f"sums that were kept of 2 runs. Name the one that is meant: {base}, {base / ('b' * 32)}" in refused.stderr


def test_a_folder_of_an_unreadable_run_is_left_alone(store: Path) -> None:
    base = Path(f"{store}.moments")
    base.mkdir()
    (base / "zarr.json").write_text("{")
    want = heat(store)
    assert (base / "zarr.json").read_text() == "{"
    assert heat(store) == want
    assert len([path for path in base.iterdir() if path.is_dir()]) == 1


# -- filling ---------------------------------------------------------------------------------------


def refusal_of(store: Path) -> str:
    filled = invoke("cache", "fill", store)
    assert filled.exit_code == 1
    assert "may go" not in filled.stdout
    assert "The trajectory must stay: it is the only copy." in filled.stderr
    return filled.stderr


def test_filling_says_that_the_trajectory_may_go(store: Path) -> None:
    filled = invoke("cache", "fill", store)
    assert filled.stdout.splitlines()[-1].endswith(f"All of it was read back: {store} may go.")


@pytest.mark.parametrize("module", [cache, remains], ids=["sums", "metadata and scalars"])
def test_filling_a_full_disk_fails(store: Path, module: Any) -> None:
    with mock.patch.object(module, "put", side_effect=OSError(28, "No space left on device")):
        told = refusal_of(store)
    assert f"expected all of the run in {store}.moments, got" in told


def test_what_was_written_is_read_back(store: Path) -> None:
    def short(target: Path, content: bytes) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content[:-9] if target.suffix == ".sums" else content)

    with mock.patch.object(cache, "put", short):
        assert "missing or damaged" in refusal_of(store)


def test_a_run_that_is_still_written_is_not_all_kept(make: Callable[..., Path]) -> None:
    assert "still being written" in refusal_of(make(status="running"))


def test_scalars_that_were_edited_are_copied_anew(store: Path, make: Callable[..., Path]) -> None:
    assert invoke("cache", "fill", store).exit_code == 0
    kept = chunk_file(f"{store}.moments", "loss", 1)
    good = kept.read_bytes()
    kept.write_bytes(good[:-1])
    shown = invoke("cache", "show", store)
    assert "It stands alone" not in shown.stdout
    assert invoke("cache", "fill", store).exit_code == 0
    assert kept.read_bytes() == good


def test_sums_of_a_run_are_never_replaced_by_those_of_other_frames(store: Path) -> None:
    heat(store)
    path = sorted(Path(f"{store}.moments").rglob("*.sums"))[0]
    before = path.read_bytes()
    edit = np.frombuffer(chunk_file(store, "parameters/lin/weight", 0, 0, 0).read_bytes()[:-4], "<f4") * np.float32(2)
    lazy = analyzer.open_run(store).thermo.temperature()  # planned before the edit: these are its shelves
    raw = edit.tobytes()
    checksum = int(google_crc32c.value(raw)).to_bytes(4, "little")
    chunk_file(store, "parameters/lin/weight", 0, 0, 0).write_bytes(raw + checksum)
    with mock.patch.object(spans, "load", return_value=None):
        lazy.compute(scheduler="synchronous")
    assert path.read_bytes() == before


# -- what the version before kept ------------------------------------------------------------------


def test_sums_of_version_3_answer_without_their_trajectory(tmp_path: Path) -> None:
    kept = tmp_path / "run.zarr.moments"
    shutil.copytree(GOLDEN, kept)
    weights = np.cumsum(np.random.default_rng(3).standard_normal((3, 2, 40)), axis=-1).astype("f4")
    velocities = np.diff(weights.astype("f8"), axis=-1)
    with mock.patch.object(plan, "KEPT_FRAMES", 16384), mock.patch.object(plan, "SPAN_FRAMES", 1024):
        np.testing.assert_allclose(heat(kept, by="model"), [0.5 * (velocities**2).mean()], rtol=1e-12)
        np.testing.assert_allclose(heat(kept, by="row"), 0.5 * (velocities**2).mean(axis=(1, 2)), rtol=1e-12)
        assert invoke("verify", kept).exit_code == 0


def test_sums_of_version_3_answer_for_no_trajectory_and_stay(
    make: Callable[..., Path], frames: dict[str, np.ndarray]
) -> None:
    """They do not say which frames they are of."""
    weights = np.zeros((3, 2, 40), np.float32)
    scalars = {"epoch": np.repeat(np.arange(5.0), 8)}
    store = make(parameters={"lin.weight": weights}, scalars=scalars, run_id="3" * 32, chunk_steps=64)
    kept = Path(f"{store}.moments")
    shutil.copytree(GOLDEN, kept)
    [file] = kept.rglob("*.sums")
    before = file.read_bytes()
    with mock.patch.object(plan, "KEPT_FRAMES", 16384), mock.patch.object(plan, "SPAN_FRAMES", 1024):
        assert heat(store) == [0.0]
    assert file.read_bytes() == before
