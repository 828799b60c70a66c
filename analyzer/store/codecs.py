"""The codecs of the store format (`recorder/FORMAT.md`): one table of those that are decoded here, and not by zarr.

Decoding here lets two threads decode twice as much as one: zarr passes every chunk through one event loop, and copies
it once more. Measured (16 MB chunks, pcodec with shared pages, AMD EPYC, 2 cores): one thread 1.9 GB/s here and 1.7
through zarr, two threads 3.6 and 1.6; pages of one weight take a third longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import google_crc32c
import numpy as np

from analyzer.store.rooms import Rooms
from analyzer.store.trust import Untrusted, blosc_size, gzip_size, require_possible, require_size, zstd_size

Frames = np.ndarray[Any, np.dtype[Any]]
Decoder = Callable[[bytes, np.dtype[Any], int, Frames | None], Frames]
"""Takes the bytes of a chunk with its checksum, the type and the number of its values, and the room that was made for
them (`room_for`); returns the values in one dimension."""
_PCODEC_BATCH = 256
"""pcodec decodes whole batches, or all."""


def _pcodec(raw: bytes, dtype: np.dtype[Any], count: int, room: Frames | None) -> Frames:
    from pcodec import standalone

    # Memory is allocated by the metadata's size, never by the size that the chunk claims. pcodec marks its own end, so
    # the checksum behind it stays: cutting it off would copy.
    values = np.empty(count, dtype) if room is None else room
    found = standalone.simple_decompress_into(raw, values)
    if found.n_processed != values.size or (values.size == count and not found.finished):
        more = "more" if not found.finished else f"{found.n_processed:,}"
        raise Untrusted(f"a chunk of {more} values, and metadata that says {count:,}")
    return values


def _bytes(raw: bytes, dtype: np.dtype[Any], count: int, room: Frames | None) -> Frames:
    return np.frombuffer(memoryview(raw)[:-4], dtype)


def _blosc(raw: bytes, dtype: np.dtype[Any], count: int, room: Frames | None) -> Frames:
    from numcodecs import blosc

    require_size(blosc_size(raw), count * dtype.itemsize)
    return np.frombuffer(blosc.decompress(raw[:-4]), dtype)


def _zstd(raw: bytes, dtype: np.dtype[Any], count: int, room: Frames | None) -> Frames:
    from numcodecs import zstd

    size = zstd_size(raw)
    if size is not None:  # a stream need not say its size; one that decodes to another is refused below
        require_size(size, count * dtype.itemsize)
    values = np.empty(count, dtype)
    zstd.decompress(raw[:-4], values.view(np.uint8))
    return values


DECODERS: dict[tuple[str, ...], Decoder] = {
    ("numcodecs.pcodec", "crc32c"): _pcodec,
    ("bytes", "crc32c"): _bytes,
    ("bytes", "blosc", "crc32c"): _blosc,
    ("bytes", "zstd", "crc32c"): _zstd,
}
"""The function that decodes a chunk with its checksum, by the names of the array's codecs."""

_CONFIGURATIONS: dict[str, dict[str, tuple[type, Container[Any]]]] = {
    "bytes": {"endian": (str, ("little",))},
    "blosc": {
        "typesize": (int, range(1, 256)),
        "cname": (str, ("lz4", "lz4hc", "blosclz", "snappy", "zlib", "zstd")),
        "clevel": (int, range(10)),
        "shuffle": (str, ("noshuffle", "shuffle", "bitshuffle")),
        "blocksize": (int, range(1 << 31)),
    },
    "zstd": {"level": (int, range(23)), "checksum": (bool, (False, True))},
    "numcodecs.pcodec": {
        "level": (int, range(13)),
        "mode_spec": (str, ("auto", "classic")),
        "delta_spec": (str, ("auto", "none", "try_consecutive", "try_lookback")),
        "paging_spec": (str, ("equal_pages_up_to",)),
        "delta_encoding_order": (int, range(8)),
        "equal_pages_up_to": (int, range(1, 1 << 31)),
    },
    "crc32c": {},
}
"""Type and allowed values of each entry in a codec's configuration. Decoding here needs none of them. A configuration
with any other entry is left to zarr, which understands it or says what is wrong."""


