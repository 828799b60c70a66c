"""`analyzer watch`: a live table of a run while it is recorded, from its root zarr.json alone."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from analyzer.cli.text import say
from analyzer.errors import AnalyzerError, NotATrajectoryError, StoreNotFoundError
from analyzer.store.names import is_url, user_path
from analyzer.store.schema import Store, read_store

LOOK_SECONDS = 0.5
"""Time between two checks of the stamp of zarr.json. A commit changes the stamp."""
REMOTE_SECONDS = 5.0
"""The same for a URL."""
GONE_SECONDS = 20.0
"""How long to wait for a watched store that disappeared: a new recording may take its place."""


@click.command()
@click.argument("store")
@click.option("--wait", is_flag=True, help="Wait for a store that is not there yet.")
def watch(store: str, wait: bool) -> None:
    """Watch the run in STORE while it is recorded, until it ends.

    Shows step, steps a second, loss, learning rate η, how full the spool is, and the newest temperature of each layer
    with its history since the watch began. It reads only the metadata, at each commit. If stdout is no terminal, it
    prints one line for each commit.

    Ends with the run: exit code 0 if the run was closed (complete or interrupted), 1 if its writer has died. Ctrl-C
    ends it at any time, without any effect on the recording.

    \b
    analyzer watch runs/gcn.zarr
    analyzer watch runs/gcn.zarr --wait       # begun before the training
    """
    from analyzer.cli.screen import make_display
    from analyzer.cli.watched import RUNNING, Watched

    location = user_path(store)
    watched, display, view = Watched(), None, None
    try:
        with _terminated_as_interrupted():
            for opened, when in _commits(location, wait):
                display = display or make_display()
                view = watched.look(opened, when)
                display.show(view)
                if watched.has_ended(opened, view):
                    break
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None
    finally:
        if display is not None:
            display.close()
    if view is not None and opened.status == RUNNING:
        raise click.ClickException(f"{store}: expected a run that is being written, got: {view.status}")


def committed(location: str) -> Iterator[Store]:
    """Yield a run after each commit, until it is over; a run that is already over is yielded once.

    If the caller takes longer than a commit, the commits in between are skipped.
    """
    from analyzer.cli.watched import Watched

    watched, seen = Watched(), None
    with _terminated_as_interrupted():
        for opened, when in _commits(location, wait=False):
            view = watched.look(opened, when)
            state = (opened.frames, opened.status, view.is_over)
            if state != seen:
                seen = state
                yield opened
            if watched.has_ended(opened, view):
                return


def _commits(location: str, wait: bool) -> Iterator[tuple[Store, float]]:
    """The store at each check, and the time of its last commit. It is read again only if its stamp has changed.

    Raises
    ------
    AnalyzerError
        There is no store, or it was removed and no other took its place.
    """
    from analyzer.store.chunks import document_stamp

    pause = REMOTE_SECONDS if is_url(location) else LOOK_SECONDS
    held: tuple[Any, Store, float] | None = None
    gone: float | None = None
    while True:
        stamp = document_stamp(location)
        if held is None or not stamp or stamp != held[0]:
            try:
                opened = read_store(location)
                held, gone = (stamp, opened, _committed(location)), None
            except AnalyzerError as error:
                if not isinstance(error, (StoreNotFoundError, NotATrajectoryError)):
                    raise
                gone = _wait_on(location, error, wait, gone, held is None)
        if held is not None and gone is None:
            yield held[1], held[2]
        time.sleep(pause)


def _wait_on(location: str, error: AnalyzerError, wait: bool, since: float | None, is_new: bool) -> float:
    """Return since when a missing store is waited for; raise the error if waiting is useless or too long."""
    now = time.monotonic()
    if wait and (isinstance(error, StoreNotFoundError) or not _holds_something(location)):
        if since is None and is_new:
            say(f"waiting for {location}", err=True)
        return since or now
    if is_new and isinstance(error, StoreNotFoundError):
        raise StoreNotFoundError(f"{error} To wait until a training makes it: --wait", location=location) from error
    if is_new or now - (since or now) > GONE_SECONDS:
        raise error
    return since or now


def _holds_something(location: str) -> bool:
    """Whether the path holds something else than a folder that a recorder may be about to fill."""
    path = Path(location)
    return path.exists() and not (path.is_dir() and not (path / "zarr.json").exists())


def _committed(location: str) -> float:
    """The time of the last commit, in seconds since 1970; now, if it cannot be read."""
    try:
        return (Path(location) / "zarr.json").stat().st_mtime
    except (OSError, ValueError):
        return time.time()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that the terminal is restored."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
