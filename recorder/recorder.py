"""`Recorder` attaches to a model and its optimizers, and records every step."""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self, cast

import torch
from torch import nn
from torch.optim import Optimizer

from recorder.errors import RecorderError, UsageError, expected
from recorder.trainer.ends import begin, drain, nothing_recorded
from recorder.trainer.exits import refuse_second, unwatch, watch
from recorder.trainer.feeds.device_feed import DeviceFeed
from recorder.trainer.feeds.host_feed import HostFeed
from recorder.trainer.model.selection import model_of
from recorder.trainer.options import check_status, check_store, options_of
from recorder.trainer.overhead import Alternation
from recorder.trainer.ranks import Ranks
from recorder.trainer.report import Report, make_report, tell
from recorder.trainer.updates.hooks import CapturedError, Rounds, attach, refuse_capture
from recorder.trainer.updates.lookout import EARLY_FRAMES, LOGS_WITHOUT_A_STEP
from recorder.trainer.updates.optimizers import optimizers_of


class Recorder:
    """Records the parameters of a model after every optimizer step.

    Lifetime: from the first optimizer step (or `start`) to `close`. Use it as a context manager. In a distributed
    training (torch.distributed, torchrun) rank 0 records. On the other ranks all methods return at once.

    Parameters
    ----------
    store : path
        The Zarr store to write, named `*.zarr` by custom.
    model : torch.nn.Module
        Lazy layers may still be uninitialised.
    optimizer : torch.optim.Optimizer or sequence of them, optional
        A frame is recorded once each of them has stepped since the last frame. If one wraps or holds another
        optimizer, the steps of the two are one. Without an optimizer, call `step` yourself.
    hyperparameters : mapping, dataclass or namespace, optional
        Numbers, strings and the like that describe the run. If a resumed run gets none, it keeps those that it had.
    include, exclude : str or iterable of str, optional
        Glob patterns over dotted parameter names.
    stride : int, default 1
        Record every `stride`-th update.
    chunk_steps : int, optional
        Frames in a chunk, a power of two. Default: as many as the spool's limit allows, up to 1024. Above 256, the
        chunks of all parameters together take at most 64 MiB.
    compression : {"pcodec", "lz4", "none"}
        All are lossless. pcodec: smallest. lz4: larger, nearly three times as fast to write. none: fastest to write.
    mode : {"w-", "w", "a"}
        Refuse an existing store, replace it, or resume it from the recorded frame that the weights equal.
    expected_steps : int, optional
        Length of the run. If given, the recorder checks before step 0 that the disk has room for it.
    on_pressure : {"wait", "drop"}
        When the writer cannot keep up: wait and count the time, or drop frames and record the gap.
    on_error : {"raise", "warn"}
        When recording fails: raise in the training loop, or say so once and let the training go on unrecorded. A value
        that `log` cannot store is no such failure.
    spool : path, optional
        Local folder for frames that are not in the store yet. Default: shared memory; without room there, beside the
        store.
    spool_limit : int or str, optional
        Most bytes that the spool may take, such as `"8GiB"`. Default: 1 GiB, up to 4 GiB for models that need it.
    compare_every : int, optional
        Measure what recording costs this run: stretches of `compare_every` steps are recorded and skipped in turn,
        which leaves gaps in the store. The report gives the slowdown over pairs of stretches.
    user_step : int, optional
        Your own count of applied updates when this recording begins. A resumed run goes on there if no recorded frame
        equals the weights, and the optimizer has no count of its own.

    Raises
    ------
    RecorderError
        The store exists, there is no room, and so on: a subclass for each, which also derives from a builtin.

    Examples
    --------
    >>> import torch, tempfile
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with Recorder(tempfile.mkdtemp() + "/run.zarr", model, optimizer) as recorder:
    ...     recorder.start()
    """

    _tell = staticmethod(tell)

    def __init__(
        self,
        store: str | os.PathLike[str],
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        hyperparameters: Any = None,
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
        self._model = model_of(model)
        self._optimizers = optimizers_of(optimizer, model)
        self._options = options_of(locals())
        self._ranks = Ranks(self._tell)
        if self._ranks.records:
            with self._ranks.announcing():
                refuse_second(self._options.store, lambda other: other._feed is not None)
                check_store(self._options)
        else:
            self._ranks.wait()
        self._feed: HostFeed | DeviceFeed | None = None
        self._closed = self._is_deaf = False
        self._failure: BaseException | None = None
        self._updates = self._skipped = self._frames = 0  # whole updates; those known to be skipped; frames
        self._recorded_update, self._next_check = -1, 0  # the number of frames at which the model is checked next
        self._calls = 0  # updates at the last call of `step`, before later hooks
        self._alternation: Alternation | None = None
        self._seconds = self._start_seconds = 0.0
        self._rounds = Rounds(self._optimizers, self._tell) if len(self._optimizers) > 1 else None
        self._is_on_gpu = torch.cuda.is_available()  # asked once, because asking takes as long as a hook
        self._hooks = attach(self._optimizers, weakref.ref(self), Recorder._before_update, Recorder._after_update)
        watch(self, self._options.store, Recorder._forget, Recorder._leave)

    def start(self) -> None:
        """Record the parameters as they are now as the first frame. The first optimizer step calls it if you do not.

        Raises
        ------
        RecorderError
            The parameters cannot be recorded, the store cannot be written, or there is no room for the spool.
        """
        with self._ranks.announcing():
            self._start()
        if self._is_deaf:
            self._hooks.remove()

    def _start(self) -> bool:
        """Begin, unless the recording has begun or another rank records; tell whether this process records."""
        if self._feed is not None or self._closed:
            return self._feed is not None
        if not self._ranks.records:
            self._closed = self._is_deaf = True
            unwatch(self)
            self._ranks.wait()
            return False
        try:
            self._begin()
        except Exception as error:
            self._failure = expected(error, "start")
            raise self._failure from self._failure.__cause__
        self._failure = None
        self._ranks.announce(begun=True)
        return True

    def _begin(self) -> None:
        began = time.perf_counter()
        parts = begin(self._model, self._optimizers, self._options, self._tell)
        self._writer, self._spool, self._lookout = parts.writer, parts.spool, parts.lookout
        self._rates, self._moved, self._scalars = parts.rates, parts.moved, parts.scalars
        self._temperatures, self._alternation = parts.temperatures, parts.alternation
        self._check_every, self._feed = parts.file_frames, parts.feed
        self._push()
        self._start_seconds = time.perf_counter() - began

    def step(self) -> None:
        """Record the update just made, if no optimizer was given. Call `start` before the first one.

        Without `start`, the weights before the first update are not recorded. If the steps of an optimizer are
        recorded already, a call does nothing, and says so once.

        Raises
        ------
        RecorderError
            See `Recorder`.
        """
        if self._is_deaf:
            return
        if self._closed:
            raise UsageError("recorder.step(): expected an open recorder, it is closed. Make a new one with mode='a'.")
        if self._optimizers and (self._updates > self._calls or not self._is_whole()):
            self._lookout.tell_of_calls()
            return
        if self._feed is None and self._ranks.records:
            self._tell("step() came before start(): frame 0 is the state after the first update, like frame 1")
        self._after_update(None, -1)
        self._calls = self._updates

    def log(self, /, *mappings: Mapping[str, Any], **scalars: Any) -> None:
        """Store scalars with the frame of the last step: loss and epoch, for example.

        A name or a value that the store cannot hold is named once on stderr and left out.

        Parameters
        ----------
        *mappings
            Names and values, as in `log({"train/loss": loss})`. A name may be any text.
        **scalars
            Numbers, or arrays or tensors of one element; None is left out. A tensor on a device is copied on the
            device, and nothing waits for it. With a `stride`, values logged between two frames go to the next frame.
        """
        if self._closed:
            return
        try:
            if self._feed is None and not self._start():
                return
            began = time.perf_counter()
            scalars = self._scalars.joined(mappings, scalars) if mappings else scalars
            if self._recorded_update == self._updates:
                self._scalars.store(scalars)
                if self._scalars.calls in LOGS_WITHOUT_A_STEP and self._optimizers and self._is_newest():
                    self._lookout.compare(cast(HostFeed, self._feed))
            else:
                self._scalars.keep(scalars)
            self._seconds += time.perf_counter() - began
        except Exception as error:
            self._fail(error)

    def temperatures(self) -> dict[str, float]:
        """Return T = ½⟨v²⟩ of each layer over the newest spool file, as of the writer's last commit. It does not wait.

        Returns
        -------
        dict of str to float
            In weight² stride⁻² (the paper's convention); NaN where a velocity is not finite. Empty before the first
            commit.
        """
        return {} if self._feed is None else self._temperatures.newest()

    def close(self, status: Literal["complete", "interrupted"] = "complete") -> None:
        """Wait until every frame is in the store, and close it. Closing twice does nothing.

        Parameters
        ----------
        status : {"complete", "interrupted"}
            How the run ended; the store's attribute `status` will say it.

        Raises
        ------
        RecorderError
            The status is not valid; or the writer failed, and `on_error` is "raise". Committed frames are kept.
        """
        check_status(status)
        if self._closed:
            self._hooks.remove()  # a rank that did not record still has hooks
            return
        self._ranks.announce()
        if self._failure is None and self._feed is None and self._ranks.records:
            self._tell(nothing_recorded(self._options.store, self._optimizers))
        if self._failure is None and self._feed is not None:
            with contextlib.suppress(Exception):  # if the look fails, the store is closed all the same
                feed, is_newest = cast(HostFeed, self._feed), self._is_newest()
                self._lookout.finish(feed, self._rounds, self._updates, status, is_newest=is_newest)
        self._let_go()
        if self._feed is None:
            return
        try:
            drain(self._feed, self._writer, status, str(self._options.store), self._updates, self._tell)
        except Exception as error:
            self._failure = expected(error, "close")
            if self._options.on_error == "raise":
                raise self._failure from self._failure.__cause__
            self._tell(str(self._failure))
        finally:
            seconds = self._start_seconds, self._seconds, self._feed.stall_seconds, self._feed.launch_seconds
            overhead = self._alternation.result() if self._alternation else None
            words, store = self._writer.control.words, str(self._options.store)
            self.report = make_report(self._spool, words, store, status, self._updates, seconds, overhead)
        self._tell(str(self.report))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None and self._feed is None:
            self._failure = error  # says why nothing was recorded
        try:
            self.close("complete" if error is None else "interrupted")
        except RecorderError as failure:
            if error is None:
                raise
            if error is not failure:
                self._tell(str(failure))

    # One step. A training drives this code out of the processor's caches, so a step makes few calls, to few functions.

    def _fail(self, error: Exception) -> None:
        """Raise a failure, or report it and stop recording, as `on_error` says."""
        self._failure = failure = expected(error, f"record after update {self._updates}")
        if self._options.on_error == "raise":
            self._ranks.announce(failure)
            raise failure from failure.__cause__
        self._ranks.announce()
        self._tell(f"recording stops, training goes on: {failure}")
        self._is_deaf = True  # hooks cannot be removed while torch goes through them
        if not isinstance(failure, CapturedError):  # to close now would abort the capture
            self._leave()

    def _before_update(self) -> None:
        if self._is_deaf:
            return
        try:
            if self._is_on_gpu:
                refuse_capture()
            if self._feed is None:
                self._start()
            elif self._frames in EARLY_FRAMES and self._feed.can_be_looked_at and self._is_newest():
                self._lookout.compare(self._feed, early=True)
        except Exception as error:
            self._fail(error)

    def _after_update(self, optimizer: Optimizer | None, place: int) -> None:
        if self._is_deaf:
            return
        try:
            if self._is_on_gpu:
                refuse_capture()
            if self._feed is None and not self._start():
                return
            began = time.perf_counter()
            if self._rounds is None or optimizer is None:
                found_inf = getattr(optimizer, "found_inf", None)
            elif self._rounds.completes(place, optimizer):
                found_inf = self._rounds.found_inf
            else:
                return
            self._updates += 1
            skipped = found_inf is not None and self._feed.skip(found_inf)  # type: ignore[union-attr]
            self._skipped += skipped
            recorded = self._alternation is None or self._alternation.records(self._updates)
            if recorded and (self._updates - self._skipped) % self._options.stride == 0:
                self._push(skipped=skipped)
            else:  # later frames get the right step, and so does the end of the run
                self._writer.control.note_updates(self._updates, self._skipped)
            self._seconds += time.perf_counter() - began
        except Exception as error:
            self._fail(error)

    def _push(self, *, skipped: bool = False) -> None:
        feed: Any = self._feed
        if self._frames == self._next_check:
            self._check_structure()
        if feed.push(self._updates, self._rates.now() if self._frames else ()):
            self._frames += 1
            if skipped:
                return  # the writer drops this frame, and with it what is logged now
            self._recorded_update = self._updates
            if moved := self._moved.now():
                self._scalars.store(moved)
            self._scalars.calls = 0
            if self._scalars.pending:
                self._scalars.store_pending()

    def _check_structure(self) -> None:
        """Walk the model once for each spool file. If a module was replaced, its old parameters would be recorded."""
        self._next_check += self._check_every
        if self._frames:
            self._hooks.settle()
            self._lookout.check_structure(cast(HostFeed, self._feed))

    def _is_newest(self) -> bool:
        """Tell whether the last update has a frame, and no part of the next one has come yet."""
        return self._recorded_update == self._updates and self._is_whole()

    def _is_whole(self) -> bool:
        return self._rounds is None or self._rounds.is_whole

    def _let_go(self) -> None:
        self._closed = True
        unwatch(self)
        if not self._is_deaf:
            self._hooks.remove()

    def _leave(self) -> None:
        """Close as interrupted; report a failure of the writer instead of raising it."""
        try:
            self.close("interrupted")
        except Exception as failure:
            self._tell(str(failure))

    def _forget(self) -> None:
        """Stop recording in a forked child, where the parent's spool files are mapped too."""
        self._let_go()
        if self._feed is not None:
            self._writer.forget()
