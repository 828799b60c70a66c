from __future__ import annotations

import pytest

from tests.faults.trainers import LIVING


@pytest.fixture(autouse=True)
def no_process_survives_its_test():
    yield
    for trainer in list(LIVING.values()):
        trainer.put_down()