def decoder_of(codecs: object) -> Decoder | None:
    """The decoder for the codecs that an array's metadata lists; None where decoding is left to zarr."""
    if not isinstance(codecs, list) or not all(map(_is_plain, codecs)):
        return None
    return DECODERS.get(tuple(codec["name"] for codec in codecs))


def _is_plain(codec: object) -> bool:
    """Whether a codec is one of the format, with a configuration that zarr accepts."""
    if not isinstance(codec, Mapping) or not set(codec) <= {"name", "configuration"}:
        return False
    name, configuration = codec.get("name"), codec.get("configuration", {})
    if not isinstance(name, str) or name not in _CONFIGURATIONS or not isinstance(configuration, Mapping):
        return False
    known = _CONFIGURATIONS[name]
    for key, value in configuration.items():
        kind, allowed = known.get(key, (None, ()))
        if type(value) is not kind or value not in allowed:
            return False
    return True


def room_for(
    decoder: Decoder,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    rows: int | None = None,
    rooms: Rooms | None = None,
) -> Frames | None:
    """Memory for the values of a chunk, or of its first rows, which is made before its bytes are read.

    None for a decoder that brings its own. Values first, then bytes, which go first, and always of one size: so the
    allocator fills the same gaps chunk after chunk. The other way round two threads kept 30 MiB more after 16 chunks
    than after 4.

    Parameters
    ----------
    rooms
        Where the memory comes from; None for the allocator.

    Raises
    ------
    ValueError
        The metadata says more than a chunk may have.
    """
    count = math.prod(shape)
    require_possible(count * dtype.itemsize)
    if decoder is not _pcodec:
        return None
    needed = count if rows is None else count // shape[0] * min(rows, shape[0])
    room = np.empty(count, dtype) if rooms is None else rooms.array(count, dtype)
    return room[: -(-needed // _PCODEC_BATCH) * _PCODEC_BATCH]


def decode(
    raw: bytes,
    decoder: Decoder,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    rows: int | None = None,
    room: Frames | None = None,
) -> Frames:
    """Decode a chunk, or its first rows. Its last four bytes are the checksum of all others.

    Parameters
    ----------
    room
        As `room_for` of the same arguments made it.

    Raises
    ------
    ValueError
        The checksum does not hold, or the chunk has another size; nothing of that size was allocated.
    """
    if len(raw) < 4:
        raise ValueError(f"a chunk of {len(raw)} bytes")
    count = math.prod(shape)
    require_possible(count * dtype.itemsize)
    body = np.frombuffer(raw, np.uint8, len(raw) - 4)
    if google_crc32c.value(body) != int.from_bytes(raw[-4:], "little"):
        raise ValueError("the stored and computed checksums do not match")
    values = decoder(raw, dtype, count, room)
    if rows is None or rows >= shape[0]:
        return values.reshape(shape)
    return values[: count // shape[0] * rows].reshape(rows, *shape[1:])


def checksum_of(raw: bytes, codecs: Sequence[str]) -> str:
    """The checksum of a chunk as text: the one at its end, or one of all its bytes where it ends with none."""
    return (raw[-4:] if codecs[-1:] == ("crc32c",) else google_crc32c.value(raw).to_bytes(4, "little")).hex()


def check_foreign(raw: bytes, codecs: Sequence[str], dtype: np.dtype[Any], count: int) -> None:
    """Refuse a chunk for zarr to decode, if it decodes to another size than `count` values.

    Where the header says no size, as in gzip and zlib, the chunk is decoded once to count, a megabyte at a time. Codecs
    that are not listed here are trusted.

    Raises
    ------
    ValueError
        The size is another one, or the metadata says more than a chunk may have. Nothing of that size was allocated.
    """
    expected = count * dtype.itemsize
    require_possible(expected)
    last = [name for name in codecs if name != "crc32c"][-1:]
    if last == ["numcodecs.pcodec"]:
        _pcodec(raw, dtype, count, None)
    elif last == ["blosc"]:
        require_size(blosc_size(raw), expected)
    elif last == ["zstd"] and (size := zstd_size(raw)) is not None:
        require_size(size, expected)
    elif last and last[0] in ("gzip", "numcodecs.gzip", "numcodecs.zlib"):
        require_size(gzip_size(raw, expected), expected)
