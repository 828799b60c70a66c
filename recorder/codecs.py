"""The codecs of a store in one table: every choice, check, help text, document and encoder follows from it.

The table is data. The training process reads it and loads no codec; `recorder.writer.encoding` loads what a row names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# The bytes of a pcodec chunk say how they were encoded: readers need no setting.
#
# Each weight has a page of its own: weights differ in size and in how they move, and bins that fit one fit no other. On
# the GCN (`tests/benchmarks/FIGURES.md`, "Lossless size"), chunks of 1,024 steps, this takes 0 to 22 % less room at
# level 4 than pages of 262,144 numbers at level 8. It encodes faster, and decodes a third slower. In two cases weights
# share pages (`tests/recorder/writer/test_store.py`), because a page of one weight does not pay for its bins: if it has
# fewer than 512 numbers, and if it ends in NaN padding, as in a run's last chunk.
PAGED_STEPS = 512
_SHARED_PAGE = 1 << 18  # numbers
# A draft will soon be written again, with more frames in it: level 2 takes two thirds of the time, and a few percent
# more bytes. In shared pages the bytes grow fast below level 4, and levels 0 and 1 compress nothing.
_LEVEL, _DRAFT_LEVEL = 4, 2
_SHARED_LEVEL, _SHARED_DRAFT_LEVEL = 8, 4

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Codec:
    """One way to turn the chunks of an array into bytes.

    Attributes
    ----------
    name : str
        What `compression=` and the store's attribute `compression` call it.
    purpose : str
        Why one would choose it.
    compressor : function, optional
        Takes the bytes of an element and the length of a chunk's last axis; returns the compressor's Zarr document.
    takes_arrays : bool
        The compressor takes the array itself, so that no `bytes` codec stands before it.
    ratio : float
        Bytes before compression divided by bytes after, as a plan expects them; NaN where nobody can choose the codec.
    rate : float
        Bytes a second that a plan expects one core to encode and write; NaN likewise.
    """

    name: str
    purpose: str
    compressor: Callable[[int, int], Document] | None = None
    takes_arrays: bool = False
    ratio: float = math.nan
    rate: float = math.nan

    def documents(self, itemsize: int, length: int) -> list[Document]:
        """Return the Zarr documents of the codecs in the order of encoding; the last is the checksum.

        Parameters
        ----------
        itemsize : int
            Bytes of an element.
        length : int
            Chunk length of the array's last axis.
        """
        order = {} if itemsize == 1 else {"configuration": {"endian": "little"}}
        first = [] if self.takes_arrays else [{"name": "bytes", **order}]
        compressors = [] if self.compressor is None else [self.compressor(itemsize, length)]
        return [*first, *compressors, {"name": "crc32c"}]


def pcodec_settings(length: int, *, draft: bool = False, padded: bool = False) -> dict[str, Any]:
    """Return pcodec's settings for a chunk.

    Parameters
    ----------
    length : int
        Chunk length of the array's last axis.
    draft, padded : bool
        See `recorder.writer.encoding.encode_chunk`.
    """
    if length >= PAGED_STEPS and not padded:
        level, page = _DRAFT_LEVEL if draft else _LEVEL, length
    else:
        level, page = _SHARED_DRAFT_LEVEL if draft else _SHARED_LEVEL, _SHARED_PAGE
    return {"level": level, "mode_spec": "classic", "delta_spec": "auto", "equal_pages_up_to": page}


def _pcodec(itemsize: int, length: int) -> Document:
    return {"name": "numcodecs.pcodec", "configuration": pcodec_settings(length)}


def _lz4(itemsize: int, length: int) -> Document:
    settings = {"typesize": itemsize, "cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "blocksize": 0}
    return {"name": "blosc", "configuration": settings}


def _zstd(itemsize: int, length: int) -> Document:
    return {"name": "zstd", "configuration": {"level": 3, "checksum": False}}


# Ratios are the lowest on the paper's GCN under Adam (`tests/benchmarks/FIGURES.md`, "Lossless size"). Rates are rough:
# `recorder plan` times its codec on the machine itself.
CODECS = {
    codec.name: codec
    for codec in (
        Codec("pcodec", "smallest", _pcodec, takes_arrays=True, ratio=1.9, rate=250e6),
        Codec("lz4", "larger, nearly three times as fast to write", _lz4, ratio=1.55, rate=700e6),
        Codec("none", "fastest to write", ratio=1.0, rate=1000e6),
    )
}
DEFAULT = "pcodec"
BYTES = Codec("zstd", "8-bit types and booleans, whatever the choice", _zstd)


def codec_of(compression: str, itemsize: int) -> Codec:
    """Return the codec of an array: the chosen one, unless an element has only one byte."""
    return BYTES if itemsize == 1 else CODECS[compression]
