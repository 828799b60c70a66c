"""Each benchmark runs once, as small as it goes: tables are whole and their numbers finite. Timings decide nothing."""

import math
import tempfile
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

from examples.data.loader import load
from examples.models import GAT, GCN
from tests.benchmarks import (
    recorder_copies,
    recorder_gpu,
    recorder_import,
    recorder_pressure,
    recorder_recent,
    recorder_resume,
    recorder_size,
    recorder_slowdown,
    recorder_step_cost,
)
from tests.benchmarks.recorder_workload import Row, table


def assert_whole(rows: Sequence[Row], texts: Sequence[str] = ()) -> None:
    """Every row has the same columns, and what is not one of the texts is a finite number."""
    assert rows
    for row in rows:
        assert row.keys() == rows[0].keys()
        label, *values = row.values()
        assert isinstance(label, str)
        for value in values:
            if isinstance(value, str):
                assert value in texts
            else:
                assert math.isfinite(value)
    lines = table("title", rows).splitlines()
    assert len(lines) == len(rows) + 5


def test_copies() -> None:
    assert_whole(recorder_copies.measure(steps=30))


def test_every_way_to_copy_copies_everything() -> None:
    model = GCN()
    truth = torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()]).numpy()
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        memory = recorder_copies.shared(model, file.fileno())
        for row, (name, way) in enumerate(recorder_copies.ways(model, memory, file.fileno()).items(), start=1):
            way(row)
            found = np.frombuffer(memory, np.float32).reshape(recorder_copies.ROWS, -1)[row]
            assert np.array_equal(found, truth) != name.startswith("no copy"), name


def test_resume(tmp_path) -> None:
    assert_whole(recorder_resume.measure(GCN, 50, tmp_path, chunk_steps=16))


def test_step_cost() -> None:
    rows = recorder_step_cost.measure(steps=2 * recorder_step_cost.SLOW_EVERY)
    assert_whole(rows, [recorder_step_cost.NOT_INSTALLED])
    assert [row["method"] for row in rows] == [*recorder_step_cost.FAST, *recorder_step_cost.SLOW]
    steps = {row["method"]: row["steps"] for row in rows}
    assert all(steps[method] == 32 for method in recorder_step_cost.FAST)
    assert all(steps[method] in (2, recorder_step_cost.NOT_INSTALLED) for method in recorder_step_cost.SLOW)


@pytest.mark.parametrize("kind", [GCN, GAT])
def test_slowdown(kind: type[GCN | GAT]) -> None:
    row = recorder_slowdown.measure(kind, pairs=3, threads=1, stretch=2, settled=3)
    texts = ("median", "95 %", "sums", "its 95 %", "bound")
    assert_whole([row], [row[name] for name in texts])
    for value, interval in (("median", "95 %"), ("sums", "its 95 %")):
        low, high = map(float, row[interval].split("-"))
        assert low <= float(row[value]) <= high
    assert float(row["bound"]) > 1


def test_the_figures_of_a_slowdown_are_those_of_its_stretches() -> None:
    """A machine that gets slower and slower: neighbours on both sides cancel it."""
    without = [1.0 + 0.01 * 2 * i for i in range(21)]
    recorded = [1.05 * (1.0 + 0.01 * (2 * i + 1)) for i in range(20)]
    assert recorder_slowdown.paired(without, recorded) == pytest.approx([1.05] * 20)
    low, high = recorder_slowdown.bootstrap(without, recorded)
    assert (low, high) == pytest.approx((1.05, 1.05))


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))],
)
def test_gpu(device: str) -> None:
    """On the CPU its eager rows alone."""
    rows = recorder_gpu.measure(device, steps=8, stretch=1)
    assert_whole(rows, [str(row[name]) for row in rows for name in ("slowdown", "quartiles")])
    assert rows[0]["model"] == "GCN, eager"


@pytest.mark.parametrize("kind", [GCN, GAT])
def test_fixed_edges_change_nothing(kind: type[GCN | GAT]) -> None:
    torch.manual_seed(0)
    model = kind()
    batch = Batch.from_data_list(load()[0][:8])
    expected = model(batch)
    recorder_gpu.fix_edges(model, batch)
    for _ in range(2):
        torch.testing.assert_close(model(batch), expected)


def test_the_interval_of_the_median_is_that_of_the_binomial() -> None:
    """Conover, Practical Nonparametric Statistics: of 30 sorted values, the 10th and the 21st."""
    assert recorder_slowdown.outside(30) == 9
    assert recorder_slowdown.outside(5) == 0


def test_size() -> None:
    sizes, settings = recorder_size.measure(steps=32, chunk_steps=16, optimizers=["SGD"], rates=[1e-3])
    assert_whole(sizes, ["0.001"])
    for row in sizes:
        assert 0.9 < row["none"] <= 1 < row["lz4"] < row["pcodec"]
    assert_whole([row | {"order": str(row["order"])} for row in settings], [recorder_size.SHARED, recorder_size.OWN])
    assert len(settings) == len(recorder_size.SETTINGS)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_entropy_bound(correlation: float) -> None:
    """An AR(1) has a prediction error of known variance, and in [½, 1) the spacing of float32 is 2⁻²⁴."""
    rng = np.random.default_rng(0)
    error = 3e-6
    v = rng.normal(0, error, (200, 1024))
    for step in range(1, 1024):
        v[:, step] += correlation * v[:, step - 1]
    w = (0.75 + np.cumsum(v, axis=1)).astype(np.float32)
    assert 0.5 < w.min() < w.max() < 1
    bits = 0.5 * math.log2(2 * math.pi * math.e * error**2 * 2**48)
    assert recorder_size.entropy_bound({"w": w}, 1024) == pytest.approx(32 / bits, rel=2e-3)


def test_recent() -> None:
    rows = [recorder_recent.measure(GCN, 2, "none", together=together) for together in (1, 2)]
    assert_whole(rows)
    for row in rows:
        assert 0 < row["recent us"] < row["writer us"]


def test_pressure() -> None:
    rows = recorder_pressure.measure(steps=5, width=20)
    assert_whole(rows, [""])
    assert len(rows) == 6
    for row in rows[1:]:
        assert row["frames"] + row["dropped"] == 5


def test_an_import_is_measured(tmp_path):
    rows = [*recorder_import.measure("GCN", [2, 3], tmp_path)]
    assert_whole(rows)
    assert [row["files"] for row in rows] == [2, 3, 2, 3]
