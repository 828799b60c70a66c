from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.analyzer.cluster import Cluster, cluster
from tests.benchmarks.analyzer_workload import gcn_store
from tests.stores import write_store


@pytest.fixture
def frames() -> dict[str, np.ndarray]:
    """A run of 100 frames. Five epochs of 20 updates would need 101, so the first epoch has 19."""
    rng = np.random.default_rng(7)

    def walk(*shape: int) -> np.ndarray:
        return np.cumsum(1e-3 * rng.standard_normal((*shape, 100)), axis=-1).astype(np.float32)

    return {"conv1.lin.weight": walk(8, 3), "conv1.bias": walk(8), "lin.weight": walk(10, 8), "lin.bias": walk(10)}


@pytest.fixture
def make(tmp_path: Path, frames: dict[str, np.ndarray]) -> Callable[..., Path]:
    """Writes the store of `frames`, with changes."""

    def write(name: str = "run.zarr", **changes: Any) -> Path:
        scalars = {"epoch": np.repeat(np.arange(5.0), 20), "loss": np.linspace(2, 1, 100)}
        return write_store(tmp_path / name, **{"parameters": frames, "scalars": scalars} | changes)

    return write


@pytest.fixture
def store(make: Callable[..., Path]) -> Path:
    return make()


@pytest.fixture(scope="session")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with two workers, which takes seconds to start: its tests are in the xdist_group "cluster"."""
    with cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture(scope="session")
def gcn_of_a_chunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GCN of 1,024 frames, whose chunks long runs link again and again."""
    return gcn_store(tmp_path_factory.mktemp("gcn") / "short.zarr", 1024)
