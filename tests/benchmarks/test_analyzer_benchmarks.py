"""Each benchmark of the analyzer runs, small: its table has its rows, and what does not depend on a clock holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import analyzer_dynamics, analyzer_lags, analyzer_latency, analyzer_scale, analyzer_throughput
from tests.benchmarks.analyzer_workload import gcn_store


@pytest.mark.filterwarnings("ignore")
def test_throughput(tmp_path: Path) -> None:
    rows = analyzer_throughput.measure(tmp_path, steps=300, rounds=1)
    text = analyzer_throughput.report(rows, 300)
    assert len(rows) == 2 + 12 + 3 + 2 + 3
    assert "by element, epochs" in text


@pytest.mark.filterwarnings("ignore")
def test_several_lags(tmp_path: Path) -> None:
    rows = analyzer_lags.measure(tmp_path, steps=4096, rounds=1)
    assert [row[0] for row in rows[:2]] == ["by layer, lag 10", "by layer, lags 1, 3, 10, 30, epoch"]
    assert "x one lag" in analyzer_lags.report(rows, 4096)
    (_, grown, projected) = analyzer_lags.memory(tmp_path / "run.zarr", [1, 3, 10, 30, "epoch"])
    assert grown <= projected


@pytest.mark.filterwarnings("ignore")
def test_dynamics(tmp_path: Path) -> None:
    rows = analyzer_dynamics.measure(tmp_path, steps=600, rounds=1)
    assert [row[0] for row in rows[:2]] == ["decode only", "dynamics by layer, 17 lags"]
    assert len(rows) == 5
    for quantity in ("dynamics", "spectrum"):
        _, grown, projected = analyzer_dynamics.memory(tmp_path / "run.zarr", quantity)
        assert grown <= projected, quantity
    assert [row[:2] for row in analyzer_dynamics.modes(tmp_path / "run.zarr", 1)[:2]] == [
        ("decode only", 1),
        ("modes by layer", 1),
    ]
    questions = analyzer_dynamics.second(tmp_path / "run.zarr", 600)
    assert [row[0] for row in questions[:2]] == ["first pass by layer (decodes, keeps sums)", "by layer again"]


def test_latency(tmp_path: Path) -> None:
    rows = analyzer_latency.measure(tmp_path, steps=300, rounds=1)
    assert [name for name, *_ in rows] == list(analyzer_latency.commands(tmp_path))
    assert "from kept sums" in analyzer_latency.report(rows, 300)


def test_memory_is_bounded_by_the_projection_and_not_by_the_length(tmp_path: Path) -> None:
    short = gcn_store(tmp_path / "short.zarr", 2048)
    rows = analyzer_scale.memory(tmp_path, short, 2048, (1, 6), capped=1 << 30)
    assert "1,024 MiB allowed" in rows[-1][0], "and it ran"
    grown = [row[3] for row in rows]
    projected = [row[4] for row in rows]
    assert all(g <= p for g, p in zip(grown, projected, strict=True)), rows
    assert max(row[2] for row in rows) <= 600, rows


def test_the_second_question_decodes_nothing(tmp_path: Path) -> None:
    path = gcn_store(tmp_path / "run.zarr", 2048)
    first = analyzer_scale.probe(path, by="layer")
    second = analyzer_scale.probe(path, by="row", window="epoch")
    assert first["bytes"] == 11786 * 4 * 2048
    assert second["bytes"] == 0


def test_a_million_steps_are_planned_with_few_tasks(tmp_path: Path) -> None:
    short = gcn_store(tmp_path / "short.zarr", 1024)
    (layer, rows, windows) = analyzer_scale.planning(
        analyzer_scale.lengthen(short, tmp_path / "million.zarr", 1_000_000)
    )
    for row in (layer, rows, windows):
        assert row[1] < 5 * 977, row
