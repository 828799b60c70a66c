"""Files that a command writes: whether there is a place for them, and how they appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from analyzer.store.files import temporary_file


def missing_folder(output: str) -> Path | None:
    """Return the folder that a file would be written to, if it does not exist; else None."""
    folder = Path(output).resolve().parent
    return None if folder.is_dir() else folder


def store_around(output: str) -> Path | None:
    """Return the store, or the kept sums, in which a file would lie; None if it would lie in none.

    An answer there would replace a document or a chunk, or be in the way of the next recording.
    """
    return next((folder for folder in Path(output).resolve().parents if os.path.lexists(folder / "zarr.json")), None)


def check_folder(output: str, option: str = "--output") -> None:
    """Refuse a file or folder that would lie in a store, or whose parent folder does not exist."""
    if missing_folder(output) is not None:
        raise click.UsageError(f"{option}: expected an existing folder, got {Path(output).parent}.")
    if (store := store_around(output)) is not None:
        raise click.UsageError(f"{option}: expected a path outside the store {store}, got {output}.")


def check_place(output: str | None, option: str = "--output") -> None:
    """Refuse a file that cannot be written where it is asked for; called before anything is computed."""
    if output is None:
        return
    check_folder(output, option)
    if Path(output).is_dir():
        raise click.UsageError(f"{option}: expected the name of a file, got the folder {output}.")


@contextmanager
def replaced(output: str, option: str = "--output") -> Iterator[Path]:
    """Yield the path of a temporary file. It replaces `output` if the block ends without an error, else it is deleted.

    A pipe or a device (/dev/stdout) is written to directly: replacing would destroy it.
    """
    target = Path(output).resolve()
    special = target.exists() and not target.is_file()
    part: Path | None = None
    try:
        part = target if special else temporary_file(target)
        yield part
        if not special:
            part.replace(target)
    except OSError as error:
        raise click.ClickException(
            f"{option} {output}: expected a file that can be written, got: {error.strerror or error}. The answer is "
            "not kept. Choose another place, or make room."
        ) from error
    finally:
        if part is not None and not special:
            part.unlink(missing_ok=True)
