"""The feed for devices: its blocks, its helper thread and its scalars on the CPU, and all of it on a GPU where there
is one.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import recorder.recorder
import recorder.staging
from recorder import Recorder
from recorder.errors import ParameterChangedError, UsageError
from tests.recorder.runs import Scripted, Zoo, assert_frames_are_scripted, open_tree, read_array

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


@pytest.fixture(autouse=True)
def staged(monkeypatch):
    """Send parameters in host memory the way of those on a device."""

    def feed(schema, slots, spool):
        return recorder.staging.DeviceFeed(schema, slots, spool, frames=8, scalar_slots=spool.slots)

    monkeypatch.setattr(recorder.recorder, "HostFeed", feed)
    monkeypatch.setattr(recorder.staging, "_BLOCK_BYTES", 4 << 10)  # a few frames a block: many hand-overs


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_every_frame_is_bit_equal(tmp_path, device, dtype):
    model = Zoo().to(dtype).to(device)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=32):
        for _ in range(203):
            optimizer.step()
    assert_frames_are_scripted(tmp_path / "run.zarr", model.cpu(), steps=np.arange(204))


@pytest.mark.parametrize("device", DEVICES)
def test_scalars_reach_the_frame_of_their_step(tmp_path, device):
    model = nn.Linear(2, 2).to(device)
    optimizer = Scripted(model.parameters(), lr=0.5)
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=32) as running:
        for step in range(1, 101):
            optimizer.step()
            running.log(loss=torch.tensor(float(step), device=device, requires_grad=True), plain=step / 2)
            if step % 10 == 0:
                running.log(epoch=step // 10)
    expected = np.arange(1, 101)
    np.testing.assert_array_equal(read_array(tmp_path / "run.zarr", "loss"), [np.nan, *expected])
    np.testing.assert_array_equal(read_array(tmp_path / "run.zarr", "plain"), [np.nan, *(expected / 2)])
    np.testing.assert_array_equal(read_array(tmp_path / "run.zarr", "learning_rate")[:, 0], [np.nan, *([0.5] * 100)])
    epoch = read_array(tmp_path / "run.zarr", "epoch")
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(epoch)), np.arange(10, 101, 10))


@pytest.mark.parametrize("device", DEVICES)
def test_skipped_updates_are_dropped_by_the_writer(tmp_path, device):
    model = nn.Linear(2, 2).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
    scaler = torch.amp.GradScaler(device, init_scale=2.0)
    truth = []
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=32) as running:
        running.start()
        truth.append(model.weight.detach().cpu().clone())
        for batch in range(50):
            skip = batch % 7 == 3
            optimizer.zero_grad()
            scaler.scale(model(torch.ones(1, 2, device=device)).sum() * (torch.inf if skip else 1.0)).backward()
            scaler.step(optimizer)
            scaler.update()
            if not skip:
                truth.append(model.weight.detach().cpu().clone())
    assert read_array(tmp_path / "run.zarr", "step").tolist() == list(range(len(truth)))
    assert read_array(tmp_path / "run.zarr", "parameters/weight").tobytes() == torch.stack(truth, -1).numpy().tobytes()
    assert open_tree(tmp_path / "run.zarr").attrs["skipped_updates"] == 7


def test_a_failure_of_the_helper_thread_is_raised_in_the_training(tmp_path, monkeypatch):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())

    def broken(self, block):
        raise UsageError("the helper thread failed")

    monkeypatch.setattr(recorder.staging.DeviceFeed, "_to_spool", broken)
    with pytest.raises(UsageError, match="the helper thread failed"), Recorder(tmp_path / "run.zarr", model, optimizer):
        for _ in range(1000):
            optimizer.step()
    assert optimizer.updates < 1000


def test_a_parameter_that_changes_is_named(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with (
        pytest.raises(ParameterChangedError, match="parameter weight"),
        Recorder(tmp_path / "run.zarr", model, optimizer),
    ):
        for _ in range(20):
            optimizer.step()
        model.weight = nn.Parameter(torch.zeros(3, 3))
        optimizer.step()
    assert len(read_array(tmp_path / "run.zarr", "step")) == 21


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_gpu
def test_no_device_synchronisation_happens_in_step_and_log(tmp_path):
    model = nn.Linear(64, 64).cuda()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss = torch.ones((), device="cuda")
    with Recorder(tmp_path / "run.zarr", model, optimizer) as running:
        running.start()
        model.weight.grad = torch.ones_like(model.weight)
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(1000):
                optimizer.step()
                running.log(loss=loss)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@needs_gpu
def test_replays_of_a_cuda_graph_are_recorded_and_capturing_is_refused(tmp_path):
    model = nn.Linear(4, 4).cuda()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, capturable=True)
    batch = torch.ones(2, 4, device="cuda")

    def update():
        optimizer.zero_grad(set_to_none=False)
        model(batch).square().sum().backward()
        optimizer.step()

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            update()
    torch.cuda.current_stream().wait_stream(side)
    refused = Recorder(tmp_path / "refused.zarr", model, optimizer)
    refused.start()
    with (
        pytest.raises(UsageError, match=r"call recorder\.step\(\) after each replay"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        update()
    refused.close()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update()
    truth = []
    with Recorder(tmp_path / "run.zarr", model) as running:
        running.start()
        for _ in range(100):
            graph.replay()
            running.step()
            truth.append(model.weight.detach().clone())
    stored = read_array(tmp_path / "run.zarr", "parameters/weight")[..., 1:]
    assert stored.tobytes() == torch.stack(truth, -1).cpu().numpy().tobytes()
