"""The feed for parameters on a device: frames gather in blocks there, which move to pinned memory and to the spool.

At each step the stream of the training gets one fused copy for each plane, device to device. The next update comes
after it in the same stream, so it cannot overtake the copy, and nothing waits for the host. Every stream that wrote
to a block gets an event when the block is full. A side stream waits for these events and copies the block to pinned
memory; a helper thread then copies it into the spool and releases the GIL meanwhile. A block is free again once no
stream has work on it left, so that the next frames may come from any stream. Blocks are allocated once and never
returned, so that no allocator reuses memory that a copy still reads.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from recorder.schema import Schema
from recorder.trainer.feeds import device_streams
from recorder.trainer.feeds.device_streams import SideStreams, hold
from recorder.trainer.feeds.ring import FusedCopy, as_number, as_tensor, rows_of
from recorder.trainer.feeds.spool import HAND_OVER_SECONDS, Spool
from recorder.trainer.model.selection import Slot

BLOCKS = 3  # one being filled, one on its way, one to spare
_BLOCK_BYTES = 32 << 20  # enough for a transfer at full speed; more would only delay the frames


@dataclass(slots=True)
class Block:
    """Frames on their way to the spool: on the device, in pinned memory, and the scalars that the host knows."""

    planes: list[torch.Tensor]
    rows: list[tuple[torch.Tensor, ...]]
    scalars: torch.Tensor
    pinned: list[torch.Tensor]
    pinned_scalars: torch.Tensor
    steps: np.ndarray[Any, Any]
    host_scalars: np.ndarray[Any, Any]
    count: int = 0
    streams: set[Any] = field(default_factory=set)  # the streams that wrote to it
    marks: list[Any] = field(default_factory=list)  # an event of each of them, once the block is full

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The tensors that the streams of devices write to."""
        return [*self.planes, self.scalars]


