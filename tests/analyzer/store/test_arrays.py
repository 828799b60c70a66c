"""Metadata and chunks of arrays as read without zarr: what zarr makes of the same documents."""

from __future__ import annotations

import copy
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.core.metadata.v3 import ArrayV3Metadata

from analyzer.store.arrays import ArrayMetadata, read_metadata, zarr_metadata
from analyzer.store.reading import open_array, read
from analyzer.store.roots import Source
from tests.stores import write_store

GOLDEN = sorted((Path(__file__).parents[2] / "contract/golden").glob("*.zarr"))


def arrays_of(store: Path) -> dict[str, dict[str, Any]]:
    nodes = json.loads((store / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    return {path: node for path, node in nodes.items() if node["node_type"] == "array"}


def by_zarr(node: dict[str, Any]) -> ArrayMetadata:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zarr_metadata(ArrayV3Metadata.from_dict(copy.deepcopy(node)))


def assert_same(ours: ArrayMetadata | None, theirs: ArrayMetadata) -> None:
    assert ours is not None
    assert (ours.chunks, ours.dtype, ours.names) == (theirs.chunks, theirs.dtype, theirs.names)
    assert (ours.attributes, ours.decoder) == (theirs.attributes, theirs.decoder)
    assert type(ours.fill_value) is type(theirs.fill_value)
    np.testing.assert_array_equal(ours.fill_value, theirs.fill_value)
    for position in [(0,) * len(ours.chunks), tuple(range(3, 3 + len(ours.chunks)))]:
        assert ours.chunk_key(position) == theirs.chunk_key(position)
    assert ours.step_axis == theirs.step_axis


@pytest.mark.parametrize("store", GOLDEN, ids=lambda path: path.name)
def test_golden_stores_are_read_without_zarr(store: Path) -> None:
    for node in arrays_of(store).values():
        assert_same(read_metadata(node), by_zarr(node))


@pytest.mark.parametrize("compression", ["none", "pcodec", "lz4"])
@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int8", "int16", "int64", "uint8", "uint32", "bool"]
)
def test_types_and_codecs_of_the_format(tmp_path: Path, dtype: str, compression: str) -> None:
    frames = (10 * np.random.default_rng(0).normal(size=(3, 2, 40))).astype(dtype)
    store = write_store(tmp_path / "run.zarr", {"weight": frames}, compression=compression, run_id="a" * 32)
    for path, node in arrays_of(store).items():
        assert_same(read_metadata(node), by_zarr(node))
        source = Source(str(store), "a" * 32, 40, path)
        assert open_array(source).decoder is not None
        region = tuple((0, length) for length in node["shape"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            there = zarr.open_array(store, path=path, mode="r")[...]
        np.testing.assert_array_equal(read(source, region), there)


@pytest.mark.parametrize(("dtype", "fill"), [
    ("float32", "NaN"), ("float32", "Infinity"), ("float64", "-Infinity"), ("float32", 0), ("float64", -0.5),
    ("int32", -1), ("uint8", 255), ("bool", True),
])  # fmt: skip
def test_fill_values(document: dict[str, Any], dtype: str, fill: Any) -> None:
    document |= {"data_type": dtype, "fill_value": fill}
    assert_same(read_metadata(document), by_zarr(document))


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    store = write_store(tmp_path / "run.zarr", {"weight": np.zeros((3, 2, 40), np.float32)})
    return arrays_of(store)["parameters/weight"]


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(node: dict[str, Any]) -> None:
        *way, last = [int(part) if part.isdigit() else part for part in path.split("/")]
        place: Any = node
        for part in way:
            place = place[part]
        place[last] = value

    return change


@pytest.mark.parametrize("change", [
    _set("zarr_format", 2),
    _set("node_type", "group"),
    _set("shape", [3, 2, 40.0]),
    _set("shape", [3, 2, "40"]),
    _set("shape", None),
    _set("chunk_grid/name", "rectilinear"),
    _set("chunk_grid/configuration/chunk_shape", [3, 2, True]),
    _set("chunk_grid/configuration/chunk_shape", [3, 2]),
    _set("chunk_grid", []),
    _set("chunk_key_encoding", {"name": "v2"}),
    _set("chunk_key_encoding/configuration/separator", "."),
    _set("data_type", "float31"),
    _set("data_type", {"name": "float32"}),
    _set("fill_value", "0x7fc00000"),
    _set("fill_value", True),
    _set("fill_value", [0]),
    _set("fill_value", 1e300),
    _set("fill_value", math.nan),
    _set("codecs", None),
    _set("codecs", []),
    _set("codecs", ["bytes", "crc32c"]),
    _set("codecs/0/name", "transpose"),
    _set("codecs/0/name", ["bytes"]),
    _set("codecs/0/configuration/endian", "big"),
    _set("codecs/0/configuration", {"endian": "little", "end": 1}),
    _set("codecs/0/must_understand", False),
    _set("attributes", []),
    _set("dimension_names", None),
    _set("dimension_names", ["a", "b", 3]),
    _set("dimension_names", "abc"),
    _set("storage_transformers", [{"name": "other"}]),
    _set("extension", {"must_understand": True}),
])  # fmt: skip
def test_anything_else_is_left_to_zarr(document: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> None:
    assert read_metadata(document) is not None
    change(document)
    assert read_metadata(document) is None


def test_an_array_that_only_zarr_understands_is_read(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).normal(size=(3, 2, 40)).astype(np.float32)
    store = write_store(tmp_path / "run.zarr", {"weight": frames}, run_id="b" * 32)
    root = json.loads((store / "zarr.json").read_text())
    root["consolidated_metadata"]["metadata"]["parameters/weight"]["fill_value"] = "0x7fc00000"  # another way of NaN
    (store / "zarr.json").write_text(json.dumps(root))
    source = Source(str(store), "b" * 32, 40, "parameters/weight")
    np.testing.assert_array_equal(read(source, ((0, 3), (0, 2), (5, 30))), frames[..., 5:30])
