"""A real GCN on real graphs, recorded, and its temperatures against plain numpy on the raw arrays."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

import analyzer
from examples.data.loader import load
from examples.models import GCN
from recorder import Recorder
from tests.recorder.runs import open_tree, read_array, store_path

pytestmark = pytest.mark.xdist_group("first light")

STEPS = 90
CHUNKS = (16, 32, 1024)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[int, Path]:
    """One training, recorded three times at once: the same frames in chunks of 16, 32 and 1024 steps."""
    from torch_geometric.loader import DataLoader

    folder = tmp_path_factory.mktemp("gcn")
    torch.manual_seed(0)
    graphs, _ = load("shipped")
    model = GCN()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    recorders = {chunk: Recorder(folder / f"{chunk}.zarr", model, optimizer, chunk_steps=chunk) for chunk in CHUNKS}
    for step, batch in zip(range(STEPS), DataLoader(graphs[: 8 * STEPS], 8, drop_last=True), strict=True):
        optimizer.zero_grad()
        loss = cross_entropy(model(batch), batch.y)
        loss.backward()
        optimizer.step()
        for recorder in recorders.values():
            recorder.log(loss=loss, epoch=step // 30)
    for recorder in recorders.values():
        recorder.close()
    return {chunk: folder / f"{chunk}.zarr" for chunk in CHUNKS}


@pytest.fixture(scope="module")
def weights(runs) -> dict[str, np.ndarray]:
    names = [name for name, _ in GCN().named_parameters()]
    return {name: read_array(runs[16], store_path(name)).astype(np.float64) for name in names}


def expected_layer(weights, layer: str, start: int, stop: int) -> float:
    """T = Σ ½ v² / (d N), all weights of the layer pooled: equations 4 to 6 with m = k_B = 1."""
    arrays = [array for name, array in weights.items() if name.startswith(layer + ".")]
    squares = sum((np.diff(array[..., start : stop + 1], axis=-1) ** 2).sum() for array in arrays)
    return 0.5 * squares / (sum(array[..., 0].size for array in arrays) * (stop - start))


def expected_row(weights, parameter: str, row: int, start: int, stop: int) -> float:
    return 0.5 * (np.diff(weights[parameter][row, :, start : stop + 1], axis=-1) ** 2).mean()


LAYERS = ["initial_conv", "conv1", "conv2", "conv3", "out"]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunk=st.sampled_from(CHUNKS),
    bounds=st.tuples(st.integers(0, STEPS), st.integers(0, STEPS)).filter(lambda b: b[0] < b[1]).map(sorted),
    data=st.data(),
)
def test_layers_and_rows_equal_plain_numpy_for_any_window_range_and_chunking(runs, weights, chunk, bounds, data):
    start, stop = bounds
    window = data.draw(st.none() | st.integers(1, stop - start))
    run = analyzer.open_run(runs[chunk])
    options = {"start": start, "stop": stop, "window": window}
    edges = [*range(start, stop, window or stop - start), stop]
    spans = list(pairwise(edges))

    layers = run.thermo.temperature(by="layer", **options)
    assert layers["layer"].to_numpy().tolist() == LAYERS
    np.testing.assert_allclose(
        layers["temperature"].to_numpy(),
        [[expected_layer(weights, layer, *span) for span in spans] for layer in LAYERS],
        rtol=1e-12,
    )

    rows = run.thermo.temperature(by="row", **options)
    labels = list(zip(rows["parameter"].to_numpy().tolist(), rows["row"].to_numpy().tolist(), strict=True))
    assert len(labels) == sum(array.shape[0] for array in weights.values() if array.ndim == 3)
    np.testing.assert_allclose(
        rows["temperature"].to_numpy(),
        [[expected_row(weights, name, int(row), *span) for span in spans] for name, row in labels],
        rtol=1e-12,
    )


def test_epoch_windows_are_those_that_were_logged(runs, weights):
    """Epoch e holds the velocities of its steps: (0, 30], (30, 60], (60, 90]."""
    found = analyzer.open_run(runs[32]).thermo.temperature(by="layer", window="epoch")
    expected = [[expected_layer(weights, layer, 30 * e, 30 * e + 30) for e in range(3)] for layer in LAYERS]
    np.testing.assert_allclose(found["temperature"].to_numpy(), expected, rtol=1e-12)


def test_chunking_changes_nothing_at_all(runs):
    """The same frames in other chunks: the same numbers to 1e-14 (sums are cut elsewhere), and the same raw bits."""
    tables = [analyzer.open_run(runs[chunk]).thermo.temperature(by="row")["temperature"].to_numpy() for chunk in CHUNKS]
    for table in tables[1:]:
        np.testing.assert_allclose(table, tables[0], rtol=1e-14)
    for name in ("parameters/conv2/lin/weight", "loss", "step"):
        assert len({read_array(runs[chunk], name).tobytes() for chunk in CHUNKS}) == 1


def test_plain_xarray_gives_the_same_temperature(runs):
    """One line of plain xarray, with nothing of ours: the mean of ½ (Δw)²."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weight = open_tree(runs[32])["parameters/conv2/lin/weight"]
        plain = 0.5 * (weight.astype("f8").diff("step") ** 2).mean().to_numpy()
    ours = analyzer.open_run(runs[32]).thermo.temperature(by="parameter", parameter="conv2.lin.weight")
    np.testing.assert_allclose(ours["temperature"].to_numpy().item(), plain, rtol=1e-12)


def test_the_shell_says_the_same_as_python(runs, weights):
    from analyzer.cli import cli

    result = CliRunner().invoke(cli, ["temperature", str(runs[16]), "--by", "row", "--format", "json"])
    assert result.exit_code == 0, result.output
    records = json.loads(result.stdout)["records"]
    assert len(records) == 32 + 64 + 64 + 64 + 10
    for record in records:
        expected = expected_row(weights, record["parameter"], record["row"], 0, STEPS)
        assert record["temperature"] == pytest.approx(expected, rel=1e-12)
        assert record["start_step"] == 0
        assert record["stop_step"] == STEPS


def test_the_analyzer_loads_neither_torch_nor_the_recorder():
    code = (
        "import sys, analyzer; analyzer.open_run; import analyzer.__main__; "
        "print([m for m in ('torch', 'recorder') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