class DeviceFeed:
    """Pushes frames of parameters on one or several devices.

    Lifetime: the blocks, the side streams and the helper thread. A frame is in the spool when its whole block is: at
    most `BLOCKS` blocks of frames are lost with the process. A block waits no longer than a spool file does.
    """

    can_be_looked_at = False  # without waiting for a device

    def __init__(self, schema: Schema, slots: Sequence[Slot], spool: Spool, frames: int, columns: int) -> None:
        self._schema, self._spool = schema, spool
        self._fused = FusedCopy(schema, slots)
        self._frames = block_frames(schema, frames)
        self._sides = SideStreams(device_streams.devices_of(schema))
        self._home = self._sides.devices[0] if self._sides.devices else torch.device("cpu")
        self._streams: set[Any] = set()  # all that ever wrote a frame
        self._skipped: torch.Tensor | None = None
        self._free: queue.SimpleQueue[Block] = queue.SimpleQueue()
        for _ in range(BLOCKS):
            self._free.put(self._allocate(schema, columns))
        self._sides.settle()
        self._full: queue.SimpleQueue[Block | None] = queue.SimpleQueue()
        self._block: Block | None = None
        self._deadline = 0.0
        self._stall_seconds = self._launch_seconds = 0.0
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._stage, name="recorder-staging", daemon=True)
        self._thread.start()

    def skip(self, found_inf: torch.Tensor) -> bool:
        """Count an update that the optimizer skipped; see `HostFeed.skip`. Waits for no device: false means unknown."""
        began = time.perf_counter()
        found = (found_inf.detach() != 0).reshape(())
        if self._skipped is None:
            self._skipped = torch.zeros((), dtype=torch.float64, device=found.device)
        # In place: a new tensor at each step would free memory that another stream still reads.
        self._skipped.add_(found.to(self._skipped.device, non_blocking=True))
        self._streams.update(self._sides.current())
        self._launch_seconds += time.perf_counter() - began
        return found.device.type == "cpu" and bool(found)

    def push(self, step: int, rates: Sequence[Any]) -> bool:
        """Record the parameters as they are now; see `HostFeed.push`. Waits for no device."""
        block = self._reserve()
        row = block.count
        self._note_streams(block)
        self._fused.copy(block.rows[row])
        block.steps[row] = step
        for group, rate in enumerate(rates):
            self._store(block, row, 1 + group, rate)
        if self._skipped is not None:
            self._store(block, row, 0, self._skipped)
        block.count = row + 1
        return True

    @property
    def skipped(self) -> int:
        """Updates that the optimizer skipped so far. Waits for the device."""
        if self._skipped is None:
            return 0
        if self._skipped.device not in self._sides.devices:
            return int(self._skipped.item())
        number = torch.zeros((), dtype=torch.float64, pin_memory=self._skipped.is_cuda)
        self._sides.fetch(self._sides.marks(self._streams), [(self._skipped, number)])
        return int(number)

    def log(self, column: int, value: Any) -> None:
        """Store a scalar with the newest frame. A tensor on a device is copied on the device; nothing waits for it."""
        assert self._block is not None
        self._store(self._block, self._block.count - 1, column, value)

    def newest(self) -> list[torch.Tensor] | None:
        """Return the newest frame as bytes of each parameter; None if it has left for the spool."""
        if self._block is None or not self._block.count:
            return None
        rows = self._block.rows[self._block.count - 1]
        return [rows[p.plane][p.offset : p.offset + p.elements].view(torch.uint8) for p in self._schema.parameters]

    def catch_up(self) -> None:
        """Make the next work of this thread on its devices wait for all frames, whichever stream wrote them."""
        self._sides.join(self._streams)

    def revalidate(self) -> None:
        self._fused.revalidate()

    def close(self) -> None:
        """Send the last block on, wait until it is in the spool, and hand the last spool file over."""
        if self._block is not None:
            self._submit()
        self._full.put(None)
        self._thread.join()
        self._raise_failure()
        self._spool.hand_over()

    @property
    def pushed(self) -> int:
        """Number of frames in the spool so far."""
        return self._spool.pushed

    @property
    def stall_seconds(self) -> float:
        """Seconds that the training thread waited for a free block, because the helper thread waited for the spool."""
        return self._stall_seconds

    @property
    def launch_seconds(self) -> float:
        """Seconds of the training thread in launches. Where a device is behind, they wait for room in its queue."""
        return self._launch_seconds + self._fused.seconds

    def _note_streams(self, block: Block) -> None:
        """Note the streams that now write to a block."""
        for stream in self._sides.current():
            if stream not in block.streams:
                block.streams.add(stream)
                self._streams.add(stream)
                hold(block.tensors, stream)

    def _reserve(self) -> Block:
        if self._block is not None:
            if self._block.count < self._frames and time.monotonic() < self._deadline:
                return self._block
            self._submit()
        self._raise_failure()
        try:
            block = self._free.get_nowait()
        except queue.Empty:
            began = time.monotonic()
            while True:
                self._raise_failure()
                try:
                    block = self._free.get(timeout=0.1)
                    break
                except queue.Empty:
                    continue
            self._stall_seconds += time.monotonic() - began
        block.count = 0
        block.streams.clear()
        self._deadline = time.monotonic() + HAND_OVER_SECONDS
        self._block = block
        return block

    def _store(self, block: Block, row: int, column: int, value: Any) -> None:
        if isinstance(value, torch.Tensor) and value.device.type == self._home.type and not value.is_complex():
            self._note_streams(block)
            began = time.perf_counter()
            value = value.detach().reshape(())
            block.scalars[row, column].copy_(value, non_blocking=True)
            if len(self._streams) > len(self._sides.devices):  # another stream may free it before it is read
                for stream in self._sides.current():
                    hold((value,), stream)
            self._launch_seconds += time.perf_counter() - began
        else:
            block.host_scalars[row, column] = as_number(value)

    def _submit(self) -> None:
        block, self._block = self._block, None
        assert block is not None
        block.marks = self._sides.marks(block.streams)
        self._full.put(block)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _stage(self) -> None:
        try:
            if self._sides.devices:
                device_streams.stay_out_of_captures()
            while (block := self._full.get()) is not None:
                self._to_pinned(block)
                self._to_spool(block)
                block.host_scalars.fill(np.nan)
                if not self._sides.devices:
                    block.scalars.fill_(torch.nan)
                self._free.put(block)
        except BaseException as failure:
            self._failure = failure

    def _to_pinned(self, block: Block) -> None:
        """Take a block from its devices, and make its scalars ready for the next frames."""
        count = block.count
        pairs = [
            (source[:count], target[:count])
            for source, target in zip(block.tensors, [*block.pinned, block.pinned_scalars], strict=True)
        ]
        self._sides.fetch(block.marks, pairs, clear=[block.scalars])

    def _to_spool(self, block: Block) -> None:
        scalars = np.where(np.isnan(block.host_scalars), block.pinned_scalars.numpy(), block.host_scalars)
        arrays = [
            (pinned.view(torch.int16).numpy().view(np.uint16) if pinned.dtype == torch.bfloat16 else pinned.numpy())
            for pinned in block.pinned
        ]
        for row in range(block.count):
            if not self._spool.reserve():
                continue
            file, place = self._spool.file, self._spool.row
            assert file is not None
            for target, source in zip(file.planes, arrays, strict=True):
                target[place] = source[row]
            file.scalars[place] = scalars[row]
            self._spool.push(int(block.steps[row]))

    def _allocate(self, schema: Schema, columns: int) -> Block:
        """Make a block that any stream may write to once the side streams have settled."""
        frames = self._frames
        hosts = [as_tensor(np.empty((frames, plane.elements), plane.travel_dtype), plane) for plane in schema.planes]
        planes = [self._beside(host, torch.device(p.device)) for host, p in zip(hosts, schema.planes, strict=True)]
        nothing = torch.full((frames, columns), torch.nan, dtype=torch.float64)
        scalars = self._beside(nothing, self._home)
        return Block(
            planes=planes,
            rows=rows_of(planes),
            scalars=scalars,
            pinned=[_landing(host, plane) for host, plane in zip(hosts, planes, strict=True)],
            pinned_scalars=_landing(nothing, scalars),
            steps=np.zeros(frames, np.int64),
            host_scalars=nothing.numpy().copy(),
        )

    def _beside(self, host: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Return memory for the same values on a device; `host` itself if the device is the host."""
        if device not in self._sides.devices:
            return host
        with self._sides.own(device):
            on_device = torch.empty_like(host, device=device)
            return on_device.fill_(torch.nan) if host.is_floating_point() else on_device.zero_()


def _landing(host: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Return host memory for a copy of `source` that needs no waiting; `source` itself if it is host memory."""
    return source if source is host else torch.empty_like(host, pin_memory=source.is_cuda)


def block_frames(schema: Schema, file_frames: int) -> int:
    """Return the number of frames in a block: the frames of a spool file, halved until they fit 32 MiB."""
    frames = file_frames
    while frames > 1 and frames * schema.frame_bytes > _BLOCK_BYTES:
        frames //= 2
    return frames
