"""The writing end of a store: frames in, whole chunks out, and one atomic publication for all of them.

Order of a commit: chunk objects (temporary file, fsync, rename), their folders (fsync), then the root document. A
death at any point leaves the previous publication whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from recorder.budget import chunk_shape
from recorder.errors import StoreFormatError, StoreLockedError
from recorder.format import (
    ArraySpec,
    array_document,
    decode_chunk,
    encode_chunk,
    fill_value,
    group_document,
    group_paths,
    learning_rate_spec,
    parameter_spec,
    root_document,
    scalar_spec,
    step_spec,
)
from recorder.root import now
from recorder.schema import Schema

Array = np.ndarray[Any, Any]


def lock_store(store: Path) -> int:
    """Take the store's lock, which is on its folder: no file is left behind, and it ends with the process that holds
    it.

    Returns
    -------
    int
        A file descriptor; closing it releases the lock.

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
            f"{store}: expected to be its only writer, another recorder is writing it. Wait until it has closed, or "
            "record into another store."
        ) from error
    except OSError:
        pass  # a file system without locks: the check of the trainer's process is all there is
    return descriptor


class StoreWriter:
    """Turns frames into chunks and publishes them.

    Lifetime: it holds the chunk that is being filled (`chunk_steps` frames of every parameter) and a pool of
    compressing threads.

    Parameters
    ----------
    store : Path
        Existing folder, locked by the caller.
    schema : Schema
    attributes : dict
        Root attributes; `recording`, `status`, `segments`, `heartbeat` are kept up to date here.
    frames : int
        Frames that the store holds already.
    param_groups : int
    scalars : dict of str to int
        First frame of each scalar array that exists.
    threads : int
        Threads that compress.
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
        self._tail = (-1, 0)  # the chunk written last, and its size: written again, it counts once
        self._is_draft = frames % self.chunk_steps > 0  # a writer that died may have left one
        self._buffers: dict[str, Array] = {}
        self._add(step_spec(self.chunk_steps))
        if param_groups:
            self._add(learning_rate_spec(self.chunk_steps, param_groups))
        for name, first in scalars.items():
            self._add(scalar_spec(name, self.chunk_steps, first))
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
        """Append frames; whole chunks are written as they fill, nothing is published.

        Parameters
        ----------
        steps : (n,) int64
        scalars : dict of (n,) float64
            A name that is new opens an array.
        learning_rates : (n, param_groups) float64 or None
        planes : sequence of (n, elements)
            As they travel: bfloat16 as its raw 16 bits.
        """
        for name in scalars:
            if name not in self._specs:
                self._add(scalar_spec(name, self.chunk_steps, self.frames))
        done = 0
        while done < len(steps):
            start = self.frames % self.chunk_steps
            taken = slice(done, min(len(steps), done + self.chunk_steps - start))
            self._fill(slice(start, start + taken.stop - done), taken, steps, scalars, learning_rates, planes)
            self.frames += taken.stop - done
            done = taken.stop
            if self.frames % self.chunk_steps == 0:
                self._write_chunks(self.frames // self.chunk_steps - 1, self.chunk_steps)

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
        for name in self.scalar_names:
            self._buffers[name][place] = scalars[name][taken] if name in scalars else np.nan
        for parameter, spec in zip(self._schema.parameters, self._parameters, strict=True):
            columns = planes[parameter.plane][taken, parameter.offset : parameter.offset + parameter.elements]
            if parameter.dtype == "bfloat16":
                columns = (columns.astype(np.uint32) << 16).view(np.float32)
            flat = self._buffers[spec.path].reshape(parameter.elements, self.chunk_steps)
            flat[:, place] = columns.T
            self.raw_bytes += columns.nbytes

    @property
    def scalar_names(self) -> list[str]:
        return [spec.path for spec in self._specs.values() if "first_frame" in spec.attributes]

    def last_frame(self) -> list[Array]:
        """Return the last frame of every parameter, flat, as stored; the store must hold one."""
        column = (self.frames - 1) % self.chunk_steps
        return [self._buffers[spec.path].reshape(-1, self.chunk_steps)[:, column] for spec in self._parameters]

    @property
    def last_step(self) -> int:
        return int(self._buffers["step"][(self.frames - 1) % self.chunk_steps]) if self.frames else -1

    @property
    def tail_bytes(self) -> int:
        """Bytes of the last chunk that was written or read."""
        return self._tail[1]

    @property
    def settled_bytes(self) -> int:
        """Bytes of the chunks before the last one, which may be written again."""
        chunk, size = self._tail
        return self.stored_bytes - (size if chunk == (self.frames - 1) // self.chunk_steps else 0)

    # -- chunks -----------------------------------------------------------------------------------

    def _add(self, spec: ArraySpec) -> ArraySpec:
        self._specs[spec.path] = spec
        self._undocumented.append(spec)
        shape = (self.chunk_steps, *spec.shape) if spec.step_first else (*spec.shape, self.chunk_steps)
        self._buffers[spec.path] = np.full(shape, fill_value(spec), spec.dtype)
        return spec

    def _pieces(self, spec: ArraySpec, chunk: int) -> Iterator[tuple[Path, tuple[slice, ...]]]:
        """Yield file and part of the buffer for each object that holds this chunk of an array."""
        own = spec.chunks[1:] if spec.step_first else spec.chunks[:-1]
        grid = [range(-(-size // piece)) for size, piece in zip(spec.shape, own, strict=True)]
        for index in product(*grid):
            part = tuple(slice(i * piece, (i + 1) * piece) for i, piece in zip(index, own, strict=True))
            key = (chunk, *index) if spec.step_first else (*index, chunk)
            where = (slice(None), *part) if spec.step_first else (*part, slice(None))
            yield self.store.joinpath(spec.path, "c", *map(str, key)), where

    def _write_chunks(self, chunk: int, filled: int, *, draft: bool = False) -> None:
        began = time.perf_counter_ns()
        jobs, partial = [], filled < self.chunk_steps
        for spec in self._specs.values():
            buffer = self._buffers[spec.path]
            if partial:
                padding = buffer[filled:] if spec.step_first else buffer[..., filled:]
                last = buffer[filled - 1 : filled] if spec.step_first else buffer[..., filled - 1 : filled]
                # A jump to NaN in every row costs pcodec up to as much as the frames themselves.
                padding[...] = last if draft else fill_value(spec)
            for path, where in self._pieces(spec, chunk):
                padded = partial and not draft
                jobs.append(self._executor.submit(self._write_piece, path, buffer[where], spec, draft, padded))
        self._is_draft = draft
        size = sum(job.result() for job in jobs)
        self.stored_bytes += size - (self._tail[1] if self._tail[0] == chunk else 0)
        self._tail = (chunk, size)
        self.encode_ns += time.perf_counter_ns() - began

    def _write_piece(self, path: Path, part: Array, spec: ArraySpec, draft: bool, padded: bool) -> int:
        own = spec.chunks
        if part.shape != own:  # the last piece of a cut axis: objects are always whole
            whole = np.full(own, fill_value(spec), spec.dtype)
            whole[tuple(slice(0, size) for size in part.shape)] = part
            part = whole
        data = encode_chunk(part, spec.compression, draft=draft, padded=padded)
        self._put(path, data)
        return len(data)

    def _put(self, path: Path, data: bytes) -> None:
        if not path.parent.is_dir():
            for folder in (path.parent, *path.parent.parents):  # the names of new folders must reach the disk too
                self._dirty.add(folder.parent)
                if folder.parent == self.store or folder.parent.is_dir():
                    break
            path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        self._dirty.add(path.parent)

    def _restore(self) -> None:
        """Read the last chunk back: it is continued, or its last frame is compared with the resumed weights."""
        chunk, size = (self.frames - 1) // self.chunk_steps, 0
        for spec in self._specs.values():
            if spec.attributes.get("first_frame", 0) >= self.frames:
                continue
            for path, where in self._pieces(spec, chunk):
                try:
                    data = path.read_bytes()
                    whole = decode_chunk(data, spec.dtype, spec.chunks, spec.compression)
                except (OSError, ValueError) as error:
                    raise StoreFormatError(
                        f"{path}: expected the last committed chunk of {spec.path}, it cannot be read ({error}). The "
                        "store is damaged at its end and cannot be continued; record into a new one."
                    ) from error
                part = self._buffers[spec.path][where]
                part[...] = whole[tuple(slice(0, length) for length in part.shape)]
                size += len(data)
        self._tail = (chunk, size)

    # -- publication ------------------------------------------------------------------------------

    def publish(self, recording: dict[str, Any], *, status: str = "running") -> None:
        """Commit all appended frames: the chunk being filled, documents of new arrays, then the root document, in
        this order.

        Other arrays' own documents are left alone until the end: rewriting 200 of them at each commit costs 620 ms
        and serves nobody.
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
        document = root_document(self.attributes, list(self._specs.values()), self.frames)
        self._put(self.store / "zarr.json", _json(document))
        self._sync_folders()
        self.published = self.frames

    def _write_documents(self, specs: Sequence[ArraySpec]) -> None:
        """Write the own `zarr.json` of arrays and of the groups above them, for readers that do not use the
        consolidated one.
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
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def close(self) -> None:
        self._executor.shutdown()


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, allow_nan=False).encode()
