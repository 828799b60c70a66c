"""The examples of ignite's and PyTorch Geometric's loops, run as a user runs them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.integrations import children
from tests.integrations.frames import attributes
from tests.recorder.runs import read_array


@pytest.mark.parametrize(
    ("name", "library", "steps", "epochs"),
    [("ignite_loop", "ignite", 32, [0] * 16 + [1] * 16), ("pyg_loop", "torch_geometric", 2, [0, 1])],
)
def test_an_example_records_every_step(tmp_path, name, library, steps, epochs):
    pytest.importorskip(library)
    store = tmp_path / "run.zarr"
    done = children.script(f"{children.ROOT}/examples/trainers/{name}.py", "--store", str(store), "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert read_array(store, "step").tolist() == list(range(steps + 1))
    assert read_array(store, "epoch")[1:].tolist() == epochs
    assert np.isfinite(read_array(store, "loss")[1:]).all()
    assert attributes(store)["status"] == "complete"
