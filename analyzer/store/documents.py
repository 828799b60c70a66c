"""The root document of a store as text, from a path or a URL."""

from __future__ import annotations

import os
from pathlib import Path

from analyzer.errors import DamagedStoreError, NotATrajectoryError, StoreNotFoundError
from analyzer.store.kept import MOMENTS_FORMAT as MOMENTS_FORMAT
from analyzer.store.names import is_url as is_url
from analyzer.store.names import named
from analyzer.store.trust import MOST_DOCUMENT_BYTES, file_bytes


def root_text(location: str) -> str:
    """Text of the root `zarr.json` at a path or URL."""
    if is_url(location):
        return _remote_text(location)
    path = Path(location)
    root = path / "zarr.json"
    place = named(path)
    new = place.parent / f".{place.name}.new" / "zarr.json"
    if not os.path.lexists(root) and new.is_file():
        raise NotATrajectoryError(
            f"{location}: expected a store, got the remains of one: a process died while it replaced it. The new store "
            f"is whole, in {new.parent}. Put it in its place: recorder recover {location}",
            location=location,
        )
    if not path.exists():
        raise StoreNotFoundError(
            f"{location}: expected a store, got nothing at that path. Check the path: ls {path.parent}",
            location=location,
        )
    if not path.is_dir():
        raise NotATrajectoryError(
            f"{location}: expected a store, which is a directory, got a file. "
            "Give the path that was given to Recorder(...).",
            location=location,
        )
    if not root.is_file():
        found = "a directory without zarr.json" if any(path.iterdir()) else "an empty directory"
        found = "a zarr.json that is no file" if os.path.lexists(root) else found
        raise NotATrajectoryError(
            f"{location}: expected a store with a zarr.json at its root, got {found}. It is no Zarr v3 store. "
            "Give the path that was given to Recorder(...).",
            location=location,
        )
    try:
        return file_bytes(root, MOST_DOCUMENT_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(location, "zarr.json", "UTF-8 text", f"byte {error.start} that is none") from error
    except OSError as error:
        raise NotATrajectoryError(
            f"{location}: expected a readable zarr.json, got: {error.strerror or error}. "
            f"Check the permissions: ls -l {root}",
            location=location,
        ) from error


def _remote_text(url: str) -> str:
    """Text of the root `zarr.json` behind a URL."""
    import fsspec  # type: ignore[import-untyped]  # only where there is a URL

    root = url.rstrip("/") + "/zarr.json"
    try:
        with fsspec.open(root, mode="rb") as file:
            return bytes(file.read()).decode("utf-8")
    except FileNotFoundError as error:
        raise StoreNotFoundError(
            f"{url}: expected a store, got nothing at {root}. Check the URL and the bucket.", location=url
        ) from error
    except UnicodeDecodeError as error:
        raise DamagedStoreError(
            f"{url}: expected zarr.json to hold UTF-8 text, got byte {error.start} that is none. Without it "
            "nobody knows which frames are committed. Restore zarr.json from a copy of the store.",
            location=url,
        ) from error
    except (OSError, ImportError, ValueError) as error:
        raise NotATrajectoryError(
            f"{url}: expected a readable store, got: {error}. The run cannot be opened. "
            "Check the URL, the credentials, and that the fsspec package of its scheme is installed.",
            location=url,
        ) from error


def damaged(location: str, subject: str, expected: str, found: object) -> DamagedStoreError:
    shown = repr(found)
    shown = shown if len(shown) <= 120 else shown[:117] + "..."
    return DamagedStoreError(
        f"{location}: {subject}: expected {expected}, got {shown}. The metadata is damaged. "
        "Restore zarr.json from a copy of the store, or record the run again.",
        location=location,
        subject=subject,
    )
