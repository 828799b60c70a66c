"""The feed for parameters on a device: frames gather in blocks there, which move to pinned memory and to the spool.

At each step the compute stream gets one fused copy for each plane, device to device. The next update comes after it in
the same stream, so it cannot overtake the copy, and nothing waits for the host. A full block gets an event. A side
stream waits for that event and copies the block to pinned memory; a helper thread then copies it into the spool and
releases the GIL meanwhile. Blocks are allocated once and never returned, so that no allocator reuses memory that a copy
still reads.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from recorder.schema import Schema
from recorder.trainer.ring import FusedCopy, as_number, as_tensor, rows_of
from recorder.trainer.selection import Slot
from recorder.trainer.spool import HAND_OVER_SECONDS, Spool

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
    events: tuple[Any, ...] = ()


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
        devices = {torch.device(plane.device) for plane in schema.planes}
        self._devices = sorted((d for d in devices if d.type == "cuda"), key=str)
        self._home = self._devices[0] if self._devices else torch.device("cpu")
        self._streams = [torch.cuda.Stream(device) for device in self._devices]  # type: ignore[no-untyped-call]
        self._skipped: torch.Tensor | None = None
        self._free: queue.SimpleQueue[Block] = queue.SimpleQueue()
        for _ in range(BLOCKS):
            self._free.put(self._allocate(schema, columns))
        self._full: queue.SimpleQueue[Block | None] = queue.SimpleQueue()
        self._block: Block | None = None
        self._deadline = 0.0
        self._stall_seconds = 0.0
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._stage, name="recorder-staging", daemon=True)
        self._thread.start()

    def skip(self, found_inf: torch.Tensor) -> bool:
        """Count an update that the optimizer skipped; see `HostFeed.skip`. Waits for no device: false means unknown."""
        skipped = (found_inf.detach() != 0).double()
        self._skipped = skipped if self._skipped is None else self._skipped + skipped
        return skipped.device.type == "cpu" and bool(skipped)

    def push(self, step: int, rates: Sequence[Any]) -> bool:
        """Record the parameters as they are now; see `HostFeed.push`. Waits for no device."""
        block = self._reserve()
        row = block.count
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
        return 0 if self._skipped is None else int(self._skipped.item())

    def log(self, column: int, value: Any) -> None:
        """Store a scalar with the newest frame. A tensor on a device is copied there, and nothing waits for it."""
        assert self._block is not None
        self._store(self._block, self._block.count - 1, column, value)

    def newest(self) -> list[torch.Tensor] | None:
        """Return the newest frame as bytes of each parameter; None where it is on its way already."""
        if self._block is None or not self._block.count:
            return None
        rows = self._block.rows[self._block.count - 1]
        return [rows[p.plane][p.offset : p.offset + p.elements].view(torch.uint8) for p in self._schema.parameters]

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
        """Seconds that the training thread waited for a free block, as it does when the helper waits for the spool."""
        return self._stall_seconds

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
        block.host_scalars.fill(np.nan)
        block.scalars.fill_(torch.nan)
        self._deadline = time.monotonic() + HAND_OVER_SECONDS
        self._block = block
        return block

    def _store(self, block: Block, row: int, column: int, value: Any) -> None:
        if isinstance(value, torch.Tensor) and value.device.type == "cuda" and not value.is_complex():
            block.scalars[row, column].copy_(value.detach().reshape(()), non_blocking=True)
        else:
            block.host_scalars[row, column] = as_number(value)

    def _submit(self) -> None:
        block, self._block = self._block, None
        assert block is not None
        events = []
        for device in self._devices:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(device))
            events.append(event)
        block.events = tuple(events)
        self._full.put(block)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _stage(self) -> None:
        try:
            while (block := self._full.get()) is not None:
                self._to_pinned(block)
                self._to_spool(block)
                self._free.put(block)
        except BaseException as failure:
            self._failure = failure

    def _to_pinned(self, block: Block) -> None:
        count = block.count
        pairs = [*zip(block.planes, block.pinned, strict=True), (block.scalars, block.pinned_scalars)]
        for device, stream, event in zip(self._devices, self._streams, block.events, strict=True):
            stream.wait_event(event)
            with torch.cuda.stream(stream):
                for source, target in pairs:
                    if source.device == device:
                        target[:count].copy_(source[:count], non_blocking=True)
        for stream in self._streams:
            stream.synchronize()  # releases the GIL

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
        frames = self._frames
        planes, pinned = [], []
        for plane in schema.planes:
            device = torch.device(plane.device)
            tensor = as_tensor(np.empty((frames, plane.elements), plane.travel_dtype), plane)
            planes.append(tensor.to(device) if device.type == "cuda" else tensor)
            pinned.append(torch.empty_like(tensor, pin_memory=True) if device.type == "cuda" else tensor)
        scalars = torch.full((frames, columns), torch.nan, dtype=torch.float64, device=self._home)
        on_device = self._home.type == "cuda"
        return Block(
            planes=planes,
            rows=rows_of(planes),
            scalars=scalars,
            pinned=pinned,
            pinned_scalars=torch.empty_like(scalars, device="cpu", pin_memory=True) if on_device else scalars,
            steps=np.zeros(frames, np.int64),
            host_scalars=np.full((frames, columns), np.nan),
        )


def block_frames(schema: Schema, file_frames: int) -> int:
    """Return the number of frames in a block: the frames of a spool file, halved until they fit 32 MiB."""
    frames = file_frames
    while frames > 1 and frames * schema.frame_bytes > _BLOCK_BYTES:
        frames //= 2
    return frames
