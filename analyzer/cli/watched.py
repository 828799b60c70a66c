"""What `analyzer watch` remembers of a run between commits, from the root document alone."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from analyzer.store.describe import mapping
from analyzer.store.heartbeat import PROCESSES, STALE_SECONDS, abandoned, ended_processes, heartbeat_age
from analyzer.store.names import loss_of
from analyzer.store.recent import Recent, recent_of
from analyzer.store.schema import Store

MOST_KEPT = 1000
"""Most remembered temperatures of a layer: no terminal is wider."""
RATE_SECONDS = 60.0
"""Steps a second are a mean over the commits of this many seconds."""
MOST_EVENTS = 3
INTERRUPTED_SECONDS = 3.0
"""How long a run that was seen alive must stay interrupted before the watch ends."""
RESUMED_SECONDS = 20.0
"""The same if its trainer and its writer had died. A resumption marks the run as interrupted, then looks for the frame
that equals the restored weights, which takes a while on a busy machine."""
RUNNING = "running"


@dataclass(frozen=True)
class View:
    """What is shown of a run after a commit.

    Attributes
    ----------
    store
        Its path or URL.
    status
        In words.
    is_over
        Whether no more commits can come.
    step
        Of the newest committed frame; None before the first.
    rate
        Steps a second; None where fewer than two commits were seen.
    loss, scalars
        The newest finite values of the loss, with its name, and of the other logged scalars by name.
    learning_rates
        Of each parameter group.
    waiting
        Frames that still lay in the spool at the commit, and the capacity of the spool.
    recent
        The newest temperatures.
    history
        Temperatures by layer since the watch began, oldest first.
    since
        Step of the first of them.
    committed
        Time of the commit.
    events
        What happened to the run while it was watched.
    """

    store: str
    status: str
    is_over: bool
    step: int | None
    rate: float | None
    loss: tuple[str, float] | None
    scalars: Mapping[str, float]
    learning_rates: tuple[float, ...]
    waiting: tuple[int, int] | None
    recent: Recent | None
    history: Mapping[str, tuple[float, ...]]
    since: int | None
    committed: str
    events: tuple[str, ...] = ()

    @property
    def not_finite(self) -> list[str]:
        """Layers whose weights are not finite."""
        return [] if self.recent is None else [n for n, T in self.recent.temperatures.items() if not math.isfinite(T)]


@dataclass
class Watched:
    """A run under watch. Lifetime: the command."""

    run_id: str = ""
    created: object = None
    segments: int = 0
    since: int | None = None
    ends: deque[tuple[float, int]] = field(default_factory=deque)
    history: dict[str, deque[float]] = field(default_factory=dict)
    events: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_EVENTS))
    measured: int | None = None
    patience: float = 0.0
    over_since: float | None = None

    def look(self, store: Store, when: float) -> View:
        """Take note of a commit; `when` is its time in seconds since 1970."""
        self._notice(store, when)
        recent, step = recent_of(store), _step_of(store)
        if step is not None and (not self.ends or step > self.ends[-1][1]):
            self.ends.append((when, step))
            while len(self.ends) > 2 and when - self.ends[1][0] > RATE_SECONDS:
                self.ends.popleft()
        if recent is not None and recent.last_step != self.measured:
            self.measured = recent.last_step
            self.since = recent.first_step if self.since is None else self.since
            for layer, temperature in recent.temperatures.items():
                self.history.setdefault(layer, deque(maxlen=MOST_KEPT)).append(temperature)
        status, is_over = state_of(store)
        values = {name: float(n) for name, n in mapping(store.attrs.get("last")).items() if _is_number(n)}
        values.pop("step", None)
        loss = loss_of(values)
        return View(
            store=store.location,
            status=status,
            is_over=is_over,
            step=step,
            rate=self._rate(),
            loss=None if loss is None else (loss, values.pop(loss)),
            scalars=values,
            learning_rates=() if recent is None else tuple(r for r in recent.learning_rate if r is not None),
            waiting=_waiting(store),
            recent=recent,
            history={layer: tuple(values) for layer, values in self.history.items()},
            since=self.since,
            committed=_clock(when),
            events=tuple(self.events),
        )

    def has_ended(self, store: Store, view: View) -> bool:
        """Whether the run is over and not about to be resumed."""
        if not view.is_over:
            self.patience, self.over_since = RESUMED_SECONDS if abandoned(store) else INTERRUPTED_SECONDS, None
            return False
        self.over_since = self.over_since or time.monotonic()
        return store.status != "interrupted" or time.monotonic() - self.over_since >= self.patience

    def _notice(self, store: Store, when: float) -> None:
        """Note as an event if the run was resumed, or if another took its place."""
        created, segments, at = store.attrs.get("created"), len(store.segments), _clock(when)
        if self.run_id and store.run_id != self.run_id and created != self.created:
            self.events.append(f"{at} another run took its place")
            self._forget()
        elif segments > self.segments > 0:
            self.events.append(f"{at} resumed at step {store.segments[-1].first_step:,}")
            self.ends.clear()  # there was no training in between
        self.run_id, self.created, self.segments = store.run_id, created, segments

    def _forget(self) -> None:
        self.ends.clear()
        self.history.clear()
        self.since = self.measured = None

    def _rate(self) -> float | None:
        if len(self.ends) < 2 or self.ends[-1][0] <= self.ends[0][0]:
            return None
        (began, first), (ended, last) = self.ends[0], self.ends[-1]
        return (last - first) / (ended - began)


def state_of(store: Store) -> tuple[str, bool]:
    """The status of a run in words, and whether no more commits can come."""
    if not store.is_trajectory:
        return "kept sums alone", True
    if store.status != RUNNING:
        ends = "the training ended without closing the recorder, or with an exception"
        return (f"{store.status}: {ends}" if store.status == "interrupted" else store.status or "unknown"), True
    # In this order: what has ended stays so. A process that ends in between would else look like a run elsewhere.
    sign, age, ended = abandoned(store), heartbeat_age(store), ended_processes(store)
    if sign is not None:
        is_over = ended != PROCESSES or age is None or age > STALE_SECONDS  # until then it may be recovered or resumed
        return f"nobody writes any more: {sign}. Recover its frames: recorder recover {store.location}", is_over
    if "trainer" in ended:
        return "the trainer has died; the writer stores its last frames", False
    if "writer" in ended:
        return "the writer has died; the trainer starts another", False
    return RUNNING, False


def _clock(when: float) -> str:
    """The time of day; "--:--:--" for an impossible time, as a damaged file system may give."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(when))
    except (ValueError, OverflowError, OSError):
        return "--:--:--"


def _step_of(store: Store) -> int | None:
    """The step of the newest frame: from the root document, else from the number of frames."""
    step = mapping(store.attrs.get("last")).get("step")
    if isinstance(step, int):
        return step
    return (store.frames - 1) * store.stride if store.frames else None


def _waiting(store: Store) -> tuple[int, int] | None:
    recording = mapping(store.attrs.get("recording"))
    waiting, capacity = recording.get("waiting"), recording.get("capacity")
    if store.status != RUNNING or not isinstance(waiting, int) or not isinstance(capacity, int):
        return None
    return waiting, capacity


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
