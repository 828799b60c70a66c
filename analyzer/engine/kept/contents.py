"""Compare the chunks of a store with those that kept sums were made from, without decoding them.

A file of sums holds the checksums of its chunks. Names would not do: copies, restored backups and branches have the
names of the original, but other chunks. Checksums are read only where a stamp (size and times, or what a listing says)
differs from the one that the last comparison noted.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analyzer.engine.frames import Chunks, Frames
from analyzer.query.groups import Region
from analyzer.store.chunks import checksums, stamps
from analyzer.store.identity import digest_of, settled
from analyzer.store.reading import has_checksums, keys_of
from analyzer.store.roots import Source
from analyzer.store.schema import is_url

_SETTLED_NS = 2_000_000_000
"""A file that changed within this time may change again and keep its time: clocks of file systems are that coarse."""

Continuation = tuple[tuple[int, str], ...]
"""First frame of each segment, and the digest of all segments up to it (`settled` records)."""
Checksums = list[list[str]]
"""Checksums of the chunks of each piece, in order along the steps."""


@dataclass(frozen=True)
class Place:
    """The chunks of one piece over one span."""

    source: Source
    keys: tuple[str, ...]


def places_of(
    regions: Sequence[Region], frames: Sequence[Frames], spans: Sequence[tuple[int, int]]
) -> list[list[Place]]:
    """The chunks of pieces, by their regions, over each of some spans (start, stop)."""
    sources = [some.source for some in frames if isinstance(some, Chunks)]
    by_piece = [
        keys_of(source, [(*region, span) for span in spans]) for source, region in zip(sources, regions, strict=True)
    ]
    return [
        [Place(source, tuple(keys[n])) for source, keys in zip(sources, by_piece, strict=True)]
        for n in range(len(spans))
    ]


def checksums_at(places: Sequence[Place]) -> Checksums:
    """The checksums of chunks as they are in the store now.

    Raises
    ------
    OSError
    """
    return [checksums(p.source.location, p.keys, at_end=has_checksums(p.source)) for p in places]


def noted_of(places: Sequence[Place], noted: dict[str, str]) -> Checksums:
    """The checksums of chunks as they were when they were decoded, by key."""
    return [[noted.get(key, "") for key in place.keys] for place in places]


def look(places: Sequence[Place], listings: dict[str, Any]) -> str:
    """A digest of the stamps of chunks; "" where there are none, or where a file may still change and keep its stamp.

    Parameters
    ----------
    listings
        Stamps that the same question has read before (`analyzer.store.chunks.stamps`); new ones are added.
    """
    found: list[Any] = []
    for place in places:
        of_piece = stamps(place.source.location, f"{place.source.path}/c", place.keys, listings)
        if of_piece is None or not all(of_piece):
            return ""
        found += of_piece
    local = bool(places) and not is_url(places[0].source.location)
    if local and max((max(stamp[1:3]) for stamp in found), default=0) > time.time_ns() - _SETTLED_NS:
        return ""
    return hashlib.sha256(repr(found).encode()).hexdigest()[:32]


def digest(found: Checksums) -> str:
    """A digest of checksums."""
    return digest_of(found)


def continuation(segments: Sequence[Any]) -> Continuation:
    """First frame and digest of each segment of a document, for `segments_until`."""
    known = settled(segments)
    return tuple((int(one["first_frame"]), digest_of(known[: n + 1])) for n, one in enumerate(known))


def segments_until(known: Continuation, stop: int) -> str:
    """A digest of the segments that begin before frame `stop`. Later segments do not affect the frames before it."""
    begun = [mark for first, mark in known if first < stop]
    return begun[-1] if begun else ""


def continues(held: Sequence[Any], frames: int, segments: Sequence[Any], length: int) -> bool:
    """Whether a run of `length` frames with `segments` is the run of `frames` frames with `held`, perhaps resumed."""
    try:
        after = list(segments[len(held) :])
        same = settled(segments[: len(held)]) == settled(held)
        return same and length >= frames and all(int(one["first_frame"]) >= frames for one in after)
    except (TypeError, KeyError, ValueError):
        return False  # they are no segments at all
