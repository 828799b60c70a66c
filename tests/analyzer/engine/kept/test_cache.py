"""The moments cache: the same bits with it, from it and without it, and never for another run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import analyzer
from analyzer import errors
from analyzer.engine import frames as frames_module
from analyzer.engine import graph as engine
from analyzer.engine import plan
from analyzer.engine.kept import cache
from analyzer.store.reading import read
from tests.analyzer.shell import invoke
from tests.stores import scratch, write_store
from tests.strategies import Run, queries, runs

ALIGNED: list[dict[str, Any]] = [
    {},
    {"by": "row"},
    {"by": "element"},
    {"window": "epoch"},
    {"lag": "epoch", "unequal_epochs": True},
    {"layer": "lin"},
    {"remove_drift": True, "by": "parameter"},
]


@pytest.fixture(autouse=True)
def small_tasks() -> Any:
    """One task a chunk, so that stores of a hundred frames have several."""
    with mock.patch.object(plan, "SPAN_FRAMES", 1), mock.patch.object(plan, "KEPT_FRAMES", 1):
        yield


def answer(store: Path, **options: Any) -> xr.Dataset:
    return analyzer.open_run(store).thermo.temperature(**options).compute(scheduler="synchronous")


def decoded(store: Path, **options: Any) -> tuple[xr.Dataset, set[str]]:
    """An answer, and the parameters' regions that were decoded for it."""
    with mock.patch.object(frames_module, "read", wraps=read) as reader:
        result = answer(store, **options)
    return result, {f"{call.args[0].path} {call.args[1][-1]}" for call in reader.call_args_list}


@pytest.mark.parametrize("options", ALIGNED, ids=str)
def test_the_second_question_decodes_only_what_is_not_full(store: Path, options: dict[str, Any]) -> None:
    bare = answer(store, cache=False, **options)
    answer(store, by="layer")  # fills the cache
    kept, reads = decoded(store, **options)
    xr.testing.assert_identical(kept, bare)
    assert not reads


def test_an_unaligned_window_decodes(store: Path) -> None:
    answer(store)
    _, reads = decoded(store, window=7)
    assert len(reads) == 4 * 7


def test_no_cache_writes_nothing(store: Path) -> None:
    answer(store, cache=False)
    assert not Path(f"{store}.moments").exists()
    answer(store)
    assert Path(f"{store}.moments").is_dir()


def test_a_chosen_folder(store: Path, tmp_path: Path) -> None:
    answer(store, cache=str(tmp_path / "kept"))
    assert not Path(f"{store}.moments").exists()
    assert list((tmp_path / "kept").rglob("*.sums"))


def test_a_selection_of_most_of_a_bundle_fills_it_and_of_little_does_not(store: Path) -> None:
    answer(store, parameter="lin.bias")
    assert not list(Path(f"{store}.moments").rglob("*.sums"))
    answer(store, by="row")  # all but the biases
    _, reads = decoded(store, by="layer")
    assert not reads


def test_a_run_that_grows_is_computed_from_where_it_was(
    make: Callable[..., Path], frames: dict[str, np.ndarray]
) -> None:
    short = {name: values[..., :50] for name, values in frames.items()}
    epoch = np.repeat(np.arange(5.0), 20)
    answer(make(parameters=short, scalars={"epoch": epoch[:50]}, run_id="c" * 32))
    path = make(run_id="c" * 32, scalars={"epoch": epoch})
    grown, reads = decoded(path)
    assert {read.split(" ", 1)[1] for read in reads} == {"(48, 64)", "(64, 80)", "(80, 96)", "(96, 100)"}
    xr.testing.assert_identical(grown, answer(path, cache=False))


def test_the_last_span_of_a_running_store_is_not_kept(make: Callable[..., Path]) -> None:
    store = make(status="running")
    answer(store)
    _, reads = decoded(store)
    assert {read.split(" ", 1)[1] for read in reads} == {"(96, 100)"}, "six full spans of 16 frames, and a tail"


def test_another_run_at_the_same_path_is_not_answered_from_the_old_sums(
    make: Callable[..., Path], frames: dict[str, np.ndarray]
) -> None:
    answer(make())
    doubled = make(parameters={name: 2 * values for name, values in frames.items()})
    xr.testing.assert_identical(answer(doubled), answer(doubled, cache=False))


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "text"])
def test_damaged_files_are_made_again(store: Path, damage: str) -> None:
    good = answer(store)
    for file in Path(f"{store}.moments").rglob("*.sums"):
        raw = bytearray(file.read_bytes())
        raw[-3] ^= 1
        file.write_bytes({"truncate": raw[:100], "flip": raw, "empty": b"", "text": b"hello"}[damage])
    xr.testing.assert_identical(answer(store), good)
    _, reads = decoded(store)
    assert not reads


