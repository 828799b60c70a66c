"""What becomes of open recordings when their process forks or ends without closing them."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")
Act = Callable[[T], None]

_open: WeakKeyDictionary[Any, tuple[Act[Any], Act[Any]]] = WeakKeyDictionary()


def watch(owner: T, in_child: Act[T], at_exit: Act[T]) -> None:
    """Call `in_child` with an owner in every forked child, and `at_exit` when the process ends, as long as it lives."""
    _open[owner] = in_child, at_exit


def unwatch(owner: object) -> None:
    """Forget an owner that is closed."""
    _open.pop(owner, None)


def _after_fork() -> None:
    for owner, (in_child, _) in list(_open.items()):
        in_child(owner)


def _at_exit() -> None:
    for owner, (_, at_exit) in list(_open.items()):
        at_exit(owner)


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
