"""What a store says is a claim: chunks that decode to more than their shape, and files that are none."""

from __future__ import annotations

import gzip
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import google_crc32c
import numpy as np
import pytest
from numcodecs import blosc, zstd
from pcodec import ChunkConfig, standalone

import analyzer
from analyzer import errors
from analyzer.engine.kept import cache
from analyzer.store import trust
from tests.stores import chunk_file, edit_root, write_store

LARGE = np.zeros(1 << 24, np.float32)
"""64 MiB, where 1 KiB is expected."""


def with_checksum(raw: bytes) -> bytes:
    return raw + struct.pack("<I", google_crc32c.value(raw))


def weights(store: Path) -> np.ndarray:
    return np.asarray(analyzer.open_run(store)["parameters/w"].values)


def small(folder: Path, compression: str, dtype: str = "f4") -> tuple[Path, Path]:
    """A store of one chunk, and its file."""
    values = np.arange(256).reshape(4, 64).astype(dtype)
    store = write_store(folder / "run.zarr", {"w": values}, chunk_steps=64, compression=compression)
    return store, chunk_file(store, "parameters/w", 0, 0)


def test_a_pcodec_chunk_of_more_values_than_its_shape(tmp_path: Path) -> None:
    store, chunk = small(tmp_path, "pcodec")
    chunk.write_bytes(with_checksum(bytes(standalone.simple_compress(LARGE, ChunkConfig()))))
    with (
        mock.patch.object(standalone, "simple_decompress", side_effect=AssertionError("memory of the chunk's choice")),
        pytest.raises(errors.CorruptChunkError, match=r"got: a chunk of more values, and metadata that says 256"),
    ):
        weights(store)
    chunk.write_bytes(with_checksum(bytes(standalone.simple_compress(LARGE[:200], ChunkConfig()))))
    with pytest.raises(errors.CorruptChunkError, match=r"got: a chunk of 200 values, and metadata that says 256"):
        weights(store)


@pytest.mark.parametrize(
    ("compression", "dtype", "module", "size"), [("lz4", "f4", blosc, 1024), ("none", "u1", zstd, 256)]
)
def test_a_header_that_says_more_is_refused_before_anything_is_decoded(
    tmp_path: Path, compression: str, dtype: str, module: Any, size: int
) -> None:
    store, chunk = small(tmp_path, compression, dtype)
    run = analyzer.open_run(store)
    bomb = blosc.compress(LARGE.tobytes(), b"lz4", 5, 1) if module is blosc else zstd.compress(LARGE.tobytes())
    chunk.write_bytes(with_checksum(bomb))
    told = rf"got: a chunk whose header says 67,108,864 bytes, and metadata that says {size:,}"
    decompress = module.decompress

    def careful(raw: bytes, *rest: Any) -> Any:
        assert raw != bomb, "decoded"
        return decompress(raw, *rest)

    with (
        mock.patch.object(module, "decompress", careful),
        pytest.raises(errors.CorruptChunkError, match=told),
    ):
        run["parameters/w"].compute()


def test_codecs_that_only_zarr_decodes_are_asked_for_their_size_too(tmp_path: Path) -> None:
    store, chunk = small(tmp_path, "none")

    def recoded(root: dict[str, Any]) -> None:
        node = root["consolidated_metadata"]["metadata"]["parameters/w"]
        node["codecs"] = [node["codecs"][0], {"name": "gzip", "configuration": {"level": 5}}]

    good = weights(store)
    raw = chunk.read_bytes()[:-4]
    edit_root(store, recoded)
    chunk.write_bytes(gzip.compress(raw))
    np.testing.assert_array_equal(weights(store), good)
    chunk.write_bytes(gzip.compress(LARGE.tobytes()))
    with pytest.raises(
        errors.CorruptChunkError, match=r"expected a chunk that decodes, got: a chunk whose header says"
    ):
        weights(store)


