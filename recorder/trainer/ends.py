"""How a recording begins and how it ends: what comes before its first frame and after its last one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from torch import nn
from torch.optim import Optimizer

from recorder.budget import Budget
from recorder.spool_files import COMMITTED, Session, create_spool
from recorder.trainer.device_feed import DeviceFeed
from recorder.trainer.host_feed import HostFeed
from recorder.trainer.lookout import REMEDY
from recorder.trainer.optimizers import listing, named
from recorder.trainer.options import Options
from recorder.trainer.placement import place_spool
from recorder.trainer.plan import check_plan
from recorder.trainer.process import Waiting, WriterProcess
from recorder.trainer.selection import Selection, select_parameters
from recorder.trainer.session import make_session
from recorder.trainer.spool import Spool


def begin(
    model: nn.Module, optimizers: Sequence[Optimizer], options: Options, tell: Callable[[str], None]
) -> tuple[Selection, Session, Path]:
    """Choose what is recorded, decide its sizes, and make the spool.

    Returns
    -------
    selection : Selection
    session : Session
    directory : Path
        The spool's folder.

    Raises
    ------
    RecorderError
        The parameters cannot be recorded, or there is no room.
    """
    selection = select_parameters(model, options.include, options.exclude)
    session = make_session(model, optimizers, options, selection.schema)
    if options.expected_steps is not None:
        schema, budget = selection.schema, session.budget
        tell(check_plan(options.store, schema, budget, options.expected_frames, options.compression))
    directory = place_spool(options.store, session.session, session.budget.pool_bytes, options.spool)
    create_spool(directory, session)
    return selection, session, directory


def make_feed(selection: Selection, spool: Spool, budget: Budget) -> HostFeed | DeviceFeed:
    """Return what takes frames to the spool: from this machine's memory, or from a device."""
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
        How many the recorder saw, those without a frame too.
    tell : callable

    Raises
    ------
    RecorderError
        The writer failed; what it had not committed stays in the spool.
    KeyboardInterrupt
        The user did not want to wait. The writer finishes on its own.
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
