"""A device made of host memory that does its work as late as CUDA allows: only when somebody waits for a stream.

Within `LazyCuda.stream(…)` operations that write to memory are kept, and made later in the order of their stream.
If something reads the memory without an event of the stream that wrote it, it reads the old content. The default stream
does its work at once.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

_WRITERS = ("copy_", "fill_", "zero_", "add_", "cat")
CPU = torch.device("cpu")


class LazyStream:
    def __init__(self, cuda: LazyCuda, *, lazy: bool = True) -> None:
        self.cuda, self.lazy, self.device = cuda, lazy, CPU
        self.work: list[Any] = []
        self.done = 0

    def give(self, work: Any) -> None:
        with self.cuda.lock:
            self.work.append(work)
            if not self.lazy:
                self.advance(len(self.work))

    def advance(self, count: int) -> None:
        with self.cuda.lock, torch.no_grad(), _disable_current_modes():
            while self.done < count:
                work = self.work[self.done]
                self.done += 1
                work()

    def wait_event(self, event: LazyEvent) -> None:
        self.give(event.reach)

    def synchronize(self) -> None:
        raise RuntimeError("called a synchronizing CUDA operation")  # as torch's sync debug mode does


class LazyEvent:
    def __init__(self, cuda: LazyCuda) -> None:
        self.cuda = cuda

    def record(self, stream: LazyStream) -> None:
        self.stream, self.count = stream, len(stream.work)

    def reach(self) -> None:
        self.stream.advance(self.count)

    def synchronize(self) -> None:
        self.cuda.waits.append(threading.current_thread().name)
        self.reach()


class Keep(TorchDispatchMode):
    """Keeps what writes to memory for a stream; views and new tensors are made at once."""

    def __init__(self, stream: LazyStream) -> None:
        super().__init__()
        self.stream = stream

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = operation.overloadpacket.__name__
        target = kwargs.get("out") if name == "cat" else args[0] if args else None
        if name not in _WRITERS or not isinstance(target, torch.Tensor):
            return operation(*args, **kwargs)
        self.stream.give(lambda: operation(*args, **kwargs))
        return target


class LazyCuda:
    """Stands in for `torch.cuda` where the recorder talks to streams. Lifetime: one test."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.waits: list[str] = []
        self._default = LazyStream(self, lazy=False)
        self._local = threading.local()

    def Stream(self, device: Any = None) -> LazyStream:
        return LazyStream(self)

    def Event(self, **options: Any) -> LazyEvent:
        return LazyEvent(self)

    def current_stream(self, device: Any = None) -> LazyStream:
        return getattr(self._local, "stream", self._default)

    @contextlib.contextmanager
    def stream(self, stream: LazyStream) -> Any:
        before = self.current_stream()
        self._local.stream = stream
        try:
            with Keep(stream):
                yield
        finally:
            self._local.stream = before
