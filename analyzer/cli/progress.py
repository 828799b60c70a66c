"""A progress bar on stderr, if that is a terminal and the work takes more than half a second."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

_PATIENCE = 0.5  # seconds: what ends sooner would only flicker


@contextmanager
def bar(title: str, total: float, unit: str = "B") -> Iterator[Callable[[float], None]]:
    """Show a bar inside the block; yield a function that is told how much is done so far.

    Parameters
    ----------
    title
        What is being done.
    total
        How much there is, in units.
    unit
        "B" for bytes, shown as kB, MB, …; else the plural of a word.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.filesize import decimal
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as Left
    from rich.text import Text

    class Rate(ProgressColumn):
        """How fast it goes. Lifetime: one bar."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            if speed is None:
                return Text("")
            return Text(f"{decimal(int(speed))}/s" if unit == "B" else f"{speed:,.0f} {unit}/s")

    columns = TextColumn(title), BarColumn(), TaskProgressColumn(), Rate(), Left(compact=True), TextColumn("left")
    shown = Progress(*columns, console=Console(stderr=True), transient=True)
    task = shown.add_task(title, total=max(total, 1e-9))
    later = Timer(_PATIENCE, shown.start)
    later.daemon = True
    later.start()
    try:
        yield lambda done: shown.update(task, completed=done)
    finally:
        later.cancel()
        later.join()
        shown.stop()
