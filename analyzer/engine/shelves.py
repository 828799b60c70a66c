"""Find the kept sums of a question: a folder with sums of these frames, and a shelf in it for each bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analyzer.engine.frames import Frames
from analyzer.engine.kept.cache import OTHER, SAME, SUFFIXES, Extent, Look, Shelf, compare, shelf_folder
from analyzer.engine.kept.contents import Place, continuation, look, places_of
from analyzer.engine.kept.earlier import earlier_homes, link
from analyzer.engine.kept.homes import homes_for
from analyzer.engine.pieces import Bundle
from analyzer.engine.sums import KERNELS
from analyzer.store.roots import Source, root_now
from analyzer.store.schema import Store


@dataclass(frozen=True)
class Files:
    """The files of sums that each bundle of a question has.

    Attributes
    ----------
    extents
        One for each file.
    length
        Frames of a long task, which the folders' names depend on.
    suffix
        Of the files' names.
    """

    extents: Sequence[Extent]
    length: int
    suffix: str = SUFFIXES[0]


def shelves_for(
    base: Path,
    store: Store,
    source: Source,
    bundles: Sequence[Bundle],
    frames: Sequence[Sequence[Frames]],
    files: Files,
    listings: dict[str, Any],
) -> tuple[Path, list[Bundle]]:
    """The folder in which sums of a run are kept, and the bundles with their shelves in it, and what lies there.

    A folder with sums of other frames, for example of a copy that was edited, is left alone.

    Parameters
    ----------
    source
        Any array of the run.
    files
        Those that a bundle has.
    listings
        Stamps that other plans of the same question have read (`analyzer.store.chunks.stamps`); new ones are added.
    """
    extents = files.extents

    def shelf(home: Path, bundle: Bundle, run_id: str = store.run_id) -> Shelf:
        content = (files.length, [(p.parameter, p.region, p.dtype, p.original_dtype) for p in bundle.pieces])
        folder = shelf_folder(home, run_id, content, alone=not store.is_trajectory)
        segments = continuation(store.attrs.get("segments", []))
        versions = (KERNELS, int(store.attrs.get("format_version", 1)))
        alone = not store.is_trajectory
        return Shelf(str(folder), segments, versions, store.chunk_steps, alone=alone, suffix=files.suffix)

    if not store.is_trajectory:
        return base, [replace(bundle, shelf=shelf(base, bundle)) for bundle in bundles]
    bounds = [(extent.first, extent.stop) for extent in extents]
    places = [
        places_of([piece.region for piece in bundle.pieces], some, bounds)
        for bundle, some in zip(bundles, frames, strict=True)
    ]
    stamps = [[look(place, listings) for place in of_bundle] for of_bundle in places]
    best: tuple[int, Path, list[Shelf]] | None = None
    document, every = root_now(source).document, len(bundles) * len(extents)
    for home in homes_for(base, document):
        looked = [
            _looked_through(shelf(home, bundle), extents, of_bundle, stamped)
            for bundle, of_bundle, stamped in zip(bundles, places, stamps, strict=True)
        ]
        kept = sum(standing == SAME for _, found in looked for standing in found)
        if not any(OTHER in found for _, found in looked) and (best is None or kept > best[0]):
            best = (kept, home, [one for one, _ in looked])
        if kept == every:
            break
    assert best is not None, "the last folder does not exist yet, so it holds no sums of other frames"
    if best[0] < every:
        for before, run_id in earlier_homes(base, document):
            for bundle, one, of_bundle, stamped in zip(bundles, best[2], places, stamps, strict=True):
                _take_over(shelf(before, bundle, run_id), one, extents, of_bundle, stamped)
    return best[1], [replace(bundle, shelf=one) for bundle, one in zip(bundles, best[2], strict=True)]


def _looked_through(
    one: Shelf, extents: Sequence[Extent], places: Sequence[list[Place]], stamps: Sequence[str]
) -> tuple[Shelf, list[str]]:
    """A shelf that knows what lies in it, and how each of its files compares with the chunks of the store."""
    compared = [compare(one, *of_file) for of_file in zip(extents, places, stamps, strict=True)]
    looks = {
        extent.start: Look(stamp, known) for extent, stamp, (_, known) in zip(extents, stamps, compared, strict=True)
    }
    return replace(one, looks=looks), [standing for standing, _ in compared]


def _take_over(
    old: Shelf, one: Shelf, extents: Sequence[Extent], places: Sequence[list[Place]], stamps: Sequence[str]
) -> None:
    """Link the files that a shelf lacks from that of an earlier state of the run, if they are of the same chunks."""
    for extent, place, stamp in zip(extents, places, stamps, strict=True):
        if one.has(extent.start):
            continue
        standing, known = compare(old, extent, place, stamp)
        if standing == SAME and link(old.file(extent.start), one.file(extent.start)):
            one.looks[extent.start] = Look(stamp, known)  # type: ignore[index]
