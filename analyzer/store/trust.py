"""Checks of what a store claims, before a file is read or memory allocated (`recorder/FORMAT.md`, "Trust").

- Only regular files are read. A symbolic link counts as what it leads to: people put chunks on other disks. A pipe, a
  socket, a device or a folder in a file's place is refused at once, neither opened nor waited for.
- A chunk decodes to as many bytes as the metadata says, no more and no fewer. Its header is compared first, so that
  nothing larger is ever allocated.
- A file has no more bytes than its content can take.
"""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path

MOST_CHUNK_BYTES = (1 << 31) - 1
"""No chunk decodes to more. Chunks of the format take 64 MiB, or a single row; blosc can decode no more than this."""
MOST_DOCUMENT_BYTES = 1 << 30
"""No document of metadata is larger."""
_STEP = 1 << 20


class Untrusted(OSError, ValueError):
    """A file cannot be what the store claims."""


def file_bytes(path: str | Path, most: int) -> bytes:
    """Return the content of a regular file.

    Parameters
    ----------
    path
        A symbolic link is followed.
    most
        Bytes that it may have.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        There is none.
    Untrusted
        Something else lies there, or it is larger.
    OSError
        It cannot be read.
    """
    descriptor = open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        if size > most:
            raise Untrusted(f"a file of {size:,} bytes, more than the {most:,} that it can have")
        with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
            return file.read(size) if size else b""
    finally:
        os.close(descriptor)


def open_regular(path: str | Path) -> int:
    """Open a regular file for reading; returns its descriptor.

    Raises
    ------
    Untrusted
        A pipe, a socket, a device or a folder lies there.
    OSError
        It cannot be opened.
    """
    _require_regular(Path(path).stat().st_mode)
    # Non-blocking: a pipe that replaced the file in between would block until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _require_regular(os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
        raise Untrusted(f"{next((name for test, name in kinds if test(mode)), 'a device')} in the place of a file")


def most_stored(decoded: int) -> int:
    """Return the largest size in the store of a chunk that decodes to `decoded` bytes.

    Codecs add some bytes to data that they cannot compress. pcodec with a page for every few values adds the most.
    """
    return 8 * decoded + (1 << 20)


def require_possible(decoded: int) -> None:
    """Refuse metadata of chunks that decode to more bytes than one may have.

    Raises
    ------
    Untrusted
    """
    if decoded > MOST_CHUNK_BYTES:
        raise Untrusted(
            f"metadata of chunks of {decoded:,} bytes, more than the {MOST_CHUNK_BYTES:,} that one may have"
        )


def require_size(found: int | None, expected: int) -> None:
    """Refuse a chunk whose header says another size than the metadata. `found` is None where the header says no size.

    Raises
    ------
    Untrusted
    """
    if found != expected:
        said = "no size" if found is None else f"{found:,} bytes"
        raise Untrusted(f"a chunk whose header says {said}, and metadata that says {expected:,}")


def blosc_size(raw: bytes | memoryview) -> int | None:
    """Return the bytes that a blosc buffer says it decodes to; None where it is too short to say."""
    return int.from_bytes(raw[4:8], "little") if len(raw) >= 16 else None


def zstd_size(raw: bytes | memoryview) -> int | None:
    """Return the bytes that the first frame of a Zstandard buffer says it decodes to (RFC 8878, 3.1.1.1), or None."""
    if bytes(raw[:4]) != b"\x28\xb5\x2f\xfd" or len(raw) < 6:
        return None
    flags = raw[4]
    single = bool(flags & 0x20)
    begin = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    width = (1 if single else 0, 2, 4, 8)[flags >> 6]
    if not width or len(raw) < begin + width:
        return None
    return int.from_bytes(raw[begin : begin + width], "little") + (256 if width == 2 else 0)


def gzip_size(raw: bytes | memoryview, most: int) -> int:
    """Return the number of bytes that a gzip or zlib buffer decodes to; it stops counting above `most`."""
    decoder, total, rest = zlib.decompressobj(zlib.MAX_WBITS | 32), 0, bytes(raw)
    while rest and not decoder.eof and total <= most:
        total += len(decoder.decompress(rest, _STEP))
        rest = decoder.unconsumed_tail
    return total
