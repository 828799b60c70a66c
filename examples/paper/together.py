"""Several jobs at once in one process: each lets the others go on after every launch."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from typing import TypeVar

N = TypeVar("N")
T = TypeVar("T")

Steps = Generator[None, None, T]
"""A job: it yields where others may take their turn, and returns what it made."""


def finish(steps: Steps[T]) -> T:
    """Run a job alone to its end. Returns what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def together(jobs: Iterable[tuple[N, Steps[T]]], most: int) -> Iterator[tuple[N, T]]:
    """Run jobs in turn, at most `most` at a time. Yields the name of each that ends, and what it returned.

    A job is taken from `jobs` when there is room for it. If one fails, the others are closed.
    """
    waiting = iter(jobs)
    running: list[tuple[N, Steps[T]]] = []
    with ExitStack() as stack:
        while True:
            while len(running) < most and (job := next(waiting, None)) is not None:
                stack.callback(job[1].close)
                running.append(job)
            if not running:
                return
            for name, steps in tuple(running):
                try:
                    next(steps)
                except StopIteration as end:
                    running = [job for job in running if job[1] is not steps]
                    yield name, end.value
