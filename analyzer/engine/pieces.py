"""Pieces and bundles: the weights of a query, cut as they are read and as they travel through the reduction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from analyzer.engine.kept.cache import Shelf
from analyzer.query.groups import Region, Rule, local_groups
from analyzer.store.schema import Parameter

Array = np.ndarray[Any, np.dtype[Any]]

BUNDLE_BYTES = 32 << 20
"""Raw bytes of small tensors that one task decodes together: a hundred times the cost of scheduling the task."""


@dataclass(frozen=True)
class Piece:
    """A region of one parameter that is read at once: whole along its own axes, or one row-cut of them.

    `rule` is None for a piece that the query does not ask for, but whose sums are kept with its neighbours'.
    """

    parameter: str
    shape: tuple[int, ...]
    region: Region
    rule: Rule | None
    dtype: str
    original_dtype: str

    @property
    def weights(self) -> int:
        """Number of weights in the region."""
        return prod(stop - start for start, stop in self.region)

    @property
    def frame_bytes(self) -> int:
        """Raw bytes of one frame."""
        return self.weights * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Bundle:
    """Pieces of one dtype whose weights travel together through the reduction."""

    pieces: tuple[Piece, ...]
    shelf: Shelf | None = None

    @property
    def chosen(self) -> tuple[Piece, ...]:
        """The pieces that the query asks for."""
        return tuple(piece for piece in self.pieces if piece.rule is not None)

    @property
    def fills(self) -> bool:
        """Whether the other pieces are read as well, so that their sums are kept: only if they are the smaller part."""
        asked = sum(piece.frame_bytes for piece in self.chosen)
        return self.shelf is not None and 2 * asked >= sum(piece.frame_bytes for piece in self.pieces)


@lru_cache(maxsize=256)
def bundle_pieces(bundle: Bundle) -> Array:
    """Number of the chosen piece of every chosen weight of a bundle (weights,)."""
    weights = [piece.weights for piece in bundle.chosen]
    return np.repeat(np.arange(len(weights)), weights)


@lru_cache(maxsize=256)
def bundle_groups(bundle: Bundle) -> tuple[Array, Array]:
    """Local group of every chosen weight of a bundle (weights,), and the groups' numbers in the query (groups,)."""
    labels, numbers, base = [], [], 0
    for piece in bundle.chosen:
        local, number = piece_groups(piece)
        labels.append(local + base)
        numbers.append(number)
        base += number.size
    return np.concatenate(labels), np.concatenate(numbers)


def piece_groups(piece: Piece) -> tuple[Array, Array]:
    """Local group of every weight of a chosen piece (weights,), and the groups' numbers in the query (groups,)."""
    assert piece.rule is not None
    return local_groups(piece.rule, piece.shape, piece.region)


def chunk_count(parameter: Parameter) -> int:
    """Number of regions that `chunk_regions` yields."""
    lengths = zip(parameter.shape, parameter.chunks[:-1], strict=True)
    return prod(-(-extent // length) for extent, length in lengths)


def chunk_regions(parameter: Parameter) -> Iterator[Region]:
    """The regions of a parameter's own axes that one chunk holds; none for a parameter without weights."""
    counts = [-(-extent // length) for extent, length in zip(parameter.shape, parameter.chunks[:-1], strict=True)]
    for place in _places(counts):
        axes = zip(place, parameter.shape, parameter.chunks[:-1], strict=True)
        yield tuple((at * length, min((at + 1) * length, extent)) for at, extent, length in axes)


def _places(counts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield every place of a grid, in C order. `itertools.product` would first list every axis, of any length."""
    if not counts:
        yield ()
        return
    for at in range(counts[0]):
        for rest in _places(counts[1:]):
            yield (at, *rest)


def bundled(pieces: Sequence[Piece], frames: int) -> list[tuple[Piece, ...]]:
    """Join neighbouring pieces of one dtype into bundles, each with at most `BUNDLE_BYTES` in `frames` frames."""
    bundles: list[list[Piece]] = []
    filled = 0
    for piece in pieces:
        size = piece.frame_bytes * frames
        kind = (piece.dtype, piece.original_dtype)
        same = bundles and (bundles[-1][0].dtype, bundles[-1][0].original_dtype) == kind
        if not same or filled + size > BUNDLE_BYTES:
            bundles.append([])
            filled = 0
        bundles[-1].append(piece)
        filled += size
    return [tuple(pieces) for pieces in bundles]
