"""Store format v1 as documents and chunk bytes: pure functions, no file is touched here. `FORMAT.md` is the
normative text.

The documents are built here, not by the zarr package, because a commit replaces the one root document with new
lengths for all arrays at once, and because the writer then starts in 0.2 s. The contract tests hold them against
zarr's own.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import google_crc32c
import numpy as np
from numcodecs.blosc import Blosc
from numcodecs.pcodec import PCodec
from numcodecs.zstd import Zstd

from recorder.schema import Parameter

# How a chunk was encoded, its bytes say: readers need no setting.
#
# A page for each weight: weights differ in size and in how they move, and the bins of one fit no other. Measured on the
# GCN (`tests/benchmarks/recorder_size.py`): against pages of 262,144 numbers at level 8, one page a weight at level 4
# takes 0 to 22 % less room in 0.95 of the time (chunks of 1,024 steps); decoding is a third slower. Pages of fewer
# than 512 numbers do not pay for their bins, pages of several weights pay for the jumps between them, and so does one
# that ends in NaN padding (`tests/recorder/test_store.py`): a run's last chunk has shared pages.
_PAGED_STEPS = 512
_PAGE = 1 << 18  # numbers, where weights share pages
# A draft will be written again, fuller: level 2 takes two thirds of the time for 8 % more bytes. Where weights share
# pages, bytes grow fast below level 4; at levels 0 and 1 nothing is compressed at all.
_LEVEL, _DRAFT_LEVEL = 4, 2
_SHARED_LEVEL, _SHARED_DRAFT_LEVEL = 8, 4
# Adam's velocities are smooth: second differences are 5 % smaller than first. SGD's are not: first differences are 5
# to 15 % smaller than second. pcodec's "auto" takes the better one, for 47 % more time (189 ms against 129 for 48 MB);
# here both are tried on a sample instead.
_ORDERS = (2, 1)
_SAMPLE = 1 << 15  # numbers; "auto" for chunks that are not many times larger


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array of the store, except for its length along `step`.

    Attributes
    ----------
    path : str
    dtype : numpy.dtype
    shape : tuple of int
        Own axes; `step` stands after them, or before them where `step_first`.
    chunks : tuple of int
        Chunk shape, `step` included.
    dimensions : tuple of str
        `step` included.
    attributes : dict
    compression : str
    step_first : bool
        Only `learning_rate` has `step` first.
    """

    path: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dimensions: tuple[str, ...]
    attributes: Mapping[str, Any]
    compression: str
    step_first: bool = False

    def full_shape(self, frames: int) -> tuple[int, ...]:
        return (frames, *self.shape) if self.step_first else (*self.shape, frames)


def parameter_path(name: str) -> str:
    """Return the path of a parameter in the store: `conv1.lin.weight` → `parameters/conv1/lin/weight`."""
    return "/".join(["parameters", *(_encode_part(part) for part in name.split("."))])


def _encode_part(part: str) -> str:
    # A group named `step` would hide the root's coordinate from every reader of the tree; zarr keeps `__` for itself.
    if part == "step" or part.startswith("__"):
        return f"%{ord(part[0]):02X}{part[1:]}"
    return quote(part, safe="").replace("~", "%7E").replace(".", "%2E")


def parameter_spec(parameter: Parameter, chunks: tuple[int, ...], compression: str) -> ArraySpec:
    names = [*("row", "col")[: len(parameter.shape)], *(str(axis) for axis in range(2, len(parameter.shape)))]
    optional = {"heads": parameter.heads, "head_axis": parameter.head_axis, "concat": parameter.concat}
    return ArraySpec(
        path=parameter_path(parameter.name),
        dtype=parameter.stored_dtype,
        shape=parameter.shape,
        chunks=chunks,
        dimensions=(*(f"{parameter.name}_{name}" for name in names), "step"),
        attributes={
            "name": parameter.name,
            "layer": parameter.layer,
            "layer_class": parameter.layer_class,
            "module": parameter.module,
            "module_class": parameter.module_class,
            "axes": list(parameter.axes),
            "original_dtype": parameter.dtype,
            "requires_grad": parameter.requires_grad,
            "aliases": list(parameter.aliases),
        }
        | {key: value for key, value in optional.items() if value is not None},
        compression=compression,
    )


def step_spec(chunk_steps: int) -> ArraySpec:
    attributes = {"long_name": "optimizer step", "units": "step"}
    return ArraySpec("step", np.dtype(np.int64), (), (chunk_steps,), ("step",), attributes, "pcodec")


def learning_rate_spec(chunk_steps: int, param_groups: int) -> ArraySpec:
    return ArraySpec(
        "learning_rate",
        np.dtype(np.float64),
        (param_groups,),
        (chunk_steps, param_groups),
        ("step", "param_group"),
        {"long_name": "learning rate"},
        "pcodec",
        step_first=True,
    )


def scalar_spec(name: str, chunk_steps: int, first_frame: int) -> ArraySpec:
    attributes = {"long_name": name, "first_frame": first_frame}
    return ArraySpec(name, np.dtype(np.float64), (), (chunk_steps,), ("step",), attributes, "pcodec")


