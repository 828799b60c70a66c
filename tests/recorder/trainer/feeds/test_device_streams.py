"""Frames that several streams write, on a device that does its work as late as it may (`lazy_device.py`)."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import recorder.trainer.ends
import recorder.trainer.updates.lookout
from recorder import Recorder
from recorder.trainer.feeds import device_feed, device_streams
from recorder.trainer.report import Report
from tests.recorder.runs import Scripted, Zoo, assert_frames_are_scripted, read_array
from tests.recorder.trainer.lazy_device import CPU, LazyCuda


@pytest.fixture
def cuda(monkeypatch) -> LazyCuda:
    lazy = LazyCuda()

    def feed(schema, slots, spool):
        return device_feed.DeviceFeed(schema, slots, spool, frames=8, columns=spool.columns)

    monkeypatch.setattr(recorder.trainer.ends, "HostFeed", feed)
    monkeypatch.setattr(device_streams, "devices_of", lambda schema: (CPU,))
    monkeypatch.setattr(device_streams, "torch", SimpleNamespace(cuda=lazy, nan=torch.nan))
    return lazy


def test_the_device_of_these_tests_is_late(cuda):
    """Without this, the following tests would prove nothing."""
    one, other = cuda.Stream(), cuda.Stream()
    value = torch.zeros(())
    with cuda.stream(one):
        value.fill_(1.0)
        mark = cuda.Event()
        mark.record(one)
        value.fill_(2.0)
    assert float(value) == 0.0
    other.wait_event(mark)
    assert float(value) == 0.0
    end = cuda.Event()
    end.record(other)
    end.synchronize()
    assert float(value) == 1.0
    with cuda.stream(one):
        torch.cat([torch.ones(1)], out=value.view(1))
    assert float(value) == 1.0


def test_frames_of_a_training_on_a_side_stream_are_whole_when_the_recorder_is_closed_outside(tmp_path, cuda, capfd):
    model = Zoo()
    optimizer = Scripted(model.parameters())
    side = cuda.Stream()
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=32) as running:
        running.start()
        with cuda.stream(side):
            for step in range(1, 101):
                optimizer.step()
                running.log(loss=torch.tensor(float(step)))
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(101))
    np.testing.assert_array_equal(read_array(tmp_path / "run.zarr", "loss"), [np.nan, *range(1, 101)])
    assert "changed since" not in capfd.readouterr().err


@pytest.mark.parametrize("turn", [1, 3, 8, 11])
def test_each_frame_waits_for_the_stream_that_pushed_it(tmp_path, cuda, turn):
    """Two streams take turns; a block is handed over while either, or neither, is current."""
    model = Zoo()
    optimizer = Scripted(model.parameters())
    streams = [cuda.Stream(), cuda.Stream()]
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=32) as running:
        running.start()
        for step in range(1, 101):
            before, now = streams[(step - 1) // turn % 2], streams[step // turn % 2]
            mark = cuda.Event()
            mark.record(before)
            now.wait_event(mark)  # as a training does that changes one model from two streams
            with cuda.stream(now):
                optimizer.step()
                running.log(loss=torch.tensor(float(step)), **({"now_and_then": step} if step % 7 == 0 else {}))
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(101))
    np.testing.assert_array_equal(read_array(tmp_path / "run.zarr", "loss"), [np.nan, *range(1, 101)])
    found = read_array(tmp_path / "run.zarr", "now_and_then")
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(found)), np.arange(7, 101, 7))


def test_skipped_updates_are_counted_on_whatever_stream_they_came(tmp_path, cuda):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    streams = [cuda.Stream(), cuda.Stream()]
    flags = [torch.tensor(0.0), torch.tensor(1.0)]
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=32) as running:
        running.start()
        for batch in range(40):
            mark = cuda.Event()
            mark.record(streams[(batch + 1) % 2])
            streams[batch % 2].wait_event(mark)
            optimizer.found_inf = flags[batch % 5 == 4]
            with cuda.stream(streams[batch % 2]):
                optimizer.step()
    assert running.report.skipped == 8
    assert read_array(tmp_path / "run.zarr", "step").tolist() == list(range(33))


def test_frames_are_whole_and_counted_where_nothing_else_joins_the_streams(tmp_path, cuda, monkeypatch):
    """At the end the lookout makes the current stream wait for all others, but it may fail before."""

    def fails(*args, **options):
        raise RuntimeError("called a synchronizing CUDA operation")

    monkeypatch.setattr(recorder.trainer.updates.lookout.Lookout, "finish", fails)
    model = Zoo()
    optimizer = Scripted(model.parameters())
    side = cuda.Stream()
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=32, stride=3) as running:
        running.start()
        for step in range(1, 9):
            optimizer.found_inf = torch.tensor(float(step == 8))
            with cuda.stream(side):
                optimizer.step()
    assert running._feed.skipped == 1
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.array([0, 3, 6]))


def test_the_helper_waits_for_events_and_never_for_a_stream(tmp_path, cuda):
    """A wait for a stream would raise in torch's sync debug mode, which is one for the whole process."""
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=32):
        for _ in range(50):
            optimizer.step()
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(51))
    assert cuda.waits.count("recorder-staging") >= 50 // 8


def test_the_helper_stays_out_of_captures(monkeypatch):
    asked = []

    def exchange(mode):
        asked.append(ctypes.cast(mode, ctypes.POINTER(ctypes.c_int))[0])
        return 0

    library = SimpleNamespace(cuThreadExchangeStreamCaptureMode=exchange)
    monkeypatch.setattr(device_streams.ctypes, "CDLL", lambda name: {"libcuda.so.1": library}[name])
    device_streams.stay_out_of_captures()
    assert asked == [1]


@pytest.mark.parametrize("found", [OSError("libcuda.so.1: cannot open"), None])
def test_without_the_driver_of_cuda_nothing_is_asked(monkeypatch, found):
    def load(name):
        if found is not None:
            raise found
        return SimpleNamespace()

    monkeypatch.setattr(device_streams.ctypes, "CDLL", load)
    device_streams.stay_out_of_captures()


def test_launches_are_told_apart_from_the_recorders_own_time(tmp_path, cuda, monkeypatch):
    """A clock that advances 30 µs with each call of the copy kernel: no other time than that is the device's."""
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    clock = 0.0
    cat = torch.cat

    def slow(tensors, out):
        nonlocal clock
        clock += 30e-6
        return cat(tensors, out=out)

    monkeypatch.setattr("recorder.trainer.feeds.ring.perf_counter", lambda: clock)
    monkeypatch.setattr("recorder.trainer.feeds.device_feed.time.perf_counter", lambda: clock)
    monkeypatch.setattr("recorder.trainer.feeds.ring.torch.cat", slow)
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=32) as running:
        for _ in range(50):
            optimizer.step()
    assert running.report.launch_seconds == pytest.approx(51 * 30e-6)


def test_a_report_of_a_gpu_says_what_is_the_recorders_own():
    report = Report("run.zarr", "complete", 100, 101, 0, 0, 1, 1, 0.0, 6e-3, 1e-3, launch_seconds=2e-3)
    assert "60 µs a step: 30 µs of the recorder's own, 20 µs in launches" in str(report)
    without = Report("run.zarr", "complete", 100, 101, 0, 0, 1, 1, 0.0, 6e-3, 1e-3)
    assert "(60 µs a step)" in str(without)