def test_files_of_another_version_are_made_again(store: Path) -> None:
    with mock.patch.object(cache, "VERSION", cache.VERSION - 1):
        older = answer(store)
    known, reads = decoded(store)
    assert reads, "another version has another shelf"
    xr.testing.assert_identical(known, older)
    newest = sorted(Path(f"{store}.moments").rglob("*.sums"))
    for file in newest:
        file.write_bytes(file.read_bytes().replace(b"TTMOMENT\x04", b"TTMOMENT\x02", 1))
    _, reads = decoded(store)
    assert reads, "and a file says its own"


def test_an_unwritable_folder_is_no_obstacle(store: Path) -> None:
    Path(f"{store}.moments").write_text("a file is in the way")
    xr.testing.assert_identical(answer(store), answer(store, cache=False))


def test_two_analyzers_at_once(store: Path) -> None:
    bare = answer(store, cache=False)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: answer(store), range(8)):
            xr.testing.assert_identical(result, bare)
    assert not list(Path(f"{store}.moments").rglob(".part*"))


def test_not_finite_is_reported_from_kept_sums_too(make: Callable[..., Path], frames: dict[str, np.ndarray]) -> None:
    frames["lin.weight"][3, 2, 60] = np.nan
    path = make(parameters=frames)
    for _ in range(2):
        with pytest.warns(analyzer.NonFiniteWarning, match=r"lin\.weight: NaN or infinite weights from frame 60 on"):
            answer(path, by="row")


def test_a_modified_tree_neither_uses_nor_fills_the_cache(store: Path) -> None:
    good = answer(store)
    doubled = (analyzer.open_run(store) * 2).thermo.temperature().compute()
    np.testing.assert_allclose(doubled["temperature"], 4 * good["temperature"], rtol=1e-12)
    xr.testing.assert_identical(answer(store), good)


@settings(deadline=None, max_examples=25)
@given(run=runs(), fan_in=st.sampled_from([2, 8]), frames=st.sampled_from([1, 20, 4096]))
def test_cold_kept_and_bare_are_the_same_bits(run: Run, fan_in: int, frames: int) -> None:
    with (
        scratch() as folder,
        mock.patch.object(engine, "FAN_IN", fan_in),
        mock.patch.object(plan, "KEPT_FRAMES", frames),
    ):
        path = write_store(f"{folder}/run.zarr", **run.arguments)
        try:
            bare = answer(path, by="row", cache=False)
        except analyzer.AnalyzerError:
            return  # no velocity at all
        cold, kept = answer(path, by="row"), answer(path, by="row")
        xr.testing.assert_identical(cold, bare)
        xr.testing.assert_identical(kept, bare)


WINDOWS: list[dict[str, Any]] = [
    {"window": 7},
    {"window": 1, "by": "model"},
    {"start": 3, "stop": 88, "by": "parameter"},
    {"window": 13, "by": {"weights": "*.weight", "biases": "*.bias"}},
    {"layer": "lin", "by": "module", "start": 18},
]


@pytest.mark.parametrize("options", WINDOWS, ids=str)
def test_any_window_of_whole_parameters_needs_no_decoding_for_its_temperature(
    store: Path, options: dict[str, Any]
) -> None:
    bare = answer(store, cache=False, **options)
    answer(store)  # fills the cache
    with mock.patch.object(frames_module, "read", wraps=read) as reader:
        lazy = analyzer.open_run(store).thermo.temperature(**options)
        kept = lazy["temperature"].compute(scheduler="synchronous")
        assert not reader.call_args_list
        xr.testing.assert_identical(kept, bare["temperature"])
        xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), bare)
        assert reader.call_args_list, "the drift needs the frames at the windows' edges"


@settings(deadline=None, max_examples=25)
@given(run=runs(), data=st.data(), frames=st.sampled_from([1, 20, 4096]))
def test_single_steps_are_the_same_bits_however_the_run_is_cut(run: Run, data: st.DataObject, frames: int) -> None:
    """Cold (from the frames of the range alone), kept, and across gaps, segments, dtypes and cuts along rows."""
    with scratch() as folder, mock.patch.object(plan, "KEPT_FRAMES", frames):
        path = write_store(f"{folder}/run.zarr", **run.arguments)
        query = data.draw(queries(run))
        options = {"start": query.start, "stop": query.stop, "window": query.window, "by": "parameter"}
        try:
            answer(path)
            bare = answer(path, cache=False, **options)
        except analyzer.AnalyzerError:
            return  # no velocity at all
        kept = analyzer.open_run(path).thermo.temperature(**options)["temperature"].compute(scheduler="synchronous")
        xr.testing.assert_identical(kept, bare["temperature"])


# -- a cache without its trajectory ----------------------------------------------------------------


@pytest.fixture
def alone(store: Path) -> Path:
    """The sums of a run that is gone."""
    assert invoke("cache", "fill", store).exit_code == 0
    store.rename(store.with_name("away.zarr"))
    return Path(f"{store}.moments")


