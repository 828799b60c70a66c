from tests.faults.conftest import no_process_survives_its_test

__all__ = ["no_process_survives_its_test"]
