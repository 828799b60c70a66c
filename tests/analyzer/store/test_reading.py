"""Chunks that are damaged or missing: the error names the array and the steps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import analyzer
from analyzer import errors
from tests.analyzer.test_errors import temperature
from tests.stores import chunk_file


def test_steps_out_of_order(make: Callable[..., Path]) -> None:
    steps = np.arange(100)
    steps[30] = 5
    with pytest.raises(
        errors.DamagedStoreError, match=r"expected strictly increasing steps, got \[29, 5\] at frame 29"
    ):
        analyzer.open_run(make(steps=steps))


@pytest.mark.parametrize("compression", ["none", "pcodec", "lz4"])
def test_corrupt_chunk_names_the_array_and_the_steps(make: Callable[..., Path], compression: str) -> None:
    path = make(compression=compression)
    file = chunk_file(path, "parameters/lin/weight", 0, 0, 2)
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    with pytest.raises(
        errors.CorruptChunkError, match=r"parameters/lin/weight, steps 32 to 47: expected a chunk"
    ) as caught:
        temperature(path)
    assert "--stop 31 or --start 48 or --exclude lin.weight" in str(caught.value)
    assert caught.value.frames == (32, 48)
    # The remedies work.
    assert np.isfinite(temperature(path, stop=31)["temperature"]).all()
    assert np.isfinite(temperature(path, start=48)["temperature"]).all()
    assert np.isfinite(temperature(path, exclude="lin.weight")["temperature"]).all()


def test_truncated_chunk(store: Path) -> None:
    file = chunk_file(store, "parameters/conv1/bias", 0, 6)
    file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(ValueError, match=r"parameters/conv1/bias, steps 96 to 99"):
        temperature(store)


def test_missing_chunk_is_not_read_as_fill(store: Path) -> None:
    chunk_file(store, "parameters/lin/weight", 0, 0, 1).unlink()
    with pytest.raises(
        errors.MissingChunkError, match=r"lin/weight, steps 16 to 31: expected the committed chunk .*c/0/0/1"
    ):
        temperature(store)
    with pytest.raises(FileNotFoundError, match=r"zarr would read it as nan, silently"):
        analyzer.open_run(store)["parameters/lin/weight"].compute()


def test_missing_steps(store: Path) -> None:
    shutil.rmtree(store / "step")
    with pytest.raises(errors.MissingChunkError, match=r"step, steps of frames 0 to 15.*zarr would read it as -1"):
        analyzer.open_run(store)
