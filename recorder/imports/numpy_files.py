"""Checkpoints in `.npz` files. Python objects in them are refused, because they are pickles."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from recorder.errors import CheckpointError
from recorder.imports.formats import Array, Checkpoint, Notes, Tensor
from recorder.imports.notes import as_step, numbers_in, step_in


class NumpyFile:
    """One open archive. Lifetime: its file."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        self._members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        headers = {name: self._header(info) for name, info in self._members.items()}
        singles = {
            name: self.read(name).item()
            for name, (shape, dtype) in headers.items()
            if not shape and dtype.kind in "iuf"
        }
        steps = {name: value for name, value in singles.items() if as_step(value) is not None}
        self.notes = Notes(step=step_in(steps), scalars=numbers_in(singles))
        # A number without axes is a note, not a weight.
        self.tensors: Mapping[str, Tensor] = {
            name: Tensor(shape, dtype.name) for name, (shape, dtype) in headers.items() if name not in singles
        }

    def _header(self, info: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
        """Return shape and type of a member, checked against its size."""
        with self._archive.open(info) as file:
            version = npy.read_magic(file)
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
            shape, _, dtype = read(file)
            claimed, held = prod(shape) * dtype.itemsize, info.file_size - file.tell()
        if dtype.hasobject:
            raise ValueError(f"{info.filename} holds Python objects, and reading them could run any code")
        # Deflate packs at most 1,032 bytes into one, so a larger claim is false.
        if claimed != held or info.file_size > 1032 * info.compress_size + 1024:
            raise ValueError(f"{info.filename} claims {claimed:,} bytes and has {held:,}")
        return tuple(int(size) for size in shape), np.dtype(dtype)

    def read(self, name: str) -> Array:
        try:
            with self._archive.open(self._members[name]) as file:
                return np.asarray(npy.read_array(file, allow_pickle=False))
        except Exception as error:  # zipfile raises many things for a damaged archive: zlib.error, EOFError, …
            raise _damaged(self._path, error) from error

    def close(self) -> None:
        self._archive.close()


def open_file(path: Path, key: str | None) -> Checkpoint:
    """Open an archive.

    Raises
    ------
    CheckpointError
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error
    try:
        return NumpyFile(path, archive)
    except CheckpointError:
        archive.close()
        raise
    except Exception as error:  # as in `read`
        archive.close()
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path}: expected arrays that numpy.savez wrote, but they cannot be read ({' '.join(str(error).split())}). "
        "Leave the file out, or save it again."
    )