def test_metadata_of_chunks_larger_than_any(tmp_path: Path) -> None:
    store, _ = small(tmp_path, "none")

    def widened(root: dict[str, Any]) -> None:
        node = root["consolidated_metadata"]["metadata"]["parameters/w"]
        node["chunk_grid"]["configuration"]["chunk_shape"] = [4, 1 << 40]

    edit_root(store, widened)
    with pytest.raises(errors.CorruptChunkError, match=r"metadata of chunks of 17,592,186,044,416 bytes"):
        weights(store)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)  # its path may be longer than a socket's can be
        server.bind(path.name)


def an_endless_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_folder(path: Path) -> None:
    path.mkdir()


def a_file_of_a_terabyte(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


OTHERS = [a_pipe, a_socket, an_endless_device, a_folder, a_file_of_a_terabyte]


@pytest.mark.parametrize("put", OTHERS)
@pytest.mark.parametrize("array", ["parameters/w", "step"])
def test_what_is_no_chunk_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: Callable[[Path], None], array: str
) -> None:
    monkeypatch.chdir(tmp_path)
    store, _ = small(tmp_path, "none")
    chunk = chunk_file(store, array, *([0, 0] if array != "step" else [0]))
    chunk.unlink()
    put(chunk)
    with pytest.raises(errors.CorruptChunkError, match=rf"{array}.*expected a chunk that decodes, got: a \w+"):
        weights(store)


@pytest.mark.parametrize("put", [put for put in OTHERS if put is not a_folder])
def test_what_is_no_document_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: Callable[[Path], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    store, _ = small(tmp_path, "none")
    (store / "zarr.json").unlink()
    put(store / "zarr.json")
    with pytest.raises(errors.NotATrajectoryError, match=r"expected a (store with a|readable) zarr\.json"):
        analyzer.open_run(store)


def test_a_link_to_a_file_counts_as_that_file(tmp_path: Path) -> None:
    store, chunk = small(tmp_path, "none")
    good = weights(store)
    chunk.rename(tmp_path / "elsewhere")
    chunk.symlink_to(tmp_path / "elsewhere")
    np.testing.assert_array_equal(weights(store), good)


@pytest.mark.parametrize("put", OTHERS)
@pytest.mark.parametrize("name", ["zarr.json", "0.sums", "0.seen"])
def test_what_is_no_file_of_kept_sums_is_passed_over(
    store: Path, monkeypatch: pytest.MonkeyPatch, put: Callable[[Path], None], name: str
) -> None:
    monkeypatch.chdir(store.parent)
    want = analyzer.open_run(store).thermo.temperature().compute()
    for path in list(Path(f"{store}.moments").rglob(name)):
        path.unlink()
        put(path)
    assert analyzer.open_run(store).thermo.temperature().compute().identical(want)


def test_sizes_in_a_file_of_sums_are_held_against_the_file(tmp_path: Path) -> None:
    def claims(offset: int, size: int) -> Path:
        path = tmp_path / "0.sums"
        text = b'{"blocks": [], "coarse": [%d, %d, 0], "series": [0, 0, 0], "fine": [0, 0, 0]}' % (offset, size)
        path.write_bytes(struct.pack("<8sIII", b"TTMOMENT", cache.VERSION, google_crc32c.value(text), len(text)) + text)
        return path

    for offset, size in ((0, 1 << 60), (1 << 60, 1), (-4, 2), (0, -1)):
        assert "coarse sums beyond its end" in str(cache.fault_of(claims(offset, size)))
    path = claims(0, 0)
    path.write_bytes(struct.pack("<8sIII", b"TTMOMENT", cache.VERSION, 0, 1 << 31) + b"{}")
    assert "one that ends in its header" in str(cache.fault_of(path))


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65791, 65792, 1 << 20])
def test_what_buffers_say_of_their_size(size: int) -> None:
    raw = b"\0" * size
    assert trust.zstd_size(zstd.compress(raw)) == size
    assert trust.gzip_size(gzip.compress(raw), 1 << 30) == size
    if size:
        assert trust.blosc_size(blosc.compress(raw, b"zstd", 5, 1)) == size
    assert trust.zstd_size(b"") is trust.zstd_size(b"\x28\xb5\x2f\xfd\x00\x58") is trust.blosc_size(b"\2\1") is None
