"""Records of an answer: the columns that identify a group come first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analyzer.cli.records import Records, csv_text, document_of, json_text, plain
from analyzer.tables.columns import ROWS, frame_of, pieces_of, told
from tests.analyzer.shell import invoke


@pytest.mark.parametrize(
    ("by", "columns"),
    [
        ("model", []),
        ("layer", ["layer"]),
        ("module", ["layer", "module"]),
        ("parameter", ["layer", "parameter"]),
        ("column", ["layer", "parameter", "column"]),
        ("output", ["layer", "parameter", "output"]),
        ("input", ["layer", "parameter", "input"]),
        ("element", ["layer", "parameter", "index"]),
    ],
)
def test_records_carry_the_columns_of_their_group(store: Path, by: str, columns: list[str]) -> None:
    document = json.loads(invoke("temperature", store, "--by", by, "--format", "json").stdout)
    names = list(document["records"][0])
    assert names[: names.index("start_step")] == columns


def long_answer(groups: int, windows: int) -> xr.Dataset:
    """An answer as `temperature` gives it, with values that json and csv write in ways of their own."""
    values = np.random.default_rng(0).standard_normal((groups, windows))
    values.reshape(-1)[::5] = np.nan
    names = np.array([f"layer {n}" for n in range(groups)], dtype=object)
    return xr.Dataset(
        {"weights": ("group", np.arange(groups)), "temperature": (("group", "window"), values),
         "unreliable": (("group", "window"), values > 1)},
        coords={"group": ("group", names), "layer": ("group", names), "window": np.arange(windows),
                "start_step": ("window", 10 * np.arange(windows)),
                "partial": ("window", np.arange(windows) == windows - 1),
                "left_out": ("window", np.zeros(windows, dtype=int))},
        attrs={"quantity": "temperature", "units": "weight^2 step^-2", "k_B": 1.0},
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(0, 1), (1, 1), (3, 4), (1, 23), (23, 1), (5, 9)])
@pytest.mark.parametrize("most", [1, 4, 7, 1000])
def test_pieces_make_the_same_text_as_the_whole(shape: tuple[int, int], most: int) -> None:
    answer = told(long_answer(*shape))
    whole = frame_of(answer)
    assert ("partial" in whole, "left_out" in whole) == (True, False)
    parts = [frame_of(piece) for piece in pieces_of(answer, ROWS, most)]
    assert max(map(len, parts)) <= most
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)
    assert "".join(csv_text(parts)) == whole.to_csv(index=False)
    rows = [{name: plain(value) for name, value in row.items()} for row in whole.to_dict("records")]
    document = {"quantity": "temperature", "store": "s", "attrs": {"k": [1, {"a": 2}]}, "records": rows, "notes": []}
    streamed = document | {"records": Records(parts)}
    assert "".join(json_text(streamed)) == json.dumps(document, indent=1, allow_nan=False) + "\n"


def test_rows_are_made_while_they_are_written() -> None:
    made = []

    def frames() -> Iterator[pd.DataFrame]:
        for piece in pieces_of(long_answer(40, 5), ROWS, 10):
            made.append(piece)
            yield frame_of(piece)

    text = json_text(document_of(long_answer(1, 1), frames(), "s"))
    while len(made) < 2:
        next(text)
    assert len(made) == 2
    del made[:]
    lines = csv_text(frames())
    next(lines)
    assert len(made) == 1


def test_numbers_in_a_csv_are_as_they_were() -> None:
    frame = pd.DataFrame({"=a": [-1.5, np.nan], "b": [-1, 2], "c": ["=1", "-2x"], "d": [True, False], "e": ["x", None]})
    assert "".join(csv_text([frame])) == "'=a,b,c,d,e\n-1.5,-1,'=1,True,x\n,2,'-2x,False,\n"
