"""How a recording begins and how it ends: what comes before its first frame and after its last one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn
from torch.optim import Optimizer

from recorder.budget import Budget
from recorder.root import read_root
from recorder.spool_files import COMMITTED, create_spool
from recorder.trainer.feeds.device_feed import DeviceFeed
from recorder.trainer.feeds.host_feed import HostFeed
from recorder.trainer.feeds.spool import Spool
from recorder.trainer.model.selection import Selection, select_parameters
from recorder.trainer.options import Options
from recorder.trainer.overhead import Alternation
from recorder.trainer.placement import place_spool
from recorder.trainer.plan import check_plan
from recorder.trainer.process import Waiting, WriterProcess
from recorder.trainer.scalars import Scalars
from recorder.trainer.session import make_session
from recorder.trainer.temperatures import Temperatures, frozen_in
from recorder.trainer.updates.lookout import REMEDY, Lookout
from recorder.trainer.updates.optimizers import LearningRates, listing, named
from recorder.trainer.updates.schedules import MovedSettings


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a recording whose writer runs."""

    writer: WriterProcess
    spool: Spool
    feed: HostFeed | DeviceFeed
    rates: LearningRates
    moved: MovedSettings
    scalars: Scalars
    lookout: Lookout
    temperatures: Temperatures
    file_frames: int
    alternation: Alternation | None


def begin(model: nn.Module, optimizers: Sequence[Optimizer], options: Options, tell: Callable[[str], None]) -> Parts:
    """Choose what is recorded, make the spool, and start the writer.

    Raises
    ------
    RecorderError
        The parameters cannot be recorded, there is no room, or the writer could not take the store. No process and no
        spool is left behind.
    """
    selection = select_parameters(model, options.include, options.exclude)
    session = make_session(model, optimizers, options, selection.schema)
    if options.expected_steps is not None:
        schema, budget = selection.schema, session.budget
        tell(check_plan(options.store, schema, budget, options.expected_frames, options.compression))
    directory = place_spool(options.store, session.session, session.budget.pool_bytes, options.spool)
    create_spool(directory, session)
    writer = WriterProcess(directory)
    every = options.compare_every
    try:
        spool = Spool(directory, session, writer, drop=options.on_pressure == "drop", tell=tell)
        feed = make_feed(selection, spool, session.budget)
        parts = Parts(
            writer=writer,
            spool=spool,
            feed=feed,
            rates=LearningRates(optimizers, tell),
            moved=MovedSettings(optimizers, read_root(options.store).get("last", ()) if options.mode == "a" else ()),
            scalars=Scalars(spool, feed, tell),
            lookout=Lookout(model, optimizers, selection, options, tell),
            temperatures=Temperatures(
                selection.schema, writer.control, frozen_in(selection.schema, session.attributes.get("optimizer"))
            ),
            file_frames=session.budget.file_frames,
            alternation=None if every is None else Alternation(every, selection.schema.planes[0].device),
        )
        writer.start()  # last, so that an earlier failure leaves no process behind
        writer.wait_until_running(tell)
    except BaseException:
        writer.forget()
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return parts


def make_feed(selection: Selection, spool: Spool, budget: Budget) -> HostFeed | DeviceFeed:
    """Return the feed: for host memory if all parameters lie there, else for devices."""
    if all(plane.device == "cpu" for plane in selection.schema.planes):
        return HostFeed(selection.schema, selection.slots, spool)
    return DeviceFeed(selection.schema, selection.slots, spool, budget.file_frames, budget.scalar_columns)


def drain(
    feed: HostFeed | DeviceFeed,
    writer: WriterProcess,
    status: Literal["complete", "interrupted"],
    store: str,
    updates: int,
    tell: Callable[[str], None],
) -> None:
    """Send the last frames on, and wait until the writer has written all and ended.

    Parameters
    ----------
    feed, writer
    status : str
        The status that the store will have.
    store : str
    updates : int
        How many updates the recorder saw, also those without a frame.
    tell : callable

    Raises
    ------
    RecorderError
        The writer failed; what it had not committed stays in the spool.
    KeyboardInterrupt
        The user did not want to wait. The writer goes on until it has written all.
    """
    waiting = Waiting(tell)
    try:
        feed.close()
        writer.control.note_updates(updates, feed.skipped)
    finally:
        try:
            writer.close(status, lambda: waiting.show(feed.pushed, writer.control.words[COMMITTED]))
        except KeyboardInterrupt:
            tell(f"no longer waiting; the writer finishes on its own, then {store} is complete")
            raise
        finally:
            writer.release()


def nothing_recorded(store: Path, optimizers: Sequence[Optimizer]) -> str:
    """Return what to say at the end of a recording that never began."""
    if not optimizers:
        return (
            f"nothing was recorded in {store}: recorder.step() was never called. Call it after each update, or pass "
            "the optimizer."
        )
    names = listing([named(optimizers, place) for place in range(len(optimizers))])
    return (
        f"nothing was recorded in {store}: no step of {names} was seen. If the model was trained, something else made "
        f"its updates (a wrapper, a step in two calls, another optimizer). {REMEDY}"
    )
