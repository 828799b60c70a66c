"""The plan: what is read follows from the question, and what it costs is known before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import analyzer
from analyzer import errors
from analyzer.engine import frames as frames_module
from analyzer.engine import plan
from analyzer.engine.measure import measure
from analyzer.query.query import Query
from analyzer.store.reading import read


def planned(store: Path, **options: object) -> plan.Plan:
    return measure(analyzer.open_run(store), Query(cache=False, **options)).plan


def test_bytes_are_what_is_decoded(store: Path) -> None:
    with mock.patch.object(plan, "SPAN_FRAMES", 1), mock.patch.object(frames_module, "read", wraps=read) as reader:
        for options in ({}, {"layer": "lin"}, {"start": 20, "stop": 50}, {"by": "row", "window": 7}):
            reader.reset_mock()
            measurement = measure(analyzer.open_run(store), Query(cache=False, **options))
            measurement.moments.table.compute(scheduler="synchronous")
            sizes = [np.prod([b - a for a, b in call.args[1]]) * 4 for call in reader.call_args_list]
            assert sum(sizes) == measurement.plan.bytes, options


def test_a_range_reads_only_its_chunks(store: Path) -> None:
    with mock.patch.object(plan, "SPAN_FRAMES", 1), mock.patch.object(plan, "KEPT_FRAMES", 1):
        assert len(planned(store, start=40, stop=47).spans) == 1
        assert len(planned(store, start=40, stop=48).spans) == 2
        assert len(planned(store).spans) == 7


def test_row_cut_tensors_are_read_by_their_chunks(make: Callable[..., Path]) -> None:
    regions = [piece.region for piece in planned(make(row_cut=3), parameter="lin.weight").bundles[0].chosen]
    assert regions == [((0, 3), (0, 8)), ((3, 6), (0, 8)), ((6, 9), (0, 8)), ((9, 10), (0, 8))]


def test_the_result_is_counted_before_it_is_made(store: Path) -> None:
    known = planned(store, by="element", window=10)
    assert known.result_bytes == 122 * 10 * 5 * 8
    with pytest.raises(errors.MemoryLimitError, match=r"122 groups × 10 windows × 40 bytes") as caught:
        planned(store, by="element", window=10, memory_limit=1 << 20)
    assert caught.value.needed == known.memory(1) > caught.value.limit == 1 << 20


def test_the_partition_does_not_depend_on_workers_or_memory(store: Path) -> None:
    one, other = planned(store, workers=1), planned(store, workers=16, memory_limit=1 << 40)
    assert [(s.start, s.stop) for s in one.spans] == [(s.start, s.stop) for s in other.spans]
    assert one.bundles == other.bundles
