"""Some rows of a row-cut tensor: only their chunks are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import analyzer
from analyzer.engine import frames as frames_module
from analyzer.store import reading
from analyzer.store.reading import read
from tests import oracles


@pytest.mark.parametrize("rows", [slice(0, 4), slice(5, 7), slice(9, 10)])
def test_rows_of_a_row_cut_tensor_read_their_chunks_alone(
    make: Callable[..., Path], frames: dict[str, np.ndarray], rows: slice
) -> None:
    """`lin.weight` has 10 rows, two to a chunk."""
    run = analyzer.open_run(make(row_cut=2)).isel({"lin.weight_row": rows})
    wanted = set(range(rows.start // 2 * 2, rows.stop, 2))
    with (
        mock.patch.object(reading, "read", wraps=read) as by_tree,
        mock.patch.object(frames_module, "read", wraps=read) as by_engine,
    ):
        answer = run.thermo.temperature(by="row", parameter="lin.weight", window=40)
        answer = answer.compute(scheduler="synchronous")
    assert not by_engine.called, "a modified tree is not answered from the store"
    seen = [call.args[1] for call in by_tree.call_args_list if call.args[0].path == "parameters/lin/weight"]
    assert {region[0][0] // 2 * 2 for region in seen} == wanted
    assert {call.args[0].path for call in by_tree.call_args_list} == {"parameters/lin/weight"}
    assert len(seen) == len(set(seen)) == len(wanted) * 7, "once each, over 7 chunks of steps"
    for group, row in enumerate(range(*rows.indices(10))):
        for window, (begin, end) in enumerate(oracles.tiles(0, 99, 40)):
            pairs = [(n, n + 1) for n in range(begin, end)]
            truth = oracles.temperature([frames["lin.weight"][row]], pairs)["temperature"]
            np.testing.assert_allclose(answer["temperature"].values[group, window], truth, rtol=1e-12)
