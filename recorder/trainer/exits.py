"""Open recordings whose process forks, ends without closing them, loses one, or opens a second one of a store."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, finalize

from recorder.errors import StoreLockedError
from recorder.trainer.report import tell

T = TypeVar("T")
Act = Callable[[T], None]

_open: WeakKeyDictionary[Any, tuple[str, Act[Any], Act[Any], Any]] = WeakKeyDictionary()


def watch(owner: T, store: Path, in_child: Act[T], at_exit: Act[T]) -> None:
    """While an owner lives, call `in_child(owner)` in forked children and `at_exit(owner)` when the process ends.

    Hooks hold the owner weakly. If nothing else holds it, Python frees it and recording stops. The user is told.
    """
    lost = finalize(owner, tell, f"{store}: nothing holds the Recorder any more, so recording stops here. Keep it in a "
                    "variable until recorder.close()")  # fmt: skip
    lost.atexit = False
    _open[owner] = os.path.realpath(store), in_child, at_exit, lost


def unwatch(owner: object) -> None:
    """Stop watching an owner that is closed."""
    if (known := _open.pop(owner, None)) is not None:
        known[-1].detach()


def refuse_second(store: Path, has_frames: Callable[[Any], bool]) -> None:
    """Refuse a store that another open owner of this process writes, as when the cell of a notebook ran twice.

    An owner that has recorded nothing yet is closed instead, and the user is told.

    Parameters
    ----------
    store : Path
    has_frames : function
        Tells whether an owner has recorded something.

    Raises
    ------
    StoreLockedError
    """
    place = os.path.realpath(store)
    for other, (written, in_child, *_) in list(_open.items()):
        if written != place:
            continue
        if has_frames(other):
            raise StoreLockedError(
                f"{store}: expected to be its only writer, but another recorder is writing it, in this process (a cell "
                "that ran twice?). Close that one first: recorder.close(). If no variable holds it any more, the "
                "attribute `recorder` of this error does.",
                store=store,
                recorder=other,
            )
        in_child(other)
        tell(f"{store}: an earlier Recorder that had recorded nothing is closed, this one takes its place")


def _after_fork() -> None:
    for owner, (_, in_child, *_) in list(_open.items()):
        in_child(owner)


def _at_exit() -> None:
    for owner, (_, _, at_exit, _) in list(_open.items()):
        at_exit(owner)


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
