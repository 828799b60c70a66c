"""One pass over a run: speed of every kind of group against decoding alone, and against what one would write by hand.

    python -m tests.benchmarks.analyzer_throughput

Target P4: by layer, row and element, whole run and epoch windows, at least 0.9 of decode-only throughput and three
times the plain xarray expression. Decode-only is what `analyzer.store.codecs` does; zarr's own pipeline stands beside.
Every way runs with the same threads on the same store, the best of a few interleaved rounds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import dask
import numpy as np
import xarray as xr

import analyzer
from analyzer.store.reading import read, source_of, zarr_array
from analyzer.store.schema import read_store
from tests.benchmarks.analyzer_workload import gcn_store, raw_bytes, table


def decode(path: Path, threads: int) -> None:
    """Decode every parameter's chunks and drop them: the floor."""
    store = read_store(path)
    spans = [
        (start, min(start + store.chunk_steps, store.frames)) for start in range(0, store.frames, store.chunk_steps)
    ]

    def one(parameter: Any, span: tuple[int, int]) -> int:
        return read(source_of(store, parameter.path), (*((0, n) for n in parameter.shape), span)).size

    tasks = [dask.delayed(one)(p, span) for span in spans for p in store.parameters]
    dask.compute(*tasks, scheduler="threads", num_workers=threads)


def decode_with_zarr(path: Path, threads: int) -> None:
    """The same chunks through zarr's pipeline."""
    store = read_store(path)

    def one(parameter: Any, start: int) -> int:
        source = source_of(store, parameter.path)
        return np.asarray(zarr_array(source)[..., start : start + store.chunk_steps]).size

    starts = range(0, store.frames, store.chunk_steps)
    tasks = [dask.delayed(one)(p, start) for start in starts for p in store.parameters]
    dask.compute(*tasks, scheduler="threads", num_workers=threads)


def ask(path: Path, threads: int, **options: Any) -> None:
    """The engine's answer, nothing kept; without error bars unless they are asked for."""
    answer = analyzer.open_run(path).thermo.temperature(**{"cache": False, "errors": False} | options)
    answer.compute(scheduler="threads", num_workers=threads)


def plain(path: Path, threads: int) -> None:
    """The expression that a user of xarray would write, for every parameter."""
    with xr.open_datatree(path, engine="zarr", chunks={}) as run, dask.config.set(num_workers=threads):
        squares = [
            (0.5 * array.diff("step").astype("f8") ** 2).mean()
            for node in run["parameters"].subtree
            for array in node.data_vars.values()
        ]
        dask.compute(*squares, scheduler="threads")


def loaded(path: Path) -> None:
    """Load every parameter whole and let numpy do the rest."""
    store = read_store(path)
    for p in store.parameters:
        values = read(source_of(store, p.path), (*((0, n) for n in p.shape), (0, store.frames)))
        np.mean(0.5 * np.diff(values.reshape(p.weights, -1).astype(float)) ** 2)


def torch_files(folder: Path, path: Path, frames: int) -> Callable[[], None]:
    """A loop over `torch.save` files of one frame each, the way of a script that saved checkpoints."""
    import torch

    store = read_store(path)
    values = {
        p.name: read(source_of(store, p.path), (*((0, n) for n in p.shape), (0, frames))) for p in store.parameters
    }
    for frame in range(frames):
        torch.save({n: torch.from_numpy(v[..., frame].copy()) for n, v in values.items()}, folder / f"{frame}.pt")

    def loop() -> None:
        before = torch.load(folder / "0.pt")
        total = dict.fromkeys(before, 0.0)
        for frame in range(1, frames):
            after = torch.load(folder / f"{frame}.pt")
            for name, weight in after.items():
                total[name] += float(((weight - before[name]).double() ** 2).sum())
            before = after

    return loop


def measure(folder: Path, steps: int, rounds: int, threads: int = 2) -> list[tuple[object, ...]]:
    """Rows of the table: way, MB/s, share of decode-only, times the plain expression."""
    path = gcn_store(folder / "run.zarr", steps)
    few = min(steps, 500)
    saved = folder / "saved"
    saved.mkdir()
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "decode only": (lambda: decode(path, threads), steps),
        "decode only, through zarr": (lambda: decode_with_zarr(path, threads), steps),
    }
    for by in ("model", "layer", "parameter", "row", "column", "element"):
        for window in (None, "epoch"):
            title = f"by {by}, {'whole run' if window is None else 'epochs'}"
            ways[title] = (lambda by=by, window=window: ask(path, threads, by=by, window=window), steps)
    for by in ("layer", "row", "element"):
        ways[f"by {by}, whole run, error bars"] = (lambda by=by: ask(path, threads, by=by, errors=True), steps)
    ways["by layer, windows of 100"] = (lambda: ask(path, threads, window=100), steps)
    ways["by layer, lag 10"] = (lambda: ask(path, threads, lag=10), steps)
    ways["plain xarray expression"] = (lambda: plain(path, threads), steps)
    ways["load all, numpy"] = (lambda: loaded(path), steps)
    ways[f"loop over {few} torch files"] = (torch_files(saved, path, few), few)
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for title, (run, _) in ways.items():
            began = perf_counter()
            run()
            best[title] = min(best[title], perf_counter() - began)
    speed = {title: raw_bytes(frames) / best[title] / 1e6 for title, (_, frames) in ways.items()}
    floor, naive = speed["decode only"], speed["plain xarray expression"]
    return [(title, round(value), value / floor, value / naive) for title, value in speed.items()]


def report(rows: list[tuple[object, ...]], steps: int) -> str:
    """The table."""
    title = f"One pass over {raw_bytes(steps) / 1e6:.0f} MB of a GCN run (pcodec), two threads"
    return table(title, ("way", "MB/s", "of decoding", "x plain xarray"), rows)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=16384)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(report(measure(Path(folder), chosen.steps, chosen.rounds), chosen.steps))


if __name__ == "__main__":
    main()
