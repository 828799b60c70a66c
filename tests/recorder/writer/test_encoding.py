"""Chunks become bytes, and bytes the same chunks."""

from __future__ import annotations

import struct

import google_crc32c
import numpy as np
import pytest
from numcodecs.pcodec import PCodec

from recorder.codecs import CODECS, PAGED_STEPS, pcodec_settings
from recorder.writer.encoding import _SAMPLE, decode_chunk, encode_chunk
from tests.recorder.writer.test_store import STEPS, smooth


@pytest.mark.parametrize("draft", [False, True])
@pytest.mark.parametrize("compression", CODECS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "int8", "bool"])
@pytest.mark.parametrize("rows", [1, 6000], ids=["small", "sampled"])
def test_every_chunk_comes_back_bit_for_bit(dtype, compression, draft, rows):
    noise = np.random.default_rng(0).integers(0, 256, rows * STEPS * np.dtype(dtype).itemsize, dtype=np.uint8)
    chunk = (noise % 2 if dtype == "bool" else noise).view(dtype).reshape(rows, STEPS)
    data = encode_chunk(chunk, compression, draft=draft)
    assert decode_chunk(data, chunk.dtype, chunk.shape, compression).tobytes() == chunk.tobytes()


@pytest.mark.parametrize("compression", ["pcodec", "lz4", "none"])
@pytest.mark.parametrize("dtype", ["f4", "?"])
def test_bytes_of_another_codec_are_refused_though_their_checksum_holds(compression, dtype):
    """Whoever made the store: what cannot be decoded is one error."""
    body = b"no buffer of any codec, " * 3
    data = body + struct.pack("<I", google_crc32c.value(body))
    with pytest.raises(ValueError, match=r"."):
        decode_chunk(data, np.dtype(dtype), (4, 64), compression)


@pytest.mark.parametrize("steps", [STEPS, PAGED_STEPS])
@pytest.mark.parametrize("order", [1, 2])
def test_the_better_order_of_differences_is_found_on_a_sample(order, steps):
    """The chunk is as small as with pcodec's own search, which looks at all of it."""
    chunk = smooth(order, 6000, steps)
    assert chunk.size > 8 * _SAMPLE
    thorough = len(PCodec(**pcodec_settings(steps)).encode(chunk))
    other = pcodec_settings(steps) | {"delta_spec": "try_consecutive", "delta_encoding_order": 3 - order}
    assert len(encode_chunk(chunk, "pcodec")) <= 1.002 * thorough < 0.98 * len(PCodec(**other).encode(chunk))


def test_weights_that_move_differently_have_pages_of_their_own():
    """Gaussian steps of σ_k spacings each, σ from 2⁴ to 2¹⁴: the entropy is the mean of log2(σ_k √(2πe)) bits a number.

    Pages that weights share are coded for the mixture of all σ.
    """
    spacing, steps = 2.0**-23, 1024  # of float32 from 1 to 2
    sizes = np.exp2(np.linspace(4, 14, 500))
    walk = np.random.default_rng(0).normal(0, sizes[:, None], (500, steps)).round().cumsum(axis=1)
    chunk = (1.5 + spacing * walk).astype(np.float32)
    assert (np.spacing(chunk) == spacing).all()
    entropy = steps / 8 * np.log2(sizes * np.sqrt(2 * np.pi * np.e)).sum()
    assert entropy < len(encode_chunk(chunk, "pcodec")) < 1.05 * entropy
    assert len(PCodec(**pcodec_settings(STEPS)).encode(chunk)) > 1.06 * entropy


def test_padding_does_not_make_the_last_chunk_of_a_run_larger():
    chunk = smooth(2, 1000, 1024)
    chunk[:, 700:] = np.nan
    shared = len(PCodec(**pcodec_settings(STEPS)).encode(chunk))
    assert len(encode_chunk(chunk, "pcodec", padded=True)) <= 1.002 * shared < 0.95 * len(encode_chunk(chunk, "pcodec"))
