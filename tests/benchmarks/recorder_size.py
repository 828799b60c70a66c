"""Lossless size of recorded trajectories against raw and against an entropy bound, by optimizer and learning rate.

The GCN is trained at 1e-3, 1e-4 and 1e-5 in turn, and the same frames are then recorded with each compression. A second
table tries pcodec's settings on the same chunks: orders of the difference along the steps, levels, and whether weights
share pages.

The bound is the Gaussian entropy of the velocity predicted from the one before: for each weight and chunk, a prediction
error of variance σ² (least squares, one coefficient), resolved to the spacing δ of float32 at the weight's size, takes
½ log2(2πe (σ²/δ² + 1/12)) bits. The 1/12 is the rounding's own variance, which matters where
steps are as small as δ. A codec may beat it where velocities are not Gaussian.

    python -m tests.benchmarks.recorder_size
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
import xarray as xr
from numcodecs.pcodec import PCodec
from numpy.typing import NDArray

from examples.models import GCN
from recorder import Recorder
from recorder.codecs import CODECS
from tests.benchmarks.recorder_workload import OPTIMIZERS, Row, table, training

Frames = dict[str, NDArray[np.float32]]
RATES = (1e-3, 1e-4, 1e-5)
COMPRESSIONS = tuple(CODECS)
Setting = tuple[int | str, int, str]
SHARED, OWN = "shared", "a weight's"
SETTINGS: list[Setting] = [
    *((order, 8, SHARED) for order in (0, 1, 2, 3, "auto")),
    *((order, level, SHARED) for level in (4, 12) for order in (1, 2)),
    *((order, level, OWN) for level in (2, 3, 4, 5, 6, 8) for order in (1, 2)),
]
CHUNK_STEPS = 1024  # what the recorder takes for the GCN


def trajectories(optimizer: str, rates: Sequence[float], steps: int) -> Iterator[tuple[float, Frames]]:
    """Train the GCN at each rate in turn, and keep `steps` frames of each: the parameter's own axes, then step."""
    torch.manual_seed(0)
    model = GCN()
    steered = OPTIMIZERS[optimizer](model.parameters(), lr=rates[0])
    losses = training(model, steered)
    for rate in rates:
        steered.param_groups[0]["lr"] = rate
        kept: dict[str, list[NDArray[np.float32]]] = {name: [] for name, _ in model.named_parameters()}
        for _ in islice(losses, steps):
            for name, parameter in model.named_parameters():
                kept[name].append(parameter.detach().numpy().copy())
        yield rate, {name: np.ascontiguousarray(np.stack(values, axis=-1)) for name, values in kept.items()}


def chunks(frames: Frames, chunk_steps: int) -> Iterator[NDArray[np.float32]]:
    """Cut frames as the store does: all of one parameter, `chunk_steps` along the steps."""
    for array in frames.values():
        for start in range(0, array.shape[-1], chunk_steps):
            yield np.ascontiguousarray(array[..., start : start + chunk_steps])


def entropy_bound(frames: Frames, chunk_steps: int) -> float:
    """Raw over the least size, by the entropy of the module's docstring."""
    bits = weights = 0.0
    for chunk in chunks(frames, chunk_steps):
        w = chunk.reshape(-1, chunk.shape[-1])
        v = np.diff(w.astype(np.float64), axis=1)
        before, after = v[:, :-1], v[:, 1:]
        power = (before**2).sum(axis=1)
        slope = np.divide((before * after).sum(axis=1), power, out=np.zeros_like(power), where=power > 0)
        variance = ((after - slope[:, None] * before) ** 2).mean(axis=1)
        spacing = np.exp2(np.log2(np.spacing(np.abs(w))).mean(axis=1))
        bits += (0.5 * np.log2(2 * np.pi * np.e * (variance / spacing**2 + 1 / 12))).sum()
        weights += len(w)
    return 32 * weights / bits


