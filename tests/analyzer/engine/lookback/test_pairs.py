"""Pair sums: equal to numpy over the whole array whatever the cut, kept and found again, the same bits from all."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analyzer
from analyzer import errors
from analyzer.engine import frames as frames_module
from analyzer.engine import pieces, plan
from analyzer.engine.kept import cache
from analyzer.engine.lookback import pair_cache, pair_plan, pairs, pairs_compiled, passage, strips
from analyzer.query import groups
from analyzer.query.lags import LONGEST, TABLE, default_lags
from analyzer.query.query import Query
from analyzer.store import codecs, reading, rooms, schema
from tests.analyzer.cluster import Cluster
from tests.analyzer.dynamics_by_hand import by_hand
from tests.analyzer.shell import invoke, shell
from tests.kernel_twins import add_pairs
from tests.stores import scratch, segment, write_store


def walk(seed: int, shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    """Weights whose velocities are correlated, so that no sum is zero by symmetry."""
    v = np.random.default_rng(seed).standard_normal(shape)
    for t in range(1, shape[-1]):
        v[..., t] += 0.7 * v[..., t - 1]
    return np.cumsum(v, axis=-1).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("by_class", [True, False])
def test_the_compiled_kernel_is_that_of_numpy(dtype: str, by_class: bool) -> None:
    values = walk(3, (5, 1500), dtype)
    lags = np.array([lag for lag in TABLE if lag <= 400])
    found, _ = strips.strips_of(np.array([0, 700]), np.array([690, 1499]), np.full(2, strips.GRID))
    table = found.within(450, 1500)
    table[:, 4] -= table[0, 4]
    splits = strips.splits_of(lags) * int(by_class)
    shape = (3, int(table[-1, 4]) + 1, lags.size, 2, 2 if by_class else 1)
    ours, plain = np.zeros((2, *shape))
    slopes = np.linspace(0, 1e-3, 5)
    arguments = (values, slopes, np.array([0, 2, 1, 0, 2]), table, lags, splits)
    pairs_compiled.add_pairs(*arguments, strips.order_of(splits), ours)
    add_pairs(*arguments, strips.order_of(splits), plain)
    assert np.count_nonzero(plain) > 100
    np.testing.assert_allclose(ours, plain, rtol=1e-12, atol=1e-12 * np.abs(plain).max())


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    stride = draw(st.sampled_from([1, 3]))
    frames = draw(st.integers(300, 1400))
    steps = np.arange(frames) * stride + 7
    gaps = draw(st.lists(st.integers(1, frames - 1), max_size=2, unique=True))
    for gap in gaps:
        steps[gap:] += stride * draw(st.integers(1, 300))
    window = draw(st.one_of(st.none(), st.integers(50, frames).map(lambda n: n * stride), st.just(256 * stride)))
    return {
        "stride": stride,
        "steps": steps,
        "resumed": draw(st.lists(st.integers(1, frames - 1), max_size=1)),
        "chunk": draw(st.sampled_from([16, 64, 1024])),
        "unit": draw(st.sampled_from([1, 1024])),
        "window": None if window is None else min(window, int(steps[-1] - steps[0]) // stride * stride),
        "start": draw(st.one_of(st.none(), st.integers(0, frames // 3).map(lambda n: int(steps[n])))),
        "lags": draw(st.one_of(st.just([0, 1, 2, 5, 16, 64]), st.lists(st.integers(0, 700), min_size=1, max_size=6))),
        "by": draw(st.sampled_from(["layer", "row"])),
        "longest": draw(st.sampled_from([LONGEST, 100])),
        "remove_drift": draw(st.booleans()),
        "held": draw(st.sampled_from([1, 16 << 20])),
        "tile": draw(st.sampled_from([1, 2 << 20])),
        "compression": draw(st.sampled_from(["none", "pcodec"])),
        "seed": draw(st.integers(0, 99)),
    }


@settings(deadline=None, max_examples=25, report_multiple_bugs=False, suppress_health_check=[HealthCheck.too_slow])
@given(questions())
def test_equal_to_numpy_over_the_whole_array(asked: dict[str, Any]) -> None:
    steps, stride = asked["steps"], asked["stride"]
    values = walk(asked["seed"], (3, 2, steps.size))
    parameters = {"conv1.lin.weight": values, "lin.weight": 2 * values[:1]}
    segments = [segment(0, int(steps[0])), *(segment(n, int(steps[n])) for n in asked["resumed"])]
    lags = sorted({lag * stride for lag in asked["lags"]})
    options = {name: asked[name] for name in ("by", "window", "start", "remove_drift")} | {"lags": lags}
    longest = asked["longest"]
    with ExitStack() as patches:
        folder = patches.enter_context(scratch())
        for module, name, value in (
            (plan, "SPAN_FRAMES", asked["unit"]),
            (plan, "KEPT_FRAMES", 256),
            (passage, "_HELD_BYTES", asked["held"]),
            (passage, "_TILE_BYTES", asked["tile"]),
            (pair_plan, "LONGEST", longest),
            (rooms, "_LEAST_BYTES", 1),
        ):
            patches.enter_context(mock.patch.object(module, name, value))
        path = write_store(
            f"{folder}/run.zarr",
            parameters,
            steps=steps,
            stride=stride,
            segments=segments,
            chunk_steps=asked["chunk"],
            compression=asked["compression"],
        )
        try:
            answer = analyzer.open_run(path).thermo.dynamics(**options).compute()
        except (errors.WindowError, errors.TooFewFramesError):
            return
        again = analyzer.open_run(path).thermo.dynamics(**options).compute()
        tree = analyzer.open_run(path).map_over_datasets(lambda dataset: dataset * 1)
        tree.attrs |= analyzer.open_run(path).attrs
        modified = tree.thermo.dynamics(**options).compute()
    xr.testing.assert_identical(again, answer)
    windows = list(zip(answer["start_step"].values.tolist(), answer["stop_step"].values.tolist(), strict=True))
    rows = {"layer": [values.reshape(6, -1), 2 * values[0]], "row": [*values, 2 * values[0]]}[asked["by"]]
    for n, weights in enumerate(rows):
        truth = by_hand(weights, steps, lags, windows, stride, asked["resumed"], longest, asked["remove_drift"])
        size = np.nanmax(np.abs(by_hand(weights, steps, [0], windows, stride, asked["resumed"])["correlation"]))
        zero = by_hand(weights, steps, [0], windows, stride, asked["resumed"], longest, asked["remove_drift"])
        square = zero["correlation"]
        for one in (answer, modified):
            np.testing.assert_allclose(one["autocorrelation"][n], truth["correlation"], rtol=0, atol=1e-12 * size)
            off = np.abs(one["normalised_autocorrelation"][n].values - truth["correlation"] / square)
            assert (np.isnan(off) | (off <= 2e-12 * size / square)).all()
            np.testing.assert_array_equal(np.isnan(off), np.isnan(truth["correlation"]))
            msd = one["mean_squared_displacement"][n].values
            # What is left of a displacement without its drift may be little of it.
            off = 1e-12 * (np.array(lags) // stride + 1) ** 2 * size if asked["remove_drift"] else np.zeros(len(lags))
            known = np.isfinite(truth["displacement"])
            np.testing.assert_array_equal(np.isfinite(msd), known)
            most = (1e-12 * truth["displacement"] + off)[known]
            assert (np.abs(msd - truth["displacement"])[known] <= most).all()
        np.testing.assert_array_equal(answer["origins"], truth["origins"])
    far = np.array(lags) // stride > longest
    np.testing.assert_array_equal(answer["averaged_over"].values > stride, far)
    assert (answer["origin_spacing"].values[~far] == stride).all()


def test_the_longest_lags(make: Callable[..., Path]) -> None:
    values = walk(1, (2, 2, 9000))
    path = make(parameters={"lin.weight": values}, scalars={}, chunk_steps=512)
    lags = [0, 1023, 1024, 1025, LONGEST - 1, LONGEST]
    truth = by_hand(values.reshape(4, -1), np.arange(9000), lags, [(0, 8999)])
    with mock.patch.object(plan, "KEPT_FRAMES", 1024):  # five spans to look back over
        answer = analyzer.open_run(path).thermo.dynamics(lags=lags).compute()
    size = answer["autocorrelation"].sel(lag=0).item()
    np.testing.assert_allclose(answer["autocorrelation"][0], truth["correlation"], rtol=0, atol=1e-12 * size)
    np.testing.assert_allclose(answer["mean_squared_displacement"][0], truth["displacement"], rtol=1e-12)


def test_lags_beyond_the_longest_come_from_decimated_frames(make: Callable[..., Path]) -> None:
    values = walk(1, (2, 2, 20000))
    path = make(parameters={"lin.weight": values}, scalars={}, chunk_steps=512)
    lags = [0, 7, LONGEST, LONGEST + 1, 5001, 8192, 12000, 30000]
    answer = analyzer.open_run(path).thermo.dynamics(lags=lags).compute()
    truth = by_hand(values.reshape(4, -1), np.arange(20000), lags, [(0, 19999)])
    size = answer["autocorrelation"].sel(lag=0).item()
    np.testing.assert_allclose(answer["autocorrelation"][0], truth["correlation"], rtol=0, atol=1e-12 * size)
    np.testing.assert_allclose(answer["mean_squared_displacement"][0], truth["displacement"], rtol=1e-12)
    np.testing.assert_array_equal(answer["origins"], truth["origins"])
    assert answer["origin_spacing"].values.tolist() == [1, 1, 1, 64, 64, 128, 128, 256]
    assert answer["averaged_over"].values.tolist() == [1, 1, 1, 256, 256, 512, 512, 1024]
    assert np.isnan(answer["mean_squared_displacement"].sel(lag=30000)).all()
    kept, readings = decoded(path, lags=[LONGEST + 1])
    assert readings > 0
    np.testing.assert_array_equal(kept["autocorrelation"][0, 0, 0], answer["autocorrelation"][0, 0, 3])
    shown = invoke("dynamics", path, "--lags", "100,5000").stdout
    assert "lags beyond 4,096: origins every 64 steps, C of velocities averaged over 256 steps" in shown


def test_far_lags_and_drift_by_threads_and_processes(make: Callable[..., Path]) -> None:
    values = walk(4, (3, 2, 9000)) + np.arange(9000, dtype="float32") / 8
    path = make(parameters={"conv1.lin.weight": values, "lin.weight": values[:1]}, scalars={}, chunk_steps=512)
    options = ("dynamics", path, "--lags", "1,64,5000", "--remove-drift", "--format", "json")
    threads = json.loads(invoke(*options).stdout)["records"]
    processes = shell(*options, "--scheduler", "processes", "--workers", 2)
    assert json.loads(processes.stdout)["records"] == threads
    with_drift = json.loads(invoke(*options[:4], "--format", "json").stdout)["records"]
    assert with_drift[2]["mean_squared_displacement"] > 10 * threads[2]["mean_squared_displacement"]


@pytest.fixture
def long_store(make: Callable[..., Path]) -> Path:
    values = walk(0, (6, 5, 4000))
    return make(parameters={"conv1.lin.weight": values, "lin.bias": values[0]}, scalars={})


def decoded(path: Path, **options: Any) -> tuple[xr.Dataset, int]:
    """An answer, and how many readings of frames it took."""
    with mock.patch.object(frames_module, "read", wraps=reading.read) as reader:
        answer = analyzer.open_run(path).thermo.dynamics(**options).compute()
        return answer, reader.call_count


def test_kept_sums_answer_other_groups_and_windows(long_store: Path) -> None:
    first, readings = decoded(long_store)
    assert readings > 0
    for options in ({}, {"by": "model"}, {"window": 1024}, {"start": 512, "stop": 2560}, {"lags": [1, 2, 64]}):
        again, none = decoded(long_store, **options)
        assert none == 0, options
        afresh, some = decoded(long_store, cache=False, **options)
        assert some > 0
        xr.testing.assert_identical(again, afresh)
    for options in ({"by": "row"}, {"window": 1000}, {"lags": [9]}):
        assert decoded(long_store, **options)[1] > 0, options
    xr.testing.assert_identical(decoded(long_store)[0], first)


def test_sums_of_other_frames_do_not_answer(long_store: Path) -> None:
    before, _ = decoded(long_store)
    chunk = long_store / "parameters/lin/bias/c/0/3"
    chunk.write_bytes((long_store / "parameters/lin/bias/c/0/4").read_bytes())
    after, readings = decoded(long_store)
    assert readings > 0
    assert not after.equals(before)
    xr.testing.assert_identical(after, decoded(long_store, cache=False)[0])


def test_kept_sums_that_were_damaged_are_made_again(long_store: Path) -> None:
    before, _ = decoded(long_store)
    [file] = Path(f"{long_store}.moments").rglob("*.pairs")
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    after, readings = decoded(long_store)
    assert readings > 0
    xr.testing.assert_identical(after, before)


def test_verify_compares_kept_sums_with_the_frames(long_store: Path) -> None:
    decoded(long_store)
    [file] = Path(f"{long_store}.moments").rglob("*.pairs")
    assert invoke("verify", long_store).exit_code == 0
    content = file.read_bytes()
    file.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    broken = invoke("verify", long_store)
    assert broken.exit_code == 1
    assert f"{file}: expected a whole file of sums" in broken.stdout + broken.stderr
    # A file that is whole, and wrong: its sums are others than those of the frames.
    keep = pair_cache.keep_pairs
    file.unlink()
    with mock.patch.object(
        pairs, "keep_pairs", lambda place, extent, sums, *rest: keep(place, extent, 2 * sums, *rest)
    ):
        decoded(long_store)
    wrong = invoke("verify", long_store)
    assert wrong.exit_code == 1
    assert f"{file}: expected the sums of the frames, got others" in wrong.stdout + wrong.stderr


def test_kept_sums_answer_without_the_trajectory(long_store: Path) -> None:
    first = invoke("cache", "fill", long_store)
    assert first.exit_code == 0, first.stderr
    assert f"and dynamics. All of it was read back: {long_store} may go." in first.stdout
    before, readings = decoded(long_store)
    assert readings == 0
    [file] = Path(f"{long_store}.moments").rglob("*.pairs")
    content = file.read_bytes()
    file.write_bytes(content[:-9])
    shown = invoke("cache", "show", long_store)
    assert "without the trajectory, but not dynamics." in shown.stdout
    assert not json.loads(invoke("cache", "show", long_store, "--format", "json").stdout)["answers_dynamics"]
    file.write_bytes(content)
    long_store.rename(f"{long_store}.away")
    with pytest.warns(errors.KeptSumsWarning):
        answer = analyzer.open_run(long_store).thermo.dynamics().compute()
    for name in before.data_vars:
        np.testing.assert_array_equal(answer[name], before[name])
    with pytest.warns(errors.KeptSumsWarning), pytest.raises(errors.TrajectoryMissingError):
        analyzer.open_run(long_store).thermo.dynamics(lags=[9])


def test_filling_leaves_dynamics_out_on_request_and_refuses_what_was_not_written(long_store: Path) -> None:
    def short(target: Path, content: bytes) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content[:-9] if target.suffix == ".pairs" else content)

    with mock.patch.object(cache, "put", short):
        told = invoke("cache", "fill", long_store)
    assert told.exit_code == 1
    assert ".pairs: expected a whole file of sums" in told.stderr
    assert "The trajectory must stay" in told.stderr
    assert invoke("cache", "drop", long_store).exit_code == 0
    told = invoke("cache", "fill", long_store, "--no-dynamics")
    assert told.exit_code == 0, told.stderr
    assert f"but not dynamics. All of it was read back: {long_store} may go." in told.stdout
    assert not list(Path(f"{long_store}.moments").rglob("*.pairs"))


@pytest.mark.xdist_group("cluster")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_threads_processes_and_a_cluster_give_the_same_bits(long_store: Path, two_workers: Cluster) -> None:
    from distributed import Client

    options = ("dynamics", long_store, "--by", "row", "--window", 1000, "--no-cache", "--format", "json")
    threads = json.loads(invoke(*options).stdout)["records"]
    processes = shell(*options, "--scheduler", "processes", "--workers", 2)
    assert json.loads(processes.stdout)["records"] == threads
    asked = analyzer.open_run(long_store).thermo
    others = {
        "spectrum": asked.spectrum(by="row", sections=128, window=1000),
        "modes": asked.modes(by="row", frames=200, modes=2),
        "weights of modes": asked.mode_weights(by="layer", frames=200, modes=2),
        "ageing": asked.ageing(waiting="1:1000:log", lags=[1, 100]),
    }
    done = shell(*options, "--scheduler", two_workers.address)
    with Client(two_workers.address, set_as_default=False) as client:
        found = {title: answer.compute(scheduler=client) for title, answer in others.items()}
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["records"] == threads
    for title, answer in others.items():
        here = answer.compute(scheduler="threads", num_workers=2)
        xr.testing.assert_identical(found[title], here)
        assert all(bool(column.notnull().any()) for column in here.data_vars.values()), title


def test_a_weight_that_is_not_finite_is_named(make: Callable[..., Path]) -> None:
    values = walk(2, (2, 2, 700))
    bad = values.copy()
    bad[1, 1, 300:] = np.nan
    path = make(parameters={"conv1.lin.weight": values, "lin.weight": bad}, scalars={})
    with pytest.warns(errors.NonFiniteWarning, match=r"lin.weight: NaN or infinite weights from frame 300 on"):
        answer = analyzer.open_run(path).thermo.dynamics(window=256).compute()
    assert np.isfinite(answer["autocorrelation"][0]).all()
    assert np.isfinite(answer["autocorrelation"][1, 0]).all()
    assert np.isnan(answer["autocorrelation"][1, 1:].values).all()
    done = invoke("dynamics", path)
    assert "lin.weight: NaN or infinite weights from step 300 on" in done.stderr


def test_memory_is_known_before_anything_is_read(long_store: Path) -> None:
    with mock.patch.object(frames_module, "read", wraps=reading.read) as reader:
        with pytest.raises(errors.MemoryLimitError, match=r"expected at most 1.0 MiB .* got a projected .* 30 lags"):
            analyzer.open_run(long_store).thermo.dynamics(by="element", memory_limit=1 << 20, lags=[*range(30)])
        assert not reader.called


class Zeros:
    """Frames of a piece that take memory as they are read, as those of a chunk do."""

    arrays = ()

    def read(self, region: groups.Region, start: int, stop: int) -> np.ndarray:
        return np.zeros([*(high - low for low, high in region), stop - start], dtype=np.float32)

    def of_task(self, place: int) -> Zeros:
        return self


def test_what_a_task_holds_does_not_grow_with_its_longest_lag() -> None:
    """The largest piece of a GCN, 64 × 64 weights in chunks of 1,024 frames, at longest lags of runs of any length.

    Two units and a tile: the one before, or as much of several, and the unit itself.
    """
    piece = pieces.Piece("conv2.lin.weight", (64, 64), ((0, 64), (0, 64)), groups.Rule(0), "float32", "float32")
    peaks = {}
    for halo in (257, 1025, 4097, 8192):
        reach = passage.Reach(8192, 10240, first=8192 - halo)
        tracemalloc.start()
        weights = 0
        for part, origin, low, held in passage.units_of(piece, Zeros(), reach, 1024, halo):
            assert origin == low - halo
            for tile, values in passage.tiles_of(held, 1024 + halo):
                weights += len(values)
                assert tile.stop <= part.stop - part.start
        peaks[halo] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert weights == 2 * piece.weights, "all of them in both units"
    assert max(peaks.values()) < 1.1 * peaks[257], peaks
    assert peaks[257] < 2.3 * 16_777_216


def test_what_tasks_return_does_not_grow_with_the_run(tmp_path: Path) -> None:
    """Strips are added up to the batches of the question, of which a window of any length has 32 to 64."""
    strips_of: dict[int, int] = {}
    batches_of: dict[int, int] = {}
    for frames in (16_384, 65_536):
        path = write_store(tmp_path / f"{frames}.zarr", {"lin.weight": np.zeros((1, 1, frames))}, chunk_steps=1024)
        asked = passage.ask(analyzer.open_run(path), Query(by="model"))
        planned = pair_plan.plan_pairs(asked, default_lags(frames - 1))
        strips_of[frames] = sum(job.records for job in planned.jobs)
        batches_of[frames] = sum(job.batches for job in planned.jobs)
    # At the three seams between the tasks of the longer run both have a part of one strip.
    assert strips_of == {16_384: 64, 65_536: 256 + 3}
    assert batches_of == {16_384: 64, 65_536: 64 + 3}


@pytest.mark.parametrize(("halo", "least"), [(257, 2), (4097, 7)])
def test_chunks_are_decoded_into_the_same_memory(tmp_path: Path, halo: int, least: int) -> None:
    """A task over 64 chunks asks the system for memory as often as one over 32: what is freed does not leave gaps."""
    piece = pieces.Piece("lin.weight", (8, 4), ((0, 8), (0, 4)), groups.Rule(0), "float32", "float32")
    values = walk(7, (8, 4, 64 * 256))
    path = write_store(tmp_path / "run.zarr", {"lin.weight": values}, compression="pcodec", chunk_steps=256)
    chunks = frames_module.Chunks(reading.source_of(schema.read_store(path), "parameters/lin/weight"))
    made: dict[int, int] = {}
    with (
        mock.patch.object(rooms, "_LEAST_BYTES", 1),
        mock.patch.object(passage, "_HELD_BYTES", 1),
        mock.patch.object(rooms.mmap, "mmap", wraps=rooms.mmap.mmap) as memory,
    ):
        for stop in (8 * 1024, 64 * 256):
            memory.reset_mock()
            for part, _, low, held in passage.units_of(piece, chunks, passage.Reach(0, stop, first=0), 256, halo):
                whole = np.concatenate(held, axis=1)[:, -halo:]
                truth = values.reshape(32, -1)[part, : low + 256]
                np.testing.assert_array_equal(whole, truth[:, -whole.shape[1] :])
            made[stop] = memory.call_count
    assert len(set(made.values())) == 1, made
    assert least <= made[64 * 256] <= halo // 256 + 3


def test_of_a_part_of_a_chunk_no_more_is_decoded(tmp_path: Path) -> None:
    values = walk(6, (6, 5, 3000))
    path = write_store(tmp_path / "run.zarr", {"lin.weight": values}, compression="pcodec", chunk_steps=1024)
    source = reading.source_of(schema.read_store(path), "parameters/lin/weight")
    asked: list[int] = []
    plain = codecs.decode

    def decode(*arguments: Any) -> np.ndarray:
        found = plain(*arguments)
        asked.append(found.size)
        return found

    with mock.patch.object(reading, "decode", decode):
        found = reading.read(source, ((1, 3), (2, 5), (1000, 2048)))
    np.testing.assert_array_equal(found, values[1:3, 2:5, 1000:2048])
    assert asked == [3 * 5 * 1024] * 2
    lags = [0, 1, 1500]
    with mock.patch.multiple(passage, _HELD_BYTES=1, _TILE_BYTES=1), mock.patch.object(plan, "SPAN_FRAMES", 256):
        parts = analyzer.open_run(path).thermo.dynamics(lags=lags, by="row").compute()
    xr.testing.assert_identical(analyzer.open_run(path).thermo.dynamics(lags=lags, by="row").compute(), parts)
