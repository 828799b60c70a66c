"""`Recorder`: attaches to a model and its optimizers, and records every step."""

from __future__ import annotations

import os
import shutil
import sys
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from torch import nn
from torch.optim import Optimizer

from recorder.budget import parse_bytes
from recorder.describe import make_session
from recorder.errors import RecorderError, UsageError
from recorder.exits import unwatch, watch
from recorder.hooks import LearningRates, attach, optimizers_of
from recorder.host import HostFeed
from recorder.options import Options, check_scalar_name, check_store
from recorder.overhead import Alternation
from recorder.placement import place_spool
from recorder.plan import check_plan
from recorder.process import Waiting, WriterProcess
from recorder.report import Report
from recorder.ring import check_held
from recorder.segments import COMMITTED, RAW_BYTES, SKIPPED, STORED_BYTES, create_spool
from recorder.selection import select_parameters
from recorder.spool import Spool
from recorder.staging import DeviceFeed


class Recorder:
    """Records the parameters of a model after every optimizer step.

    Lifetime: from the first optimizer step (or `start`) to `close`. Use it as a context manager.

    Parameters
    ----------
    store : path
        The Zarr store to write; by custom named `*.zarr`.
    model : torch.nn.Module
        Lazy layers may still be uninitialised.
    optimizer : torch.optim.Optimizer or sequence of them, optional
        A frame is taken after each step of the (last) optimizer. Without one, call `step` yourself.
    hyperparameters : mapping, optional
        Numbers, strings, … that describe the run; kept as root attributes.
    include, exclude : str or iterable of str, optional
        Glob patterns over dotted parameter names.
    stride : int, default 1
        Record every `stride`-th update.
    chunk_steps : int, optional
        Frames in a chunk, a power of two; default: as many up to 1024 as the spool's limit allows, above 256 no more
        than 64 MiB of all parameters take.
    compression : {"pcodec", "lz4", "none"}
        All of them lossless.
    mode : {"w-", "w", "a"}
        Refuse an existing store, replace it, or resume it.
    expected_steps : int, optional
        Length of the run: turns on a check of disk space before step 0.
    on_pressure : {"wait", "drop"}
        When the writer cannot keep up: wait and count the time, or drop frames and record the gap.
    on_error : {"raise", "warn"}
        When recording fails: raise in the training loop, or say so once and let the training go on unrecorded.
    spool : path, optional
        Local folder for frames that are not written yet; default: shared memory, else beside the store.
    spool_limit : int or str, optional
        Most bytes that the spool may take, such as `"8GiB"`; default: 1 GiB, up to 4 GiB for models that need it.
    compare_every : int, optional
        Measure the cost of recording in this very run: stretches of so many steps are recorded and left out in turn
        (gaps in the store), and the report holds the paired slowdown.
    user_step : int, optional
        Your own step count at a resumption, kept with the segment.

    Raises
    ------
    RecorderError
        A subclass that names what is wrong, and a builtin: the store exists, a pattern matches nothing, no room, …

    Examples
    --------
    >>> import torch, tempfile
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with Recorder(tempfile.mkdtemp() + "/run.zarr", model, optimizer) as recorder:
    ...     recorder.start()
    """

    def __init__(
        self,
        store: str | os.PathLike[str],
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        hyperparameters: Mapping[str, Any] | None = None,
        include: str | Iterable[str] | None = None,
        exclude: str | Iterable[str] | None = None,
        stride: int = 1,
        chunk_steps: int | None = None,
        compression: Literal["pcodec", "lz4", "none"] = "pcodec",
        mode: Literal["w-", "w", "a"] = "w-",
        expected_steps: int | None = None,
        on_pressure: Literal["wait", "drop"] = "wait",
        on_error: Literal["raise", "warn"] = "raise",
        spool: str | os.PathLike[str] | None = None,
        spool_limit: int | str | None = None,
        compare_every: int | None = None,
        user_step: int | None = None,
    ) -> None:
        self.report: Report | None = None
        if not isinstance(model, nn.Module):
            raise UsageError(f"model: expected a torch.nn.Module, got {type(model).__name__}.")
        self._model = model
        self._optimizers = optimizers_of(optimizer)
        self._options = Options(
            store=Path(os.path.abspath(store)),  # noqa: PTH100 - resolve() would follow a link that the user chose
            hyperparameters=dict(hyperparameters or {}),
            include=include,
            exclude=exclude,
            stride=stride,
            chunk_steps=chunk_steps,
            compression=compression,
            mode=mode,
            expected_steps=expected_steps,
            on_pressure=on_pressure,
            on_error=on_error,
            spool=None if spool is None else Path(spool),
            spool_limit=None if spool_limit is None else parse_bytes(spool_limit),
            compare_every=compare_every,
            user_step=user_step,
        )
        check_store(self._options)
        self._feed: HostFeed | DeviceFeed | None = None
        self._closed = False
        self._failure: BaseException | None = None
        self._updates = self._frames = 0
        self._recorded_update = -1
        self._next_check = 0
        self._pending: dict[str, Any] = {}
        self._alternation: Alternation | None = None
        self._seconds = self._start_seconds = 0.0
        self._handles = attach(self._optimizers, weakref.ref(self), Recorder._before_update, Recorder._after_update)
        watch(self, Recorder._forget, Recorder._leave)

    def start(self) -> None:
        """Record the parameters as they are now as the first frame. The first optimizer step calls it, if you do not.

        Raises
        ------
        RecorderError
            The parameters cannot be recorded, the store cannot be written, or there is no room for the spool.
        """
        if self._feed is not None or self._closed:
            return
        began = time.perf_counter()
        options = self._options
        selection = select_parameters(self._model, options.include, options.exclude)
        session = make_session(self._model, self._optimizers, options, selection.schema)
        budget = session.budget
        if options.expected_steps is not None:
            self._tell(
                check_plan(options.store, selection.schema, budget, options.expected_frames, options.compression)
            )
        directory = place_spool(options.store, session.session, budget.pool_bytes, options.spool)
        create_spool(directory, session)
        self._writer = writer = WriterProcess(directory)
        try:
            self._spool = spool = Spool(
                directory, session, writer, drop=options.on_pressure == "drop", report=self._tell
            )
            feed: HostFeed | DeviceFeed
            if all(plane.device == "cpu" for plane in selection.schema.planes):
                feed = HostFeed(selection.schema, selection.slots, spool)
            else:
                frames, slots = budget.segment_frames, budget.scalar_slots
                feed = DeviceFeed(selection.schema, selection.slots, spool, frames, slots)
            writer.start()  # last: what fails before leaves no process behind
            writer.wait_until_running(self._tell)
        except BaseException:
            writer.forget()
            shutil.rmtree(directory, ignore_errors=True)
            raise
        if options.compare_every is not None:
            self._alternation = Alternation(options.compare_every, selection.schema.planes[0].device)
        self._selection, self._check_every = selection, budget.segment_frames
        self._rates = LearningRates(self._optimizers, session.param_groups, self._tell)
        self._feed = feed
        self._push(None)
        self._start_seconds = time.perf_counter() - began

    def step(self) -> None:
        """Record the step just made, where no optimizer was given. Call `start` first: it records the state before.

        Raises
        ------
        RecorderError
            See `Recorder`.
        """
        if self._closed:
            raise UsageError("recorder.step(): expected an open recorder, it is closed. Make a new one with mode='a'.")
        if self._feed is None:
            self._tell("step() came before start(): frame 0 is the state after the first update, like frame 1")
        self._after_update(None)

    def log(self, **scalars: Any) -> None:
        """Store scalars with the frame of the last step: loss and epoch, for example.

        Parameters
        ----------
        **scalars
            Numbers or one-element tensors. Tensors on a device are copied there: nothing is waited for. With a
            `stride`, values logged between two frames go to the next one.

        Raises
        ------
        UsageError
            A name is reserved or cannot be a name in the store, or a value is no scalar.
        """
        if self._closed:
            return
        try:
            if self._feed is None:
                self.start()
            began = time.perf_counter()
            if self._recorded_update == self._updates:
                self._store_scalars(scalars)
            else:
                for name in scalars:
                    check_scalar_name(name)
                self._pending |= scalars
            self._seconds += time.perf_counter() - began
        except (RecorderError, OSError) as error:
            self._fail(error)

    def close(self, status: Literal["complete", "interrupted"] = "complete") -> None:
        """Wait until every frame is in the store, and close it. Closing twice does nothing.

        Parameters
        ----------
        status : {"complete", "interrupted"}
            How the run ended, as the store will say.

        Raises
        ------
        RecorderError
            The writer failed. What it had committed is kept.
        """
        if self._closed:
            return
        self._closed = True
        self._detach()
        unwatch(self)
        if self._feed is None:
            return
        waiting = Waiting(self._tell)
        try:
            self._feed.close()
        finally:
            try:
                self._writer.close(status, lambda: waiting.show(self._frames, self._writer.control.words[COMMITTED]))
            except KeyboardInterrupt:
                self._tell(f"no longer waiting; the writer finishes on its own, then {self._options.store} is complete")
                raise
            finally:
                self._writer.release()
                words = self._writer.control.words
                self.report = Report(
                    store=str(self._options.store),
                    status=status,
                    steps=self._updates,
                    frames=self._spool.pushed,
                    dropped=self._spool.dropped,
                    skipped=words[SKIPPED],
                    raw_bytes=words[RAW_BYTES],
                    stored_bytes=words[STORED_BYTES],
                    start_seconds=self._start_seconds,
                    seconds=self._seconds,
                    stall_seconds=self._feed.stall_seconds,
                    overhead=self._alternation.result() if self._alternation else None,
                )
        self._tell(str(self.report))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            self.close("complete" if error is None else "interrupted")
        except RecorderError as failure:
            if error is None:
                raise
            if error is not failure and error is not self._failure:
                self._tell(str(failure))

    # -- one step ---------------------------------------------------------------------------------
    # Every call here finds its code driven out of the caches by the training: few functions, few distinct ones.

    def _fail(self, error: BaseException) -> None:
        """Treat a failure as `on_error` says."""
        self._failure = error
        if self._options.on_error == "raise":
            raise error
        self._tell(f"recording stops, training goes on: {error}")
        self._leave()

    def _before_update(self, optimizer: Optimizer) -> None:
        try:
            self.start()  # does nothing when it has
        except (RecorderError, OSError) as error:
            self._fail(error)

    def _after_update(self, optimizer: Optimizer | None) -> None:
        try:
            if self._feed is None:
                self.start()
            began = time.perf_counter()
            self._updates += 1
            recorded = self._alternation is None or self._alternation.records(self._updates)
            if recorded and self._updates % self._options.stride == 0:
                self._push(optimizer)
            self._seconds += time.perf_counter() - began
        except (RecorderError, OSError) as error:
            self._fail(error)

    def _push(self, optimizer: Optimizer | None) -> None:
        feed = self._feed
        assert feed is not None
        if self._frames == self._next_check:
            self._check_structure()
        rates = self._rates.now() if self._frames else ()
        if feed.push(self._updates, rates, getattr(optimizer, "found_inf", None)):
            self._frames += 1
            self._recorded_update = self._updates
            if self._pending:
                pending, self._pending = self._pending, {}
                self._store_scalars(pending)

    def _check_structure(self) -> None:
        """Walk the model once a segment: a module that was replaced leaves the recorded tensors behind, unnoticed."""
        self._next_check += self._check_every
        if self._frames == 0:
            return
        self._detach(keep=1)  # the hooks before a step were for the first one
        check_held(self._model, self._selection.schema, self._selection.slots)
        assert self._feed is not None
        self._feed.revalidate()

    def _store_scalars(self, scalars: dict[str, Any]) -> None:
        feed, spool = self._feed, self._spool
        assert feed is not None
        for name, value in scalars.items():
            try:
                if (slot := spool.names.get(name)) is None:
                    check_scalar_name(name)
                    slot = spool.slot(name)
                feed.log(slot, value)
            except (TypeError, ValueError, RuntimeError) as error:
                if isinstance(error, RecorderError):
                    raise
                raise UsageError(
                    f"log({name}=…): expected a number or a one-element tensor, got {type(value).__name__} ({error})."
                ) from error

    def _detach(self, keep: int = 0) -> None:
        while len(self._handles) > keep:
            self._handles.pop(0).remove()

    def _leave(self) -> None:
        """Close as interrupted where nobody is left to raise to."""
        try:
            self.close("interrupted")
        except RecorderError as failure:
            self._tell(str(failure))

    def _forget(self) -> None:
        """In a forked child: this recording is the parent's, and the segments are mapped here, too."""
        self._closed = True
        self._detach()
        if self._feed is not None:
            self._writer.forget()

    def _tell(self, line: str) -> None:
        print(f"recorder: {line}", file=sys.stderr, flush=True)
