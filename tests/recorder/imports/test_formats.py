"""Damaged files: each is imported as it is, or refused by one clear error; nothing else happens."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from recorder.errors import RecorderError
from recorder.imports.build import import_checkpoints
from tests.recorder.imports.series_files import SAVERS, save_series

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "12"))


@pytest.mark.parametrize("kind", SAVERS)
def test_a_flipped_or_missing_byte_is_an_error_or_nothing(tmp_path: Path, kind: str) -> None:
    save_series(tmp_path / "files", range(3), kind)
    (path,) = (tmp_path / "files").glob("ckpt_1.*")
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    ended = set()
    for number in range(ROUNDS):
        data = bytearray(whole)
        place = int(rng.integers(len(data)))
        if number % 3 == 2:
            del data[place:]
        else:
            data[place] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            import_checkpoints([tmp_path / "files"], tmp_path / "run.zarr", overwrite=True)
            ended.add("imported")
        except RecorderError as error:
            ended.add("refused" if "\n" not in str(error) else "refused in several lines")
    assert ended - {"imported"} == {"refused"}
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
