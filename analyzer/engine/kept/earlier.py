"""Kept sums of a run from before it was cut. Those of chunks that are still part of the run are used again.

A training that was resumed from an older frame gives its store another `run_id` (`recorder/FORMAT.md`, "Resumption"),
and with it a new folder of kept sums. A file of sums holds the checksums of its chunks, so files of unchanged chunks
are linked into the new folder.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analyzer.store.files import temporary_file
from analyzer.store.kept import root_of, runs_in


def earlier_homes(base: Path, document: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """The folders of kept sums of a run under the ids that it had before it was cut, newest first; each with its id.

    Parameters
    ----------
    document
        The run's root document as it is now.
    """
    listed = document["attributes"].get("attempts")
    entries = listed if isinstance(listed, list) else []
    found = [one.get("cut_from") for one in entries if isinstance(one, dict)]
    ids = [one for one in reversed(found) if isinstance(one, str) and re.fullmatch("[0-9a-f]{32}", one)]
    if not ids:
        return
    homes = [(home, root_of(home)["attributes"].get("run_id")) for home in runs_in(base)]
    for run_id in dict.fromkeys(ids):
        yield from ((home, run_id) for home, held in homes if held == run_id)


def link(source: Path, target: Path) -> bool:
    """Give a file of sums a second name, or copy it where links are not possible; return whether that succeeded."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():  # of other frames: it stays
            return False
        try:
            os.link(source, target)
        except OSError:
            part = temporary_file(target)
            try:
                shutil.copyfile(source, part)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
    except OSError:
        return False
    return True