@pytest.mark.parametrize("options", ALIGNED, ids=str)
def test_sums_alone_answer_what_they_answered_before(alone: Path, options: dict[str, Any]) -> None:
    before = answer(alone.with_name("away.zarr"), cache=False, **options)
    after = answer(alone, **options)
    xr.testing.assert_equal(after, before)
    assert after.attrs["run_id"] == before.attrs["run_id"]


@pytest.mark.parametrize("options", WINDOWS, ids=str)
def test_sums_alone_know_the_temperature_of_any_window_but_not_its_drift(alone: Path, options: dict[str, Any]) -> None:
    before = answer(alone.with_name("away.zarr"), cache=False, **options)
    with pytest.warns(errors.KeptSumsWarning, match="Those columns are NaN, the others are complete"):
        after = answer(alone, **options)
    xr.testing.assert_equal(after["temperature"], before["temperature"])
    for name in ("temperature_drift", "temperature_thermal", "floor"):
        assert after[name].isnull().all()


def test_sums_alone_refuse_a_temperature_that_takes_the_drift(alone: Path) -> None:
    """Without its drift the temperature would be empty, which is no answer."""
    with pytest.raises(errors.TrajectoryMissingError, match="expected a question that the kept sums answer, got"):
        answer(alone, window=7, remove_drift=True)
    refused = invoke("temperature", alone, "--window", 7, "--remove-drift")
    assert (refused.exit_code, refused.stdout) == (1, "")
    given = invoke("temperature", alone, "--window", 7, "--format", "csv")
    assert given.exit_code == 0
    names = "temperature_drift, drift_null, temperature_thermal, floor"
    assert f"{names}: empty, since they need the frames" in given.stderr
    assert not answer(alone, window="epoch", remove_drift=True)["temperature"].isnull().any()


@pytest.mark.parametrize("options", [{"window": 7, "by": "row"}, {"lag": 3}, {"start": 5, "by": "element"}], ids=str)
def test_sums_alone_refuse_what_needs_the_frames(alone: Path, options: dict[str, Any]) -> None:
    with pytest.raises(analyzer.AnalyzerError, match="Kept sums answer: whole runs") as e:
        answer(alone, **options)
    assert isinstance(e.value, FileNotFoundError)


def test_sums_alone_open_as_a_run(alone: Path) -> None:
    run, before = analyzer.open_run(alone), analyzer.open_run(alone.with_name("away.zarr"))
    xr.testing.assert_identical(run["loss"].compute(), before["loss"].compute())
    np.testing.assert_array_equal(run["epoch"], before["epoch"])
    with pytest.raises(analyzer.AnalyzerError, match="expected the frames of parameters/lin/bias, got only sums"):
        run["parameters/lin/bias"].compute()
    shown = invoke("info", alone)
    assert shown.exit_code == 0
    assert "122" in shown.stdout
    assert "100% of the run" in invoke("cache", "show", alone).stdout
    refused = invoke("cache", "drop", alone)
    assert refused.exit_code == 1
    assert "would lose the run" in refused.stderr


def test_a_file_that_is_missing_from_sums_alone_is_an_error(alone: Path) -> None:
    sorted(alone.rglob("*.sums"))[3].unlink()
    with pytest.raises(analyzer.AnalyzerError, match="or sums that were not kept"):
        answer(alone)


def test_damage_in_sums_alone_is_an_error(alone: Path) -> None:
    file = sorted(alone.rglob("*.sums"))[3]
    raw = bytearray(file.read_bytes())
    raw[-3] ^= 1
    raw[600] ^= 1
    file.write_bytes(raw)
    with pytest.raises(analyzer.AnalyzerError, match="got only sums of them"):
        answer(alone, window="epoch", by="row")


def test_a_replaced_run_keeps_its_place_in_the_cache(make: Callable[..., Path]) -> None:
    """Its sums may be all that is left of it; another run has a folder of its own."""
    store = make()
    answer(store)
    first = {file: file.read_bytes() for file in Path(f"{store}.moments").rglob("*.sums")}
    shutil.rmtree(store)
    answer(make())
    both = {file: file.read_bytes() for file in Path(f"{store}.moments").rglob("*.sums")}
    assert (len(first), len(both)) == (7, 14)
    assert first.items() <= both.items()


def test_the_scalars_of_a_growing_run_are_kept_up_to_date(
    make: Callable[..., Path], frames: dict[str, np.ndarray]
) -> None:
    epoch = np.repeat(np.arange(5.0), 20)
    for length, status in ((50, "running"), (90, "running"), (100, "complete")):
        part = {name: values[..., :length] for name, values in frames.items()}
        scalars = {"epoch": epoch[:length], "loss": np.linspace(2, 1, 100)[:length]}
        answer(store := make(parameters=part, scalars=scalars, run_id="c" * 32, status=status))
    run = analyzer.open_run(f"{store}.moments")
    np.testing.assert_array_equal(run["loss"], np.linspace(2, 1, 100))
    assert run.attrs["status"] == "complete"
    xr.testing.assert_equal(answer(Path(f"{store}.moments"), by="row"), answer(store, by="row"))
