"""Turns chunks into bytes and back, with the codecs of `recorder.codecs`. Pure functions; no file is touched here."""

from __future__ import annotations

import math
import struct
from typing import Any

import google_crc32c
import numpy as np
from pcodec import ChunkConfig, DeltaSpec, ModeSpec, PagingSpec, standalone

from recorder.codecs import Codec, Document, codec_of, pcodec_settings

Array = np.ndarray[Any, Any]

# Adam's velocities are smooth: second differences take less room than first ones. SGD's are not: first differences take
# less. pcodec's "auto" finds the better order, but takes half as long again (189 ms against 129 for a chunk of 48 MB,
# `tests/benchmarks/FIGURES.md`). So both orders are tried on a sample here.
_ORDERS = (2, 1)
_SAMPLE = 1 << 15  # numbers in the sample; smaller chunks than 8 samples are left to "auto"


def encode_chunk(chunk: Array, compression: str, *, draft: bool = False, padded: bool = False) -> bytes:
    """Return the bytes of one whole chunk, checksum included. Releases the GIL while it compresses.

    Parameters
    ----------
    chunk : (…, step) array
    compression : str
    draft : bool
        The chunk will soon be written again: time matters more than size.
    padded : bool
        The last steps hold the fill value.
    """
    chunk = np.ascontiguousarray(chunk)
    codec = codec_of(compression, chunk.itemsize)
    if codec.name == "pcodec":
        settings = pcodec_settings(chunk.shape[-1], draft=draft, padded=padded)
        body: bytes = standalone.simple_compress(chunk.reshape(-1), _tuned(chunk, settings))
    else:
        compressor = _compressor(codec, chunk.itemsize, chunk.shape[-1])
        body = bytes(compressor.encode(chunk)) if compressor else chunk.tobytes()
    return body + struct.pack("<I", google_crc32c.value(body))


def decode_chunk(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], compression: str) -> Array:
    """Return a chunk from its bytes. No more memory is taken than its shape and type say.

    Raises
    ------
    ValueError
        The bytes do not match their checksum, are of another codec, or hold more than the shape.
    """
    body, stored = data[:-4], data[-4:]
    if len(data) < 4 or struct.pack("<I", google_crc32c.value(body)) != stored:
        raise ValueError("the checksum does not hold")
    codec = codec_of(compression, dtype.itemsize)
    chunk: Array = np.zeros(math.prod(shape), dtype)
    if codec.compressor is None:
        chunk[...] = np.frombuffer(body, dtype)
        return chunk.reshape(shape)
    try:
        if codec.name == "pcodec":
            progress = standalone.simple_decompress_into(body, chunk)
            whole = progress.finished and progress.n_processed == chunk.size
        else:
            # refuses what is larger than its target
            _compressor(codec, dtype.itemsize, shape[-1]).decode(body, chunk)
            whole = True
    except RuntimeError as error:  # what the libraries raise for bytes that are no buffer of theirs
        raise ValueError(f"it cannot be decoded ({error})") from error
    if not whole:
        raise ValueError(f"it does not hold {chunk.size:,} numbers")
    return chunk.reshape(shape)


def most_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Return the most bytes that an encoded chunk may have, with any codec: a little more than its values take."""
    held = math.prod(shape) * dtype.itemsize
    return held + held // 8 + (1 << 16)


def _compressor(codec: Codec, itemsize: int, length: int) -> Any:
    """Return the compressor that the codec's Zarr document describes, but for pcodec; None if it compresses nothing.

    A writer of pcodec, which is the usual one, loads no numcodecs: that took 0.07 of the 0.25 s of processor time in
    which a writer started (AMD EPYC; `time python -c 'import recorder.writer.__main__'`).
    """
    if codec.compressor is None:
        return None
    from numcodecs.blosc import Blosc
    from numcodecs.zstd import Zstd

    document = codec.compressor(itemsize, length)
    settings = document["configuration"]
    if document["name"] == "zstd":
        return Zstd(**settings)
    shuffle = {"bitshuffle": Blosc.BITSHUFFLE}[settings["shuffle"]]
    return Blosc(settings["cname"], settings["clevel"], shuffle, settings["blocksize"])  # it sees the size of elements


def _tuned(chunk: Array, settings: Document) -> ChunkConfig:
    """Return pcodec's settings with the order of differences that takes the fewest bytes for a sample of the rows."""
    if chunk.size < 8 * _SAMPLE or chunk.dtype.kind != "f":
        return _config(settings, DeltaSpec.auto())
    rows = chunk.reshape(-1, chunk.shape[-1])
    sample = np.ascontiguousarray(rows[:: -(-chunk.size // _SAMPLE)]).reshape(-1)
    configs = [_config(settings, DeltaSpec.try_consecutive(order)) for order in _ORDERS]
    return min(configs, key=lambda config: len(standalone.simple_compress(sample, config)))


def _config(settings: Document, differences: DeltaSpec) -> ChunkConfig:
    return ChunkConfig(
        compression_level=settings["level"],
        mode_spec={"classic": ModeSpec.classic}[settings["mode_spec"]](),
        delta_spec=differences,
        paging_spec=PagingSpec.equal_pages_up_to(settings["equal_pages_up_to"]),
    )
