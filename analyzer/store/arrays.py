"""The metadata of one array that reading needs: parsed here, or by zarr.

Arrays of the format are parsed here, since importing zarr takes longer than a question from kept sums. zarr parses any
other document, and says what is wrong with a damaged one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.store.codecs import DECODERS, Decoder, decoder_of
from analyzer.store.trust import most_stored

if TYPE_CHECKING:
    from zarr.core.metadata.v3 import ArrayV3Metadata

_KEYS = {"name": "default", "configuration": {"separator": "/"}}
_MEMBERS = {
    "zarr_format",
    "node_type",
    "shape",
    "data_type",
    "chunk_grid",
    "chunk_key_encoding",
    "fill_value",
    "codecs",
    "attributes",
    "dimension_names",
    "storage_transformers",
}
_FLOATS = {"float16", "float32", "float64"}
_INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_NOT_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True)
class ArrayMetadata:
    """How the frames of an array lie in its store.

    Attributes
    ----------
    chunks
        Shape of a chunk.
    fill_value
        What zarr reads where a chunk is missing.
    names
        Names of the dimensions.
    attributes
        The attributes of the array.
    decoder
        Turns a chunk's bytes into its values; None where zarr decodes.
    chunk_key
        Turns a position in the grid of chunks into the key of the chunk, relative to the array.
    codecs
        Names of the codecs.
    """

    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    fill_value: Any
    names: tuple[str | None, ...]
    attributes: Mapping[str, Any]
    decoder: Decoder | None
    chunk_key: Callable[[tuple[int, ...]], str]
    codecs: tuple[str, ...] = ()

    @property
    def most_stored(self) -> int:
        """Largest number of bytes that a chunk may take in the store."""
        return most_stored(math.prod(self.chunks) * self.dtype.itemsize)

    @property
    def step_axis(self) -> int:
        """Number of the axis `step`; the last where no axis has that name."""
        return self.names.index("step") if "step" in self.names else len(self.chunks) - 1


def read_metadata(node: Mapping[str, Any]) -> ArrayMetadata | None:
    """Parse the document of an array of the format; None where zarr has to parse it."""
    try:
        return _of_the_format(node)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _of_the_format(node: Mapping[str, Any]) -> ArrayMetadata | None:
    shape, chunks = node["shape"], node["chunk_grid"]["configuration"]["chunk_shape"]
    names, attributes = node["dimension_names"], node.get("attributes", {})
    decoder = decoder_of(node["codecs"])
    known = (
        set(node) <= _MEMBERS
        and (node["zarr_format"], node["node_type"]) == (3, "array")
        and set(node["chunk_grid"]) == {"name", "configuration"}
        and node["chunk_grid"]["name"] == "regular"
        and set(node["chunk_grid"]["configuration"]) == {"chunk_shape"}
        and node["chunk_key_encoding"] == _KEYS
        and node.get("storage_transformers", []) == []
        and all(type(n) is int and n >= 0 for n in shape)
        and all(type(n) is int and n >= 1 for n in chunks)
        and isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and len(shape) == len(chunks) == len(names)
        and isinstance(attributes, dict)
    )
    if not known or decoder is None:
        return None
    dtype = node["data_type"]
    fill = _fill_value(dtype, node["fill_value"])
    if fill is None:
        return None
    codecs = tuple(codec["name"] for codec in node["codecs"])
    return ArrayMetadata(tuple(chunks), np.dtype(dtype), fill, tuple(names), attributes, decoder, _default_key, codecs)


def _fill_value(dtype: object, given: Any) -> Any:
    """The fill value as an element of the array; None where it is not written as the format writes it."""
    kind: Any = np.dtype(dtype).type if dtype in _FLOATS | _INTEGERS | {"bool"} else None
    if dtype in _FLOATS and given in _NOT_NUMBERS:
        return kind(_NOT_NUMBERS[given])
    if dtype in _FLOATS and type(given) in (int, float) and abs(given) <= float(np.finfo(kind).max):
        return kind(given)
    if (dtype in _INTEGERS and type(given) is int) or (dtype == "bool" and type(given) is bool):
        return kind(given)
    return None


def _default_key(position: tuple[int, ...]) -> str:
    return "c/" + "/".join(map(str, position)) if position else "c"


def zarr_metadata(metadata: ArrayV3Metadata) -> ArrayMetadata:
    """The metadata of any array, as zarr understood it."""
    codecs = [codec.to_dict() for codec in metadata.codecs]
    names = tuple(str(codec["name"]) for codec in codecs)
    little = all(codec.get("configuration", {}).get("endian") != "big" for codec in codecs)  # type: ignore[union-attr]
    known = little and metadata.chunk_key_encoding.to_dict() == _KEYS
    return ArrayMetadata(
        chunks=metadata.chunks,
        dtype=metadata.dtype.to_native_dtype(),
        fill_value=metadata.fill_value,
        names=tuple(metadata.dimension_names or ()),
        attributes=metadata.attributes,
        decoder=DECODERS.get(names) if known else None,
        chunk_key=metadata.encode_chunk_key,
        codecs=names,
    )
