"""The rows of an answer as csv text, and as the object that `--format json` prints."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from analyzer.text import of_cell


@dataclass(frozen=True)
class Records:
    """Rows of an answer that are made while they are written, one frame at a time."""

    frames: Iterable[pd.DataFrame]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for frame in self.frames:
            yield from _records(frame)


def document_of(answer: xr.Dataset, frames: Iterable[pd.DataFrame], store: str) -> dict[str, Any]:
    """Return the object that `--format json` prints for one run."""
    attrs = {name: value for name, value in answer.attrs.items() if name not in ("quantity", "store")}
    return {"quantity": answer.attrs["quantity"], "store": store, "attrs": attrs, "records": Records(frames)}


def json_text(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the text of a JSON object piece by piece: as of `json.dumps(document, indent=1)`, and a line break.

    A value of the object may be `Records`; they are written one after the other. Deeper values may not.
    """
    lead = "{"
    for name, value in document.items():
        yield f"{lead}\n {json.dumps(name)}: "
        lead = ","
        if isinstance(value, Records):
            yield from _list_text(value)
        else:
            yield _indented(value, 1)
    yield "\n}\n" if document else "{}\n"


def _list_text(records: Records) -> Iterator[str]:
    lead = "["
    for record in records:
        yield f"{lead}\n  {_indented(record, 2)}"
        lead = ","
    yield "[]" if lead == "[" else "\n ]"


def _indented(value: Any, depth: int) -> str:
    """A value as JSON, indented as at this depth. JSON escapes the line breaks in texts."""
    return json.dumps(value, indent=1, allow_nan=False).replace("\n", "\n" + depth * " ")


def csv_text(frames: Iterable[pd.DataFrame]) -> Iterator[str]:
    """Yield the text of a csv file, frame by frame. No name in it works as a formula or as a terminal command."""
    for n, frame in enumerate(frames):
        yield str(_cells(frame).to_csv(index=False, header=n == 0))


def _cells(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with texts that are safe in a cell; numbers stay as they are."""
    names = [str(name) for name in frame.columns]
    texts = {name: frame[name].map(_cell) for name in names if not pd.api.types.is_numeric_dtype(frame[name])}
    return frame.assign(**texts).rename(columns=_cell)


def _cell(value: Any) -> Any:
    return of_cell(value) if isinstance(value, str) else value


def records_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one object for each row of a frame, by column."""
    return list(_records(frame))


def _records(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    names = [str(name) for name in frame.columns]
    columns = [frame[name].tolist() for name in names]
    for row in zip(*columns, strict=True):
        yield {name: plain(value) for name, value in zip(names, row, strict=True)}


def plain(value: Any) -> Any:
    """Return a value as JSON has it; NaN and infinity become null."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
