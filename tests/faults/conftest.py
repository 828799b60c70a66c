from __future__ import annotations

import random

import pytest

from tests.faults.disks import mount, unmount
from tests.faults.trainers import LIVING


@pytest.fixture(autouse=True)
def no_process_survives_its_test():
    yield
    for trainer in list(LIVING.values()):
        trainer.put_down()


@pytest.fixture
def chance(request) -> random.Random:
    """Random numbers that the test's name and round decide: `pytest 'test_damage.py::test_x[17]'` repeats round 17."""
    return random.Random(request.node.name)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own that can be filled, and made larger (`disks.resize`)."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mount(disk):
        pytest.skip("mounting is not allowed here: the limits on file size show the same path")
    yield disk
    unmount(disk)
