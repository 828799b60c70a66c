"""Ways to copy a model's parameters into a row of shared memory, beside a training and in a loop of nothing else.

Beside a training, what a call costs is mostly its code, which the training has driven out of the caches: three ways,
drawn at random, are called once after each step of the GCN's training, and then all of them again and again.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.recorder_copies
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import os
import random
import tempfile
from collections.abc import Callable
from itertools import accumulate, cycle, islice
from statistics import median
from time import perf_counter_ns

import numpy as np
import torch
import xxhash
from torch import nn

from examples.models import GCN
from recorder.trainer.feeds.host_feed import bytes_of
from tests.benchmarks.recorder_workload import Row, table, training

ROWS = 256
AT_ONCE = 3
LOOP = 50

Way = Callable[[int], object]


def shared(model: nn.Module, descriptor: int) -> mmap.mmap:
    """Map a file with room for all rows."""
    size = ROWS * sum(parameter.nbytes for parameter in model.parameters())
    os.posix_fallocate(descriptor, 0, size)
    return mmap.mmap(descriptor, size)


def ways(model: nn.Module, memory: mmap.mmap, descriptor: int) -> dict[str, Way]:
    """Each takes the number of a row, and copies or looks at all parameters."""
    parameters = list(model.parameters())
    views = [parameter.detach().reshape(-1) for parameter in parameters]
    pieces = [bytes_of(view) for view in views]
    ends = list(accumulate(piece.nbytes for piece in pieces))
    size = ends[-1]
    parts = [slice(end - piece.nbytes, end) for end, piece in zip(ends, pieces, strict=True)]
    array = np.frombuffer(memory, np.float32).reshape(ROWS, -1)
    rows, start = torch.from_numpy(array).unbind(0), array.ctypes.data
    bytes_rows = [row.view(np.uint8).data for row in array]
    copied = list(zip(parts, pieces, strict=True))
    moved = [
        (part.start, view.data_ptr(), piece.nbytes) for part, view, piece in zip(parts, views, pieces, strict=True)
    ]
    owners = [
        (module._parameters, name)
        for module in model.modules()
        for name, parameter in module._parameters.items()
        if parameter is not None
    ]
    places = [(view.data_ptr(), view.numel()) for view in views]
    watched = [(*owner, *place, *copy) for owner, place, copy in zip(owners, places, copied, strict=True)]

    def slices(row: int) -> None:
        target = bytes_rows[row]
        for part, piece in copied:
            target[part] = piece

    def slices_and_look(row: int) -> bool:
        target = bytes_rows[row]
        for owner, key, address, elements, part, piece in watched:
            tensor = owner[key]
            if (
                tensor is None
                or tensor.data_ptr() != address
                or tensor.numel() != elements
                or not tensor.is_contiguous()
            ):
                return False
            target[part] = piece
        return True

    def look(row: int) -> bool:
        return [(t.data_ptr(), t.numel()) for t in [owner[key] for owner, key in owners] if t is not None] == places

    def memmove(row: int) -> None:
        target = start + row * size
        for offset, source, length in moved:
            ctypes.memmove(target + offset, source, length)

    @torch.no_grad()
    def cat_anew(row: int) -> None:
        torch.cat([parameter.reshape(-1) for parameter in parameters], out=rows[row])

    @torch.no_grad()
    def flatten(row: int) -> None:
        rows[row].copy_(torch._utils._flatten_dense_tensors(parameters))

    return {
        "slices of memory views": slices,
        "the same, and a look where each lies": slices_and_look,
        "cat of views": lambda row: torch.cat(views, out=rows[row]),
        "cat of views made anew": cat_anew,
        "ctypes.memmove of each": memmove,
        "os.pwritev of all": lambda row: os.pwritev(descriptor, pieces, row * size),
        "_flatten_dense_tensors, copy_": flatten,
        "no copy: a look where each lies": look,
        "no copy: xxh3 of the row": lambda row: xxhash.xxh3_64_intdigest(bytes_rows[row], row),
    }


def measure(steps: int) -> list[Row]:
    """Time every way over `steps` steps of the GCN's training.

    Returns
    -------
    list of rows
        Medians in microseconds, beside the training and in a loop.
    """
    torch.manual_seed(0)
    model, chosen = GCN(), random.Random(0)
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        all_ways = ways(model, shared(model, file.fileno()), file.fileno())
        rows = cycle(range(ROWS))
        beside: dict[str, list[float]] = {name: [] for name in all_ways}
        for _ in islice(training(model, torch.optim.SGD(model.parameters(), lr=1e-3)), steps):
            for name in chosen.sample(list(all_ways), AT_ONCE):
                way, row = all_ways[name], next(rows)
                began = perf_counter_ns()
                way(row)
                beside[name].append((perf_counter_ns() - began) / 1e3)
        return [
            {"way": name, "beside a training": median(beside[name]), "in a loop": loop(way)}
            for name, way in all_ways.items()
        ]


def loop(way: Way) -> float:
    """Median microseconds of a call in bursts of `LOOP`."""
    bursts = []
    for burst in range(30):
        began = perf_counter_ns()
        for n in range(LOOP):
            way((burst * LOOP + n) % ROWS)
        bursts.append((perf_counter_ns() - began) / 1e3 / LOOP)
    return median(bursts)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000, help="steps of training (default: 1000)")
    print(table("Copying the GCN's ten parameters, µs", measure(parser.parse_args().steps)))


if __name__ == "__main__":
    main()