def array_document(spec: ArraySpec, frames: int) -> dict[str, Any]:
    """Return the Zarr v3 metadata of an array that is `frames` long."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(spec.full_shape(frames)),
        "data_type": spec.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(spec.chunks)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": "NaN" if spec.dtype.kind == "f" else fill_value(spec),
        "codecs": _codec_documents(spec),
        "attributes": dict(spec.attributes),
        "dimension_names": list(spec.dimensions),
        "storage_transformers": [],
    }


def group_document(attributes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}


def group_paths(paths: Sequence[str]) -> list[str]:
    """Return every group above the arrays at `paths`, root excluded, parents first."""
    groups = {path.rsplit("/", depth)[0] for path in paths for depth in range(1, path.count("/") + 1)}
    return sorted(groups | {"parameters"})


def root_document(attributes: Mapping[str, Any], specs: Sequence[ArraySpec], frames: int) -> dict[str, Any]:
    """Return the root's metadata with that of the whole hierarchy: replacing this one document publishes `frames`
    frames.
    """
    members: dict[str, Any] = {"parameters": group_document()}
    # Depth first, as the model lists its parameters: zarr's reader takes the children of a group, at one depth, for one
    # consecutive run, and ours takes the order for the model's.
    for spec in specs:
        for depth in range(2, spec.path.count("/") + 1):
            members.setdefault("/".join(spec.path.split("/")[:depth]), group_document())
        members[spec.path] = array_document(spec, frames)
    consolidated = {"kind": "inline", "must_understand": False, "metadata": members}
    return group_document(attributes) | {"consolidated_metadata": consolidated}


def fill_value(spec: ArraySpec) -> Any:
    """Return what stands where nothing was written: never a value that could pass for a weight of zero."""
    if spec.path == "step":
        return -1
    if spec.dtype.kind == "f":
        return np.nan
    if spec.dtype.kind == "b":
        return False
    info = np.iinfo(spec.dtype)
    return info.min if spec.dtype.kind == "i" else info.max


def _is_byte_type(dtype: np.dtype[Any]) -> bool:
    return dtype.itemsize == 1


def _codec_documents(spec: ArraySpec) -> list[dict[str, Any]]:
    dtype = spec.dtype
    crc: dict[str, Any] = {"name": "crc32c"}
    raw: dict[str, Any] = (
        {"name": "bytes"} if _is_byte_type(dtype) else {"name": "bytes", "configuration": {"endian": "little"}}
    )
    if _is_byte_type(dtype):
        return [raw, {"name": "zstd", "configuration": {"level": 3, "checksum": False}}, crc]
    if spec.compression == "pcodec":
        return [{"name": "numcodecs.pcodec", "configuration": _pcodec_settings(spec.chunks[-1])}, crc]
    if spec.compression == "lz4":
        blosc = {"typesize": dtype.itemsize, "cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "blocksize": 0}
        return [raw, {"name": "blosc", "configuration": blosc}, crc]
    return [raw, crc]


def _pcodec_settings(length: int, *, draft: bool = False, padded: bool = False) -> dict[str, Any]:
    """Return pcodec's settings for a chunk whose last axis is so long, in the words of its zarr document."""
    if length >= _PAGED_STEPS and not padded:
        level, page = _DRAFT_LEVEL if draft else _LEVEL, length
    else:
        level, page = _SHARED_DRAFT_LEVEL if draft else _SHARED_LEVEL, _PAGE
    return {"level": level, "mode_spec": "classic", "delta_spec": "auto", "equal_pages_up_to": page}


def encode_chunk(chunk: np.ndarray[Any, Any], compression: str, *, draft: bool = False, padded: bool = False) -> bytes:
    """Return the bytes of one whole chunk, checksum included. Releases the GIL while it compresses.

    Parameters
    ----------
    chunk : (…, step) array
    compression : str
    draft : bool
        The chunk will soon be written again: sooner done is worth more than smaller.
    padded : bool
        The fill value stands at its last steps.
    """
    chunk = np.ascontiguousarray(chunk)
    compressor = _compressor(chunk.dtype, compression)
    if isinstance(compressor, PCodec):
        compressor = _tuned(chunk, _pcodec_settings(chunk.shape[-1], draft=draft, padded=padded))
    body = bytes(compressor.encode(chunk)) if compressor else chunk.tobytes()
    return body + struct.pack("<I", google_crc32c.value(body))


def _tuned(chunk: np.ndarray[Any, Any], settings: dict[str, Any]) -> PCodec:
    """Return the codec with the order of differences that makes some of the chunk's rows smallest."""
    if chunk.size < 8 * _SAMPLE or chunk.dtype.kind != "f":
        return PCodec(**settings)
    rows = chunk.reshape(-1, chunk.shape[-1])
    sample = np.ascontiguousarray(rows[:: -(-chunk.size // _SAMPLE)])
    tuned = settings | {"delta_spec": "try_consecutive"}
    codecs = [PCodec(**tuned, delta_encoding_order=order) for order in _ORDERS]
    return min(codecs, key=lambda codec: len(codec.encode(sample)))


def decode_chunk(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], compression: str) -> np.ndarray[Any, Any]:
    """Return a chunk from its bytes.

    Raises
    ------
    ValueError
        The checksum does not hold.
    """
    body, stored = data[:-4], data[-4:]
    if len(data) < 4 or struct.pack("<I", google_crc32c.value(body)) != stored:
        raise ValueError("the checksum does not hold")
    compressor = _compressor(dtype, compression)
    decoded = compressor.decode(body) if compressor else body
    return np.frombuffer(decoded, dtype).reshape(shape).copy()


def _compressor(dtype: np.dtype[Any], compression: str) -> Any:
    if _is_byte_type(dtype):
        return Zstd(level=3)
    if compression == "pcodec":
        return PCodec()  # of decoding: the bytes say how they were encoded
    if compression == "lz4":
        return Blosc("lz4", clevel=5, shuffle=Blosc.BITSHUFFLE)
    return None
