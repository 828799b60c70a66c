"""Chunks and pools that do not fit, and sizes as people write them."""

from __future__ import annotations

import pytest
from torch import nn

from recorder import Recorder
from recorder.budget import parse_bytes
from recorder.errors import UsageError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk_steps": 100}, "chunk_steps: expected a power of two of at least 16, got 100"),
        ({"chunk_steps": 8}, "chunk_steps: expected a power of two of at least 16, got 8"),
        ({"chunk_steps": 1024, "spool_limit": "1MiB"}, "chunk_steps=1024: expected three chunks of frames within"),
        ({"spool_limit": 100}, "spool: expected room for three chunks of 16 frames"),
    ],
)
def test_sizes_that_do_not_fit_name_both_numbers(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        Recorder(tmp_path / "run.zarr", nn.Linear(1, 1), **options).start()


@pytest.mark.parametrize(
    ("text", "size"), [("4GiB", 4 << 30), ("1.5 MB", 1_500_000), ("17", 17), (12, 12), ("64kib", 65536)]
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert parse_bytes(text) == size


def test_a_size_that_is_none_is_refused():
    with pytest.raises(UsageError, match="such as 4294967296 or '4GiB'"):
        parse_bytes("4 elephants")
