"""Answers as Parquet files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analyzer.cli.parquet import write_parquet
from analyzer.tables.columns import ROWS, frame_of, pieces_of, told
from tests.analyzer.cli.test_records import long_answer


def test_parquet_is_one_frame_with_its_attributes(tmp_path: Path) -> None:
    answer = told(long_answer(6, 5))
    write_parquet(map(frame_of, pieces_of(answer, ROWS, 7)), answer.attrs, tmp_path / "a.parquet")
    frame = frame_of(answer)
    frame.attrs = dict(answer.attrs)
    frame.to_parquet(tmp_path / "b.parquet", index=False)
    found, expected = (pd.read_parquet(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    pd.testing.assert_frame_equal(found, expected)
    assert found.attrs == expected.attrs == answer.attrs
