"""The root document of a run that is open. It is checked before each reading, since another may have replaced it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from analyzer.errors import DamagedStoreError, StoreChangedError
from analyzer.store.arrays import ArrayMetadata
from analyzer.store.chunks import Stamp, document_stamp
from analyzer.store.documents import root_text
from analyzer.store.identity import digest_of, settled
from analyzer.store.schema import MOMENTS_FORMAT, is_url


@dataclass(frozen=True)
class Source:
    """One array of one run: enough to decode its frames in any process.

    Attributes
    ----------
    frames
        Number of frames that were committed when the run was opened.
    segments
        Number and digest of the segments that the run had then (`Store.segments_mark`).
    """

    location: str
    run_id: str
    frames: int
    path: str
    segments: tuple[int, str] = (0, "")


@dataclass
class Root:
    """The root document of a run that is open, and what was parsed from it. Lifetime: until the document changes.

    Attributes
    ----------
    stamp
        Stamp of the document.
    asked
        When the stamp was read, in seconds of the monotonic clock.
    arrays
        Metadata of the arrays that were asked for, by path.
    opened
        Arrays that zarr opened, by path.
    """

    document: dict[str, Any]
    stamp: Stamp
    asked: float
    arrays: dict[str, ArrayMetadata] = field(default_factory=dict)
    opened: dict[str, Any] = field(default_factory=dict)

    @property
    def is_kept_alone(self) -> bool:
        """Whether it describes what was kept of a run without its trajectory."""
        return bool(self.document["attributes"]["format"] == MOMENTS_FORMAT)

    @property
    def nodes(self) -> dict[str, Any]:
        """The consolidated metadata by path."""
        nodes: dict[str, Any] = self.document["consolidated_metadata"]["metadata"]
        return nodes


_ROOTS: dict[tuple[str, str, int, tuple[int, str]], Root] = {}
_MOST_ROOTS = 64
_REMOTE_SECONDS = 1.0
"""Shortest time between two checks of a document behind a URL. When an answer is complete, it is checked once more."""


def root_now(source: Source, *, anew: bool = False) -> Root:
    """The root document as it is now. Its stamp is checked each time; where that changed, the document is read again.

    Raises
    ------
    StoreChangedError
        The document describes another run than was opened, or another continuation of it.
    """
    key = (source.location, source.run_id, source.frames, source.segments)
    held = _ROOTS.get(key)
    now = time.monotonic()
    if held is not None and not anew and is_url(source.location) and now - held.asked < _REMOTE_SECONDS:
        return held
    stamp = document_stamp(source.location)
    if held is not None and stamp and stamp == held.stamp:
        held.asked = now
        return held
    text = root_text(source.location)
    try:
        document = json.loads(text)
        _check_same(source, document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedStoreError(
            f"{source.location}: expected the zarr.json of the run that was opened, got one that cannot be read: "
            f"{one_line(error)}. It was replaced or damaged. Restore it from a copy of the store.",
            location=source.location,
        ) from error
    if len(_ROOTS) >= _MOST_ROOTS:
        _ROOTS.pop(next(iter(_ROOTS)), None)
    _ROOTS[key] = Root(document, stamp, now)
    return _ROOTS[key]


def check_same(source: Source) -> None:
    """Refuse a store whose root document shows that it is not the one that was opened.

    Raises
    ------
    StoreChangedError
    """
    root_now(source, anew=True)


def _check_same(source: Source, document: Any) -> None:
    attributes, (count, digest) = document["attributes"], source.segments
    run_id, listed = attributes.get("run_id", ""), attributes.get("segments", [])
    frames = document["consolidated_metadata"]["metadata"]["step"]["shape"][0]
    found = ""
    if run_id != source.run_id:
        found = str(run_id)
    elif frames < source.frames:
        found = f"{frames} of its {source.frames} frames"
    elif count and (
        digest_of(settled(listed[:count])) != digest or any(s["first_frame"] < source.frames for s in listed[count:])
    ):
        found = "another continuation of it"
    if found:
        raise StoreChangedError(
            f"{source.location}: expected the run {source.run_id}, got {found}. The store was replaced, or resumed "
            "from an earlier frame, since it was opened. Open it again: analyzer.open_run(path)",
            location=source.location,
        )


def one_line(error: BaseException) -> str:
    """The text of an error in one line."""
    text = str(getattr(error, "strerror", None) or error)  # the message names the path of an OSError already
    return " ".join(text.split()).rstrip(".") or type(error).__name__
