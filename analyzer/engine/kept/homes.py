"""Where the sums of a run are kept. Each run has a folder of its own, and no run replaces another.

The folder beside a store is `STORE.moments`, for the run that was kept there first. Another run that is recorded at the
same path gets `STORE.moments/RUN_ID`; a run of the same id with other frames gets `STORE.moments/RUN_ID-2`. Sums may be
all that is left of a run, so nothing here is overwritten or deleted for another run.

A folder holds the run's metadata and scalars beside its sums, so that it opens as a run without the trajectory.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analyzer.engine.kept.cache import SUFFIXES
from analyzer.engine.kept.contents import continues
from analyzer.store.kept import SUFFIX, beside, frames_in, root_of, runs_in
from analyzer.store.names import user_path
from analyzer.store.schema import is_url


def base_of(location: str, run_id: str, chosen: str | None = None) -> Path | None:
    """The folder of kept sums of a store: beside it, or in `chosen`; None for a URL without a chosen folder."""
    if chosen is not None:
        return Path(user_path(chosen)) / f"{run_id}{SUFFIX}"
    return None if is_url(location) else beside(location)


def homes_for(base: Path, document: dict[str, Any]) -> Iterator[Path]:
    """The folders in which sums of a run may lie or may be kept, best first. The last one does not exist yet.

    Parameters
    ----------
    document
        The run's root document as it is now.
    """
    run_id = str(document["attributes"].get("run_id", ""))
    name = run_id if re.fullmatch("[0-9a-f]{32}", run_id) else _plain(run_id)
    others = itertools.chain([name], (f"{name}-{n}" for n in itertools.count(2)))
    for home in itertools.chain([base], (base / other for other in others)):
        if not os.path.lexists(home / "zarr.json"):
            yield home
            if not home.exists():
                return
        elif _is_of(root_of(home), document):
            yield home


def _plain(run_id: str) -> str:
    """A folder's name for a run whose id might be the name of something else there."""
    return hashlib.sha256(run_id.encode()).hexdigest()[:32]


def _is_of(held: dict[str, Any], document: dict[str, Any]) -> bool:
    """Whether a folder was kept of this run, perhaps when it had fewer frames."""
    if not held or held["attributes"].get("run_id") != document["attributes"].get("run_id"):
        return False
    before, after = held["attributes"].get("segments", []), document["attributes"].get("segments", [])
    return continues(before, frames_in(held), after, frames_in(document))


def files_of(home: Path) -> list[Path]:
    """The files of sums in a folder, without those of other runs in folders below it."""
    found = (path for path in (home / "sums").rglob("*") if path.suffix in SUFFIXES)
    return sorted(path for path in found if not path.name.startswith("."))  # those are not finished


def describe(home: Path) -> dict[str, Any]:
    """What a folder of kept sums holds: files and bytes."""
    sizes = [path.stat().st_size for path in files_of(home)]
    return {"folder": str(home), "files": len(sizes), "bytes": sum(sizes)}


_OURS = re.compile(r"zarr\.json|sums/.*\.(sums|pairs|seen)|[^/]+/c/[\d/]+|(.*/)?\.(part-[^/]*|[0-9a-f]{16}\.part[^/]*)")
"""Paths in a folder of kept sums that this package writes: files, and parts of files that were not finished."""


def drop(home: Path) -> int:
    """Delete the sums, metadata and scalars of one folder, but nothing of runs below it; return the bytes of its sums.

    Files that this package did not write stay, and so do their folders.
    """
    freed = sum(path.stat().st_size for path in files_of(home))
    others = {path for path in runs_in(home) if path != home}
    folders = [home]
    for folder, names, files in os.walk(home):
        names[:] = [name for name in names if Path(folder, name) not in others]
        folders += [Path(folder, name) for name in names]
        for path in (Path(folder, name) for name in files):
            if _OURS.fullmatch(path.relative_to(home).as_posix()):
                path.unlink(missing_ok=True)
    for path in reversed(folders):
        with contextlib.suppress(OSError):  # something else lies there
            path.rmdir()
    return freed
