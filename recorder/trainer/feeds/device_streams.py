"""Streams of devices: which of them wrote frames, and how frames leave a device while the training goes on.

The helper thread must not disturb the rest of the process. torch's sync debug mode counts for all threads and refuses
every wait for a stream or a device. So the thread only waits for events. The capture of a CUDA graph is aborted when
another thread queries an event, unless that thread has set its own capture mode.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from recorder.schema import Schema

Pair = tuple[torch.Tensor, torch.Tensor]
"""A source on a device, and its target in pinned memory."""

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL of the CUDA driver


def devices_of(schema: Schema) -> tuple[torch.device, ...]:
    """Return the devices that hold parameters, the host's memory left out."""
    devices = {torch.device(plane.device) for plane in schema.planes}
    return tuple(sorted((device for device in devices if device.type == "cuda"), key=str))


class SideStreams:
    """A stream on each device, beside those of the training, that copies to pinned memory.

    Lifetime: one recording. Only `fetch` and `settle` wait, on the thread that calls them and for events alone.
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self.devices = tuple(devices)
        self._own = [torch.cuda.Stream(device) for device in devices]  # type: ignore[no-untyped-call]

    def current(self) -> list[Any]:
        """Return the current stream of this thread on each device."""
        return [torch.cuda.current_stream(device) for device in self.devices]

    def marks(self, streams: Iterable[Any]) -> list[Any]:
        """Return an event of each stream, recorded after all work that the stream has been given."""
        events = []
        for stream in streams:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(stream)
            events.append(event)
        return events

    def join(self, streams: Iterable[Any]) -> None:
        """Make the next work of this thread on its devices wait for all work that `streams` have been given."""
        current = self.current()
        for event in self.marks(stream for stream in streams if stream not in current):
            for stream in current:
                stream.wait_event(event)

    def own(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which work for a device goes to the side stream."""
        side = self._own[self.devices.index(device)]
        return torch.cuda.stream(side)

    def fetch(self, marks: Iterable[Any], pairs: Sequence[Pair], clear: Sequence[torch.Tensor] = ()) -> None:
        """Copy sources to their targets after all marks, then set `clear` to NaN. Return when that is done.

        Parameters
        ----------
        marks : iterable of events
            From the streams that wrote the sources.
        pairs : sequence of (source, target)
        clear : sequence of tensors
        """
        marks = list(marks)
        for device, side in zip(self.devices, self._own, strict=True):
            for mark in marks:
                side.wait_event(mark)
            with torch.cuda.stream(side):
                for source, target in pairs:
                    if source.device == device:
                        target.copy_(source, non_blocking=True)
                for tensor in clear:
                    if tensor.device == device:
                        tensor.fill_(torch.nan)
        self.settle()

    def settle(self) -> None:
        """Wait until the side streams have done all their work. The thread sleeps, and holds no lock."""
        events = []
        for side in self._own:
            event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            event.record(side)
            events.append(event)
        for event in events:
            event.synchronize()


def hold(tensors: Iterable[torch.Tensor], stream: Any) -> None:
    """Keep the allocator from reusing the memory of freed tensors before a stream has done its work on them."""
    for tensor in tensors:
        if tensor.is_cuda and tensor.device == stream.device:
            tensor.record_stream(stream)


def stay_out_of_captures() -> None:
    """Let this thread query events while another one captures a CUDA graph. Otherwise a query aborts the capture.

    torch offers this to C++ only, so this calls the driver. Without CUDA's driver (ROCm), nothing changes.
    """
    with contextlib.suppress(OSError, AttributeError):
        exchange = ctypes.CDLL("libcuda.so.1").cuThreadExchangeStreamCaptureMode
        exchange(ctypes.byref(ctypes.c_int(_THREAD_LOCAL)))
