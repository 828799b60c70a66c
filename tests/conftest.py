"""For all tests."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.scripts import Scripts

# Before numpy and torch are loaded, here and in every process that a test starts: the models and arrays of tests gain
# nothing from threads, and threads that wait for a busy core lose much. A test that wants threads asks for them.
os.environ["OMP_NUM_THREADS"] = "1"

# A shell starts what runs in its background with interrupts ignored, and nohup has hang-ups ignored, which every child
# inherits: the tests that send them would wait in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Timings never decide a test. Where a test has settings of its own, these hold for what they leave open.
settings.register_profile("timeless", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("timeless")

SHORT = ("tests/analyzer/fitting", "tests/analyzer/statistics", "tests/analyzer/query")
"""Folders without slow tests. They run last, so that all workers end at about the same time."""


@pytest.fixture(scope="session")
def scripts() -> Iterator[Scripts]:
    """Runs scripts where torch is loaded already, which takes seconds: its tests are in the xdist_group "scripts"."""
    with Scripts() as running:
        yield running


@pytest.fixture(autouse=True)
def _recorders_go_with_their_test() -> Iterator[None]:
    """A recorder that a test leaves in a cycle of references says so when it is collected: now, not in a later test."""
    yield
    exits = sys.modules.get("recorder.trainer.exits")
    if exits is not None and exits._open:
        gc.collect()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Modules and items live to the end: whenever Python looks for garbage, it need not look through them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share what takes long to make first, then the others; those of the folders of short ones last."""

    def place(item: pytest.Item) -> int:
        if item.get_closest_marker("xdist_group"):
            return 0
        return 2 if item.nodeid.startswith(SHORT) else 1

    items.sort(key=place)
