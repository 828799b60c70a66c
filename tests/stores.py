"""Makes stores of format version 1 from given frames, with plain zarr: the analyzer must read them, too."""

from __future__ import annotations

import json
import struct
import tempfile
import uuid
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ZstdCodec
from zarr.codecs.numcodecs import PCodec


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A temporary directory, in memory where there is one: property tests write hundreds of small stores."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)


def segment(first_frame: int, first_step: int, continuous: bool = False, **settings: Any) -> dict[str, Any]:
    """One entry of the attribute `segments`; settings are `hyperparameters`, `optimizer`, `stride`, `session`."""
    return {
        "first_frame": first_frame,
        "first_step": first_step,
        "wall_time": "2026-01-01T00:00:00Z",
        "user_step": None,
        "continuous": continuous,
        **settings,
    }


def write_store(
    path: str | Path,
    parameters: Mapping[str, np.ndarray],
    *,
    steps: Sequence[int] | np.ndarray | None = None,
    scalars: Mapping[str, np.ndarray] | None = None,
    chunk_steps: int = 16,
    row_cut: int | None = None,
    stride: int = 1,
    segments: Sequence[Mapping[str, Any]] | None = None,
    compression: str = "none",
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    status: str = "complete",
) -> Path:
    """A store of `parameters`, dotted name to (..., steps).

    Parameters
    ----------
    steps
        Of the frames; default 0, stride, 2 stride, …
    row_cut
        Rows of a chunk, for parameters with more rows than that.
    attributes
        By parameter name: attributes to set or replace.
    """
    root = Path(path)
    frames = next(iter(parameters.values())).shape[-1]
    numbers = np.arange(frames) * stride if steps is None else np.asarray(steps)
    listed = [segment(0, int(numbers[0]) if frames else 0)] if segments is None else list(segments)
    attrs = {
        "format": "parameter-trajectory",
        "format_version": 1,
        "run_id": run_id or uuid.uuid4().hex,
        "status": status,
        "created": "2026-01-01T00:00:00Z",
        "heartbeat": "2026-01-01T00:00:00Z",
        "chunk_steps": chunk_steps,
        "stride": stride,
        "compression": compression,
        "hyperparameters": dict(hyperparameters or {}),
        "model": {"class": "Synthetic", "text": "Synthetic()"},
        "optimizer": [],
        "software": {"numpy": np.__version__},
        "segments": listed,
        "skipped_updates": 0,
        "recording": {},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group = zarr.open_group(root, mode="w", zarr_format=3, attributes=attrs)
        _array(group, "step", numbers.astype(np.int64), (chunk_steps,), ("step",), compression, {})
        for name, values in (scalars or {}).items():
            dims = ("step", "param_group")[: values.ndim]
            _array(group, name, values.astype(np.float64), (chunk_steps, *values.shape[1:]), dims, compression, {})
        group.require_group("parameters")
        for name, values in parameters.items():
            described = describe(name, values) | dict((attributes or {}).get(name, {}))
            axes = ("row", "col", *map(str, range(2, values.ndim)))[: values.ndim - 1]
            dims = (*(f"{name}_{axis}" for axis in axes), "step")
            whole = [max(length, 1) for length in values.shape[:-1]]
            if row_cut and whole:
                whole[0] = min(whole[0], row_cut)
            _array(group, _path(name), values, (*whole, chunk_steps), dims, compression, described)
        zarr.consolidate_metadata(root)
    _order(root, ["step", *(scalars or {}), "parameters", *(_path(name) for name in parameters)])
    return root


def describe(name: str, values: np.ndarray) -> dict[str, Any]:
    """Attributes of a parameter in the manner of PyTorch Geometric: `conv1.lin.weight` belongs to layer `conv1`."""
    module = name.rpartition(".")[0]
    layer = module.split(".")[0]
    axes = {0: [], 1: ["output"], 2: ["output", "input"]}.get(values.ndim - 1, ["", "head", "channel"])
    described: dict[str, Any] = {
        "name": name,
        "layer": layer,
        "module": module,
        "module_class": "Linear",
        "layer_class": "GCNConv" if layer.startswith("conv") else "Linear",
        "axes": axes[: values.ndim - 1],
        "original_dtype": str(values.dtype),
        "requires_grad": True,
        "aliases": [],
    }
    if values.ndim == 4:
        described |= {"heads": values.shape[1], "head_axis": 1}
    return described


def edit_root(path: str | Path, change: Any) -> None:
    """Applies `change` to the decoded root zarr.json, in place."""
    file = Path(path) / "zarr.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def _path(name: str) -> str:
    parts = ["%73tep" if part == "step" else part for part in name.split(".")]
    return "/".join(["parameters", *parts])


def _order(root: Path, paths: Sequence[str]) -> None:
    """Lists the arrays in the order given, as a recorder does, siblings side by side; zarr's order is the directory's.

    zarr 3.1.6 loses members of a group whose members are not listed side by side
    (`ConsolidatedMetadata._flat_to_nested`).
    """

    def change(document: dict[str, Any]) -> None:
        nodes = document["consolidated_metadata"]["metadata"]
        place: dict[str, int] = {}
        for n, path in enumerate(paths):
            for parent in _parents(path):
                place.setdefault(parent, n)
        ordered = sorted(nodes, key=lambda path: [place.get(parent, -1) for parent in _parents(path)])
        document["consolidated_metadata"]["metadata"] = {path: nodes[path] for path in ordered}

    edit_root(root, change)


def _parents(path: str) -> list[str]:
    """The path of every node from the root down to this one."""
    parts = path.split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def chunk_file(path: str | Path, array: str, *place: int) -> Path:
    """The object of one chunk."""
    return Path(path) / array / "c" / "/".join(map(str, place))


def _array(
    group: zarr.Group,
    path: str,
    values: np.ndarray,
    chunks: tuple[int, ...],
    dims: tuple[str, ...],
    compression: str,
    attributes: Mapping[str, Any],
) -> None:
    array = group.create_array(
        path,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        dimension_names=dims,
        attributes=dict(attributes),
        fill_value=_fill(values.dtype, path),
        config={"write_empty_chunks": True},
        **_codecs(values.dtype, compression, chunks[-1]),
    )
    if compression == "none" and values.dtype.itemsize > 1:
        _write_plain(array, values)
    elif values.size:
        array[...] = values


def _write_plain(array: zarr.Array[Any], values: np.ndarray) -> None:
    """The chunks of codecs `bytes, crc32c`, written by hand: much faster than zarr for chunks of a few frames."""
    folder = Path(array.store.root) / array.store_path.path / "c"  # type: ignore[attr-defined]
    for place in np.ndindex(*(-(-length // chunk) for length, chunk in zip(values.shape, array.chunks, strict=True))):
        cut = tuple(slice(n * chunk, (n + 1) * chunk) for n, chunk in zip(place, array.chunks, strict=True))
        block = np.full(array.chunks, array.fill_value, dtype=values.dtype)
        block[tuple(slice(length) for length in values[cut].shape)] = values[cut]
        raw = block.astype(values.dtype.newbyteorder("<")).tobytes()
        file = folder.joinpath(*map(str, place))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(raw + struct.pack("<I", google_crc32c.value(raw)))


def _fill(dtype: np.dtype, path: str) -> Any:
    if path == "step":
        return -1
    if dtype.kind == "f":
        return np.nan
    if dtype.kind == "b":
        return False
    return np.iinfo(dtype).min if dtype.kind == "i" else np.iinfo(dtype).max


def _codecs(dtype: np.dtype, compression: str, chunk_steps: int) -> dict[str, Any]:
    if dtype.itemsize == 1:
        return {"serializer": BytesCodec(), "compressors": [ZstdCodec(), Crc32cCodec()]}
    if compression == "pcodec":
        pages = {"level": 8} if chunk_steps < 512 else {"level": 4, "equal_pages_up_to": chunk_steps}  # as the recorder
        return {"serializer": PCodec(**pages), "compressors": [Crc32cCodec()]}
    if compression == "lz4":
        blosc = BloscCodec(cname="lz4", shuffle="bitshuffle", typesize=dtype.itemsize)
        return {"serializer": BytesCodec(), "compressors": [blosc, Crc32cCodec()]}
    return {"serializer": BytesCodec(), "compressors": [Crc32cCodec()]}
