"""Compare chunks with the root document. In a copy that was made while the store was written, they may be older."""

from __future__ import annotations

from collections.abc import Iterator

import google_crc32c

from analyzer.errors import AnalyzerError
from analyzer.store.chunks import checksums
from analyzer.store.reading import Region, keys_of, open_array, source_of
from analyzer.store.schema import Store


def outdated(store: Store) -> list[str]:
    """Return a sentence on each chunk that is not the one that the root document was published with.

    Only chunks that are full are compared: they never change once they are published (`recorder/FORMAT.md`,
    `chunk_checksums`). Stores of earlier versions name no checksums.
    """
    expected = store.attrs.get("chunk_checksums")
    if not isinstance(expected, list):
        return []
    faults = []
    for chunk in range(min(store.frames // store.chunk_steps, len(expected))):
        start = chunk * store.chunk_steps
        try:
            tails = list(_tails(store, start, start + store.chunk_steps))
        except (OSError, AnalyzerError):
            continue  # the walk names a chunk that cannot be read
        if not all(tails):
            continue  # and one that is missing
        found = b"".join(tails)
        if google_crc32c.value(found) != expected[chunk]:
            faults.append(
                f"frames {start:,} to {start + store.chunk_steps - 1:,}: expected the chunks that were published, got "
                "others. The store was copied while it was written, or chunks were replaced. Copy it again."
            )
    return faults


def _tails(store: Store, start: int, stop: int) -> Iterator[bytes]:
    """The last four bytes of every object of a chunk of the store, arrays in the order of their paths."""
    shapes = {"step": (), **{s.path: s.shape[1:] for s in store.scalars}}
    own = {p.path: p.shape for p in store.parameters}
    for path in sorted([*shapes, *own]):
        source = source_of(store, path)
        rest: Region = tuple((0, length) for length in shapes.get(path, own.get(path, ())))
        first = open_array(source).attributes.get("first_frame", 0)
        if isinstance(first, int) and first >= stop:
            continue
        region = ((start, stop), *rest) if path in shapes else (*rest, (start, stop))
        (keys,) = keys_of(source, [region])
        for tail in checksums(source.location, keys):
            yield bytes.fromhex(tail)
