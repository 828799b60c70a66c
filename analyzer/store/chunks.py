"""One chunk: its bytes in a store, at a path or behind a URL. zarr is loaded for URLs only.

Also what can be told of chunks without decoding them: their checksums, and stamps that change when they do.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c

from analyzer.store.schema import is_url
from analyzer.store.trust import Untrusted, file_bytes, open_regular

if TYPE_CHECKING:
    from zarr.abc.store import Store

Stamp = tuple[Any, ...]
"""What a store says of an object without its content. An object that is replaced or rewritten gets another stamp."""


@lru_cache(maxsize=16)
def store_at(location: str) -> Store:
    """The zarr store at a path or URL."""
    from zarr.storage import FsspecStore, LocalStore

    if is_url(location):
        return FsspecStore.from_url(location, read_only=True)
    return LocalStore(location, read_only=True)


def chunk_bytes(location: str, key: str, most: int) -> bytes | None:
    """One object of a store as it lies there, or None where there is none.

    Raises
    ------
    OSError
        It cannot be read, is no regular file, or has more than `most` bytes.
    """
    if not is_url(location):
        try:
            return file_bytes(Path(location) / key, most)
        except (FileNotFoundError, NotADirectoryError):
            return None
    from zarr.abc.store import RangeByteRequest
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    # One byte more than there can be: an object of any size is never fetched whole.
    asked = RangeByteRequest(0, most + 1)
    found = sync(store_at(location).get(key, default_buffer_prototype(), asked))
    if found is not None and len(found) > most:
        raise Untrusted(f"an object of more than the {most:,} bytes that it can have")
    return None if found is None else found.to_bytes()


def chunk_exists(location: str, key: str) -> bool:
    """Whether a store has an object of this name."""
    if not is_url(location):
        return (Path(location) / key).is_file()
    from zarr.core.sync import sync

    return sync(store_at(location).exists(key))


def checksums(location: str, keys: Sequence[str], *, at_end: bool = True) -> list[str]:
    """The checksums of chunks as text; "" for those that are not there.

    Parameters
    ----------
    at_end
        Whether the chunks end with their checksums, as those of the format do: then four bytes of each are read.

    Raises
    ------
    OSError
        One cannot be read, or is no regular file.
    """
    if not is_url(location):
        return [_checksum(f"{location}/{key}", at_end) for key in keys]
    filesystem, root = _filesystem(location)
    found = filesystem.cat_ranges([f"{root}/{key}" for key in keys], -4 if at_end else 0, None, on_error="return")
    ends = [end if isinstance(end, bytes) else b"" for end in found]
    return [(end[-4:] if at_end else _crc32c(end)).hex() if end else "" for end in ends]


def _checksum(path: str, at_end: bool) -> str:
    try:
        descriptor = open_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    try:
        size = os.fstat(descriptor).st_size
        if at_end:
            return os.pread(descriptor, 4, max(size - 4, 0)).hex()
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return _crc32c(file.read(size)).hex()
    finally:
        os.close(descriptor)


def _crc32c(raw: bytes) -> bytes:
    return int(google_crc32c.value(raw)).to_bytes(4, "little")


def stamps(location: str, folder: str, keys: Sequence[str], listings: dict[str, Any]) -> list[Stamp] | None:
    """A stamp of each object below a folder of a store, () for those not there; None where a store has no stamps.

    The stamp of a file is its size, times and inode. That of an object at a URL is what a listing says: size, ETag,
    version and time. All objects of a folder are listed together.

    Parameters
    ----------
    listings
        Stamps and listings that were read before, by key or folder. New ones are added, so that the store is asked
        once for each such dict.
    """
    if not is_url(location):
        for key in keys:
            if key not in listings:
                listings[key] = _stamp(f"{location}/{key}")
        return [listings[key] for key in keys]
    filesystem, root = _filesystem(location)
    if folder not in listings:
        try:
            filesystem.invalidate_cache(f"{root}/{folder}")
            listings[folder] = filesystem.find(f"{root}/{folder}", detail=True)
        except Exception:  # each kind of server has errors of its own; without a listing checksums are read
            listings[folder] = {}
    found = [_of_listing(listings[folder].get(f"{root}/{key}")) for key in keys]
    return None if not all(found) else found  # a server without listings shows nothing, not even what is there


def _stamp(path: str) -> Stamp:
    try:
        known = os.stat(path)  # noqa: PTH116  (a question asks of thousands of chunks)
    except OSError:
        return ()
    return known.st_size, known.st_mtime_ns, known.st_ctime_ns, known.st_ino


def _of_listing(entry: Any) -> Stamp:
    """The fields of a listing's entry that change with its object; () where the size is the only one."""
    if not isinstance(entry, dict):
        return ()
    names = (
        "ETag",
        "etag",
        "generation",
        "md5Hash",
        "content_md5",
        "LastModified",
        "last_modified",
        "mtime",
        "created",
    )
    known = tuple((name, str(entry[name])) for name in names if entry.get(name) is not None)
    return (entry.get("size"), *known) if known else ()


def document_stamp(location: str) -> Stamp:
    """A stamp of the root document of a store; () where none can be read."""
    if not is_url(location):
        return _stamp(f"{location}/zarr.json")
    filesystem, root = _filesystem(location)
    try:
        filesystem.invalidate_cache(f"{root}/zarr.json")
        return _of_listing(filesystem.info(f"{root}/zarr.json"))
    except Exception:  # each kind of server has errors of its own; then the document itself is read
        return ()


@lru_cache(maxsize=16)
def _filesystem(location: str) -> tuple[Any, str]:
    """The file system of a URL, and the path of the store in it."""
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # only where there is a URL

    filesystem, root = url_to_fs(location.rstrip("/"))
    return filesystem, root