def store_size(frames: Frames, compression: str, chunk_steps: int) -> tuple[int, float]:
    """Record frames; return the bytes of their chunks, and the seconds until all were written."""
    model = GCN()
    parameters = dict(model.named_parameters())
    steps = next(iter(frames.values())).shape[-1]
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "run.zarr")
        with Recorder(store, model, compression=compression, chunk_steps=chunk_steps) as recorder:
            began = perf_counter()
            for step in range(steps):
                with torch.no_grad():
                    for name, parameter in parameters.items():
                        parameter.copy_(torch.from_numpy(np.ascontiguousarray(frames[name][..., step])))
                recorder.step() if step else recorder.start()
        seconds = perf_counter() - began
        with xr.open_datatree(store, engine="zarr", chunks={}) as run:
            for name, expected in frames.items():
                found = run["parameters/" + name.replace(".", "/")].values
                if found.tobytes() != expected.tobytes():
                    raise AssertionError(f"{compression} changed {name}")
        size = sum(file.stat().st_size for file in (store / "parameters").rglob("c/**/*") if file.is_file())
    return size, seconds


def measure(
    steps: int,
    chunk_steps: int = CHUNK_STEPS,
    optimizers: Sequence[str] = tuple(OPTIMIZERS),
    rates: Sequence[float] = RATES,
) -> tuple[list[Row], list[Row]]:
    """Measure sizes of `steps` frames at each rate.

    Returns
    -------
    sizes : list of rows
        By optimizer and rate: raw over stored bytes with each compression, the bound, and pcodec's share of it.
    settings : list of rows
        By pcodec's setting: raw over encoded bytes for each optimizer and rate, and the speeds over all of them on one
        core (MB/s of raw bytes).
    """
    sizes: list[Row] = []
    settings: dict[Setting, dict[str, Any]] = {
        (order, level, page): {"order": order, "level": level, "page": page} for order, level, page in SETTINGS
    }
    seconds = {setting: np.zeros(2) for setting in settings}
    total = 0
    for optimizer in optimizers:
        for rate, frames in trajectories(optimizer, rates, steps):
            raw = sum(array.nbytes for array in frames.values())
            total += raw
            ratios = {name: raw / store_size(frames, name, chunk_steps)[0] for name in COMPRESSIONS}
            bound = entropy_bound(frames, chunk_steps)
            sizes.append(
                {
                    "optimizer": optimizer,
                    "rate": f"{rate:g}",
                    **ratios,
                    "bound": bound,
                    "pcodec/bound": ratios["pcodec"] / bound,
                }
            )
            for setting, row in settings.items():
                size, taken = encoded(frames, setting, chunk_steps)
                row[f"{optimizer} {rate:g}"] = raw / size
                seconds[setting] += taken
    for setting, row in settings.items():
        row["encode MB/s"], row["decode MB/s"] = (float(total / taken / 1e6) for taken in seconds[setting])
    return sizes, list(settings.values())


def encoded(frames: Frames, setting: Setting, chunk_steps: int) -> tuple[int, NDArray[np.float64]]:
    """Bytes of all chunks under one setting of pcodec, and the seconds to encode and to decode them."""
    order, level, page = setting
    delta: dict[str, Any] = {"delta_spec": "auto"}
    if order != "auto":
        delta = {"delta_spec": "try_consecutive", "delta_encoding_order": order}
    paged = {"equal_pages_up_to": chunk_steps} if page == OWN else {}
    codec = PCodec(level, mode_spec="classic", **delta, **paged)
    size, seconds = 0, np.zeros(2)
    for chunk in chunks(frames, chunk_steps):
        began = perf_counter()
        packed = codec.encode(chunk)
        between = perf_counter()
        codec.decode(packed)
        seconds += (between - began, perf_counter() - between)
        size += len(packed)
    return size, seconds


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2 * CHUNK_STEPS, help="frames at each rate (default: 2048)")
    sizes, settings = measure(parser.parse_args().steps)
    print(table(f"Raw over stored bytes, GCN, chunks of {CHUNK_STEPS} steps", sizes))
    title = "pcodec: raw over encoded bytes by order of difference, level and page, and speed of one core"
    print(table(title, settings))


if __name__ == "__main__":
    main()
