"""Writes a store: gathers frames into whole chunks, and publishes all of them at once.

A commit writes chunk objects (temporary file, fsync, rename), then their folders (fsync), then the root document. If
the writer dies at any point, the previous publication stays whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from recorder.budget import chunk_shape
from recorder.errors import StoreFormatError, StoreLockedError
from recorder.files import replace_file, sync_folder
from recorder.root import CHUNK_CHECKSUMS, now, read_root
from recorder.schema import Schema
from recorder.writer.copies import chunk_checksum
from recorder.writer.encoding import Array, encode_chunk
from recorder.writer.format import (
    ArraySpec,
    array_document,
    group_document,
    group_paths,
    learning_rate_spec,
    parameter_spec,
    root_document,
    scalar_spec,
    step_spec,
)
from recorder.writer.objects import objects_of, read_chunk
from recorder.writer.trust import empty_store, remove_array


def lock_store(store: Path) -> int:
    """Take the store's lock.

    The folder itself is locked: no lock file is left behind, and the lock ends with the process that holds it.

    Returns
    -------
    int
        The lock's file descriptor; closing it releases the lock.

    Raises
    ------
    StoreLockedError
        Another process holds it.
    """
    descriptor = os.open(store, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StoreLockedError(
            f"{store}: expected to be its only writer, but another recorder is writing it. Wait until it has closed, "
            "or record into another store."
        ) from error
    except OSError:
        pass  # a file system without locks: `ownership` still looks at the owner's processes
    return descriptor


class StoreWriter:
    """Turns frames into chunks and publishes them.

    Lifetime: the chunk that is being filled (`chunk_steps` frames of every parameter) and a pool of compressing
    threads.

    Parameters
    ----------
    store : Path
        An existing folder that the caller has locked.
    schema : Schema
    attributes : dict
        Root attributes. Each publication adds `recording`, `status` and `heartbeat`.
    frames : int
        Number of frames that the store has already.
    param_groups : int
    scalars : dict of str to int
        First frame of each scalar array that the store has already, by path.
    names : mapping of str to str
        Names of the scalars whose path is not their name, by path.
    threads : int
        Number of compressing threads.
    """

    def __init__(
        self,
        store: Path,
        schema: Schema,
        attributes: dict[str, Any],
        *,
        frames: int,
        param_groups: int,
        scalars: dict[str, int],
        threads: int,
        names: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.store, self.attributes = store, attributes
        self.frames = self.published = frames
        self.chunk_steps: int = attributes["chunk_steps"]
        self.compression: str = attributes["compression"]
        self.raw_bytes = self.stored_bytes = self.encode_ns = 0
        self._schema = schema
        self._dirty: set[Path] = set()
        self._executor = ThreadPoolExecutor(threads, "compress")
        self._specs: dict[str, ArraySpec] = {}
        self._undocumented: list[ArraySpec] = []
        self._published_as: tuple[int, int, int] | None = None  # stamp of the root document at the last publication
        self._tail = (-1, 0)  # number and bytes of the chunk written last: written again, it still counts once
        self._is_draft = frames % self.chunk_steps > 0  # a writer that died may have left one
        self._buffers: dict[str, Array] = {}
        self._add(step_spec(self.chunk_steps))
        if param_groups:
            self._add(learning_rate_spec(self.chunk_steps, param_groups))
        self._scalars: dict[str, str] = {}  # path by name
        for path, first in scalars.items():
            self._add_scalar(names.get(path, path), first, path)
        self._parameters = [
            self._add(parameter_spec(p, chunk_shape(p.shape, p.stored_dtype, self.chunk_steps), self.compression))
            for p in schema.parameters
        ]
        if frames:
            self._restore()

    # -- frames -----------------------------------------------------------------------------------

    def append(
        self, steps: Array, scalars: dict[str, Array], learning_rates: Array | None, planes: Sequence[Array]
    ) -> None:
        """Append frames. Chunks are written when they are full; nothing is published.

        Parameters
        ----------
        steps : (n,) int64
        scalars : dict of (n,) float64
            A new name opens an array.
        learning_rates : (n, param_groups) float64 or None
        planes : sequence of (n, elements)
            As in the spool: bfloat16 as its raw 16 bits.
        """
        self.add_scalars(scalars)
        done = 0
        while done < len(steps):
            start = self.frames % self.chunk_steps
            taken = slice(done, min(len(steps), done + self.chunk_steps - start))
            self._fill(slice(start, start + taken.stop - done), taken, steps, scalars, learning_rates, planes)
            self.frames += taken.stop - done
            done = taken.stop
            if self.frames % self.chunk_steps == 0:
                self._write_chunks(self.frames // self.chunk_steps - 1, self.chunk_steps)

    def add_scalars(self, names: Iterable[str]) -> None:
        """Open an array for each name that has none. It reads as NaN before the next frame."""
        for name in names:
            if name not in self._scalars:
                self._add_scalar(name, self.frames)
                # A writer that died, or a cut, may have left chunks there that would be read as values of this array.
                remove_array(self.store, self._scalars[name])

    def _fill(
        self,
        place: slice,
        taken: slice,
        steps: Array,
        scalars: dict[str, Array],
        learning_rates: Array | None,
        planes: Sequence[Array],
    ) -> None:
        self._buffers["step"][..., place] = steps[taken]
        if learning_rates is not None:
            self._buffers["learning_rate"][place] = learning_rates[taken]
        for name, path in self._scalars.items():
            self._buffers[path][place] = scalars[name][taken] if name in scalars else np.nan
        for parameter, spec in zip(self._schema.parameters, self._parameters, strict=True):
            columns = planes[parameter.plane][taken, parameter.offset : parameter.offset + parameter.elements]
            if parameter.dtype == "bfloat16":
                columns = (columns.astype(np.uint32) << 16).view(np.float32)
            flat = self._buffers[spec.path].reshape(parameter.elements, self.chunk_steps)
            flat[:, place] = columns.T
            self.raw_bytes += columns.nbytes

    @property
    def scalar_names(self) -> list[str]:
        return list(self._scalars)

    def root_spec(self, name: str) -> ArraySpec | None:
        """Return the array at the root that holds the learning rates, or a logged scalar by its name; else None."""
        return self._specs.get(self._scalars.get(name, name))

    def last_frame(self) -> list[Array]:
        """Return the last frame of every parameter, flat, in its stored type. The store must hold a frame."""
        column = (self.frames - 1) % self.chunk_steps
        return [values.reshape(-1, self.chunk_steps)[:, column] for values in self.tail]

    @property
    def tail(self) -> list[Array]:
        """The last chunk of every parameter, (…, chunk_steps); frames past the last have no meaning."""
        return [self._buffers[spec.path] for spec in self._parameters]

    @property
    def parameters(self) -> list[ArraySpec]:
        return list(self._parameters)

    @property
    def last_step(self) -> int:
        return int(self._buffers["step"][(self.frames - 1) % self.chunk_steps]) if self.frames else -1

    @property
    def tail_bytes(self) -> int:
        """Bytes of the chunk that was written or read last, over all arrays."""
        return self._tail[1]

    def count_tail(self, share: float) -> None:
        """Count only a share of the last chunk's bytes as stored, after a cut took the other frames of that chunk."""
        chunk, size = self._tail
        self._tail = (chunk, int(share * size))

    @property
    def settled_bytes(self) -> int:
        """Bytes of all chunks but the last one, which may be written again."""
        chunk, size = self._tail
        return self.stored_bytes - (size if chunk == (self.frames - 1) // self.chunk_steps else 0)

    # -- chunks -----------------------------------------------------------------------------------

    def _add(self, spec: ArraySpec) -> ArraySpec:
        self._specs[spec.path] = spec
        self._undocumented.append(spec)
        shape = (self.chunk_steps, *spec.shape) if spec.step_first else (*spec.shape, self.chunk_steps)
        self._buffers[spec.path] = np.full(shape, spec.fill, spec.dtype)
        return spec

    def _add_scalar(self, name: str, first_frame: int, path: str | None = None) -> None:
        self._scalars[name] = self._add(scalar_spec(name, self.chunk_steps, first_frame, path)).path

    def _write_chunks(self, chunk: int, filled: int, *, draft: bool = False) -> None:
        began = time.perf_counter_ns()
        jobs, partial = {}, filled < self.chunk_steps
        for spec in self._specs.values():
            buffer = self._buffers[spec.path]
            if partial:
                padding = buffer[filled:] if spec.step_first else buffer[..., filled:]
                last = buffer[filled - 1 : filled] if spec.step_first else buffer[..., filled - 1 : filled]
                # A jump to NaN in every row may cost pcodec as much as the frames themselves. A draft avoids it.
                padding[...] = last if draft else spec.fill
            for number, (path, where) in enumerate(objects_of(self.store, spec, chunk)):
                job = self._executor.submit(self._write_piece, path, buffer[where], spec, draft, partial and not draft)
                jobs[spec.path, number] = job
        self._is_draft = draft
        written = {key: job.result() for key, job in jobs.items()}
        if CHUNK_CHECKSUMS in self.attributes:  # stores of earlier versions have none
            checksums = self.attributes[CHUNK_CHECKSUMS][:chunk]
            checksum = chunk_checksum({key: tail for key, (_, tail) in written.items()})
            self.attributes[CHUNK_CHECKSUMS] = [*checksums, checksum]
        size = sum(size for size, _ in written.values())
        self.stored_bytes += size - (self._tail[1] if self._tail[0] == chunk else 0)
        self._tail = (chunk, size)
        self.encode_ns += time.perf_counter_ns() - began

    def _write_piece(self, path: Path, part: Array, spec: ArraySpec, draft: bool, padded: bool) -> tuple[int, bytes]:
        """Write one object of a chunk; return its size, and its last four bytes, the checksum."""
        own = spec.chunks
        if part.shape != own:  # the last piece of an axis that is cut; objects are always whole
            whole = np.full(own, spec.fill, spec.dtype)
            whole[tuple(slice(0, size) for size in part.shape)] = part
            part = whole
        data = encode_chunk(part, spec.compression, draft=draft, padded=padded)
        self._put(path, data)
        return len(data), data[-4:]

    def _put(self, path: Path, data: bytes) -> None:
        if not path.parent.is_dir():
            if not self.store.is_dir():  # nothing is made anew at its old place
                raise self._is_gone()
            for folder in (path.parent, *path.parent.parents):  # entries of new folders must reach the disk, too
                self._dirty.add(folder.parent)
                if folder.parent == self.store or folder.parent.is_dir():
                    break
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            replace_file(path, data, durable=True)
        except FileNotFoundError as error:
            raise self._is_gone() from error
        self._dirty.add(path.parent)

    def _is_gone(self) -> StoreFormatError:
        return StoreFormatError(
            f"{self.store}: expected the store that is being written, but it was moved or removed. Frames not "
            "committed stay in the spool. Where the store is now, run: recorder recover STORE"
        )

    def _restore(self) -> None:
        """Read the last chunk back, to fill it further, and to compare its frames with the resumed weights."""
        chunk, size = (self.frames - 1) // self.chunk_steps, 0
        for spec in self._specs.values():
            if spec.attributes.get("first_frame", 0) >= self.frames:
                continue
            try:
                size += read_chunk(self.store, spec, chunk, self._buffers[spec.path])
            except (OSError, ValueError) as error:
                raise StoreFormatError(
                    f"{self.store}: expected the last committed chunk of {spec.path}, but it cannot be read ({error}). "
                    "The store is damaged at its end and cannot be continued: record into a new one."
                ) from error
        self._tail = (chunk, size)

    # -- publication ------------------------------------------------------------------------------

    def publish(self, recording: dict[str, Any], *, status: str = "running") -> None:
        """Commit all appended frames: write the chunk being filled, then documents of new arrays, then the root's.

        The own documents of the other arrays are written when the run ends. To rewrite them at each commit takes long,
        and nobody needs it.
        """
        running = status == "running"
        filled = self.frames % self.chunk_steps
        if filled and (self.frames > self.published or (self._is_draft and not running)):
            self._write_chunks(self.frames // self.chunk_steps, filled, draft=running)
        if self._undocumented or not running:
            self._write_documents(self._undocumented if running else list(self._specs.values()))
            self._undocumented = []
        self.attributes |= {"status": status, "heartbeat": now(), "recording": recording}
        self._sync_folders()
        self.require_ours(recording)
        document = root_document(self.attributes, list(self._specs.values()), self.frames)
        self._put(self.store / "zarr.json", _json(document))
        self._sync_folders()
        self._published_as = self._stamp()
        self.published = self.frames

    def _stamp(self) -> tuple[int, int, int] | None:
        """Return what tells publications apart, since each is a new file; None without a root document."""
        try:
            found = (self.store / "zarr.json").stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def require_ours(self, recording: Mapping[str, Any]) -> None:
        """Refuse to publish over another recorder's document: on some file systems no lock keeps another machine out.

        Raises
        ------
        StoreLockedError, StoreFormatError
        """
        if self._published_as is None or (stamp := self._stamp()) == self._published_as:
            return
        if stamp is None:
            raise self._is_gone()
        found = read_root(self.store).get("recording")
        if not isinstance(found, Mapping) or found.get("session") != recording["session"]:
            raise StoreLockedError(
                f"{self.store}: expected to be its only writer, but another recorder has published there since the "
                "last commit. Frames not committed stay in the spool."
            )

    def discard(self) -> None:
        """Remove what this writer wrote for a store that could not be published. Anything else there stays."""
        if self._stamp() != self._published_as:
            return
        empty_store(self.store, frozenset(path.split("/")[0] for path in self._specs))
        self.store.rmdir()

    def _write_documents(self, specs: Sequence[ArraySpec]) -> None:
        """Write the own `zarr.json` of arrays and of the groups above them.

        Only readers that do not use the consolidated metadata read these.
        """
        groups = group_paths([spec.path for spec in specs])
        objects = {self.store / path / "zarr.json": group_document() for path in groups}
        objects |= {self.store / spec.path / "zarr.json": array_document(spec, self.frames) for spec in specs}
        jobs = [self._executor.submit(self._put, path, _json(document)) for path, document in objects.items()]
        for job in jobs:
            job.result()

    def _sync_folders(self) -> None:
        folders, self._dirty = self._dirty, set()
        for folder in folders:
            sync_folder(folder)

    def close(self) -> None:
        self._executor.shutdown()


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, allow_nan=False).encode()
