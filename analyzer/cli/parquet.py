"""Answers as Parquet files, written a frame after the other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analyzer.text import storable


def write_parquet(frames: Iterable[pd.DataFrame], attrs: Mapping[str, Any], part: Path) -> None:
    """Write frames of the same columns as row groups of one file, which pandas reads as one frame with `attrs`.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    writer: Any = None
    schema: Any = None
    try:
        for frame in frames:
            held = _storable(frame)
            if schema is None:
                schema = pa.Schema.from_pandas(held, preserve_index=False)
                # pandas reads the attributes of a frame from there.
                schema = schema.with_metadata({**(schema.metadata or {}), b"PANDAS_ATTRS": json.dumps(dict(attrs))})
                writer = parquet.ParquetWriter(part, schema)
            writer.write_table(pa.Table.from_pandas(held, schema=schema, preserve_index=False))
    finally:
        if writer is not None:
            writer.close()


def _storable(frame: pd.DataFrame) -> pd.DataFrame:
    names = [str(name) for name in frame.columns]
    texts = {name: frame[name].map(_text) for name in names if not pd.api.types.is_numeric_dtype(frame[name])}
    return frame.assign(**texts)


def _text(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else value
