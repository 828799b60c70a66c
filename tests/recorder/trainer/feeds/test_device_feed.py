"""The feed for devices: its blocks, its helper thread and its scalars on the CPU, and all of it on a GPU where there
is one.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import nn

import recorder.recorder
import recorder.trainer.feeds.device_feed
from recorder import Recorder
from recorder.errors import ParameterChangedError, UsageError
from recorder.schema import Parameter, Plane, Schema, lay_out
from tests.recorder.runs import Scripted, Zoo, assert_frames_are_scripted, open_tree, read_array

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


@pytest.fixture(autouse=True)
def staged(monkeypatch):
    """Let parameters in host memory go through the feed for devices."""

    def feed(schema, slots, spool):
        return recorder.trainer.feeds.device_feed.DeviceFeed(schema, slots, spool, frames=8, columns=spool.columns)

    monkeypatch.setattr(recorder.trainer.ends, "HostFeed", feed)
    monkeypatch.setattr(
        recorder.trainer.feeds.device_feed, "_BLOCK_BYTES", 4 << 10
    )  # a few frames a block: many hand-overs


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

    monkeypatch.setattr(recorder.trainer.feeds.device_feed.DeviceFeed, "_to_spool", broken)
    with pytest.raises(UsageError, match="the helper thread failed"), Recorder(tmp_path / "run.zarr", model, optimizer):
        for _ in range(1000):
            optimizer.step()
    assert optimizer.updates < 1000


def test_a_step_waits_only_when_every_block_is_on_its_way_and_the_wait_is_counted(tmp_path, monkeypatch):
    """The helper thread is held up: three blocks of frames go on without it, the next has to wait for it."""
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    go_on = threading.Event()
    stage = recorder.trainer.feeds.device_feed.DeviceFeed._to_spool

    def held_up(self, block):
        go_on.wait(30)
        stage(self, block)

    monkeypatch.setattr(recorder.trainer.feeds.device_feed.DeviceFeed, "_to_spool", held_up)
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=32) as running:
        running.start()
        for _ in range(recorder.trainer.feeds.device_feed.BLOCKS * 8 - 1):
            optimizer.step()
        assert running._feed.stall_seconds == 0.0
        threading.Timer(0.3, go_on.set).start()
        for _ in range(100):
            optimizer.step()
        assert running._feed.stall_seconds > 0.05
    assert running.report.stall_seconds > 0.05
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(124))


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


@pytest.mark.parametrize(("elements", "file_frames"), [(100, 256), (300_000, 256), (3_000_000, 64), (50_000_000, 4)])
def test_blocks_divide_a_spool_file_and_stay_below_their_limit(monkeypatch, elements, file_frames):
    monkeypatch.undo()
    schema = Schema((), (Plane("float32", "cuda:0", elements),))
    frames = recorder.trainer.feeds.device_feed.block_frames(schema, file_frames)
    assert file_frames % frames == 0
    assert frames == 1 or frames * schema.frame_bytes <= 32 << 20
    assert frames == file_frames or 2 * frames * schema.frame_bytes > 32 << 20


def test_each_device_and_type_has_a_plane_of_its_own():
    """A fused copy stays on one device; offsets count within a plane, in the model's order."""
    kinds = [
        ("float32", "cuda:0"),
        ("float32", "cuda:1"),
        ("float16", "cuda:0"),
        ("float32", "cuda:0"),
        ("float32", "cpu"),
    ]
    parameters = [Parameter(f"p{i}", (i + 1,), kind, "", "", "", "", ("",)) for i, (kind, _) in enumerate(kinds)]
    schema = lay_out(parameters, [device for _, device in kinds])
    assert [(plane.dtype, plane.device, plane.elements) for plane in schema.planes] == [
        ("float32", "cuda:0", 1 + 4),
        ("float32", "cuda:1", 2),
        ("float16", "cuda:0", 3),
        ("float32", "cpu", 5),
    ]
    assert [(p.plane, p.offset) for p in schema.parameters] == [(0, 0), (1, 0), (2, 0), (0, 1), (3, 0)]


class Pair(nn.Module):
    """Parameters on two devices."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__()
        self.first = nn.Linear(5, 3).to(first)
        self.second = nn.Linear(3, 2).to(second)
        self.scale = nn.Parameter(torch.zeros(2, device=first))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("cpu", "cpu"),
        pytest.param("cuda:0", "cpu", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
        pytest.param(
            "cuda:0", "cuda:1", marks=pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
        ),
    ],
)
def test_parameters_on_several_devices_have_a_ring_each(tmp_path, first, second):
    model = Pair(first, second)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=32) as running:
        for step in range(1, 101):
            optimizer.step()
            running.log(one=torch.tensor(float(step), device=first), two=torch.tensor(float(step), device=second))
    assert_frames_are_scripted(tmp_path / "run.zarr", model.cpu(), steps=np.arange(101))
    for name in ("one", "two"):
        np.testing.assert_array_equal(read_array(tmp_path / "run.zarr", name), [np.nan, *range(1, 101)])


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
