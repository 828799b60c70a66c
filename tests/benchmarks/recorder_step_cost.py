"""Cost of a recorded step on the training thread, beside other ways to keep the weights of every step.

Paced like real training: every method keeps the GCN's weights after each step of real training (the slow ones: after
each sixteenth), in random order, so that all see the same caches and the same load.

The rows of the recorder contain torch's own wrapper of `optimizer.step` a second time (the training's own step has run
already); `net` is their time less that of an empty step, and what every other method is compared with.

Some competitors are no dependencies: `pip install safetensors tensorboard`; smdebug 1.0.34 (SageMaker Debugger, the
closest in purpose) needs protobuf <= 3.20.3, which TensorBoard no longer takes, and numpy < 2.3: an environment of its
own, with `pip install --no-deps smdebug protobuf==3.20.3 pyinstrument==3.4.2 pyinstrument-cext numpy==2.2.6` and boto3.

    python -m tests.benchmarks.recorder_step_cost
"""

from __future__ import annotations

import argparse
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from itertools import count, islice
from pathlib import Path
from statistics import fmean, median
from time import perf_counter_ns
from typing import Any

import torch
from torch import Tensor, nn

from examples.models import GCN
from recorder import Recorder
from tests.benchmarks.recorder_workload import Gate, Row, table, training

Keep = Callable[[nn.Module, Tensor], None]
SLOW_EVERY = 16
RING = 256
NOT_INSTALLED = "not installed"


@contextmanager
def clone(model: nn.Module, folder: Path) -> Iterator[Keep]:
    """The floor: data touched once."""
    yield lambda model, loss: [parameter.detach().clone() for parameter in model.parameters()] and None


@contextmanager
def cat(model: nn.Module, folder: Path) -> Iterator[Keep]:
    """One fused copy into a preallocated ring: what P1 is measured against."""
    ring = torch.zeros(RING, sum(parameter.numel() for parameter in model.parameters()))
    row = count()

    @torch.no_grad()
    def keep(model: nn.Module, loss: Tensor) -> None:
        torch.cat([parameter.reshape(-1) for parameter in model.parameters()], out=ring[next(row) % RING])

    yield keep


@contextmanager
def foreach(model: nn.Module, folder: Path) -> Iterator[Keep]:
    parameters = list(model.parameters())
    rings = [torch.zeros(RING, *parameter.shape) for parameter in parameters]
    row = count()

    @torch.no_grad()
    def keep(model: nn.Module, loss: Tensor) -> None:
        i = next(row) % RING
        torch._foreach_copy_([ring[i] for ring in rings], parameters)

    yield keep


@contextmanager
def gate(model: nn.Module, folder: Path) -> Iterator[Keep]:
    """What torch's own wrapper of `optimizer.step` costs, which the recorder's rows contain."""
    optimizer = Gate(model)
    yield lambda model, loss: optimizer.step()


@contextmanager
def hook(model: nn.Module, folder: Path) -> Iterator[Keep]:
    optimizer = Gate(model)
    with Recorder(folder / "hook.zarr", model, optimizer) as recorder:
        recorder.start()
        yield lambda model, loss: optimizer.step()


@contextmanager
def hook_and_log(model: nn.Module, folder: Path) -> Iterator[Keep]:
    optimizer = Gate(model)

    def keep(model: nn.Module, loss: Tensor) -> None:
        optimizer.step()
        recorder.log(loss=loss, epoch=0)

    with Recorder(folder / "log.zarr", model, optimizer) as recorder:
        recorder.start()
        yield keep


@contextmanager
def torch_save(model: nn.Module, folder: Path) -> Iterator[Keep]:
    file = count()
    yield lambda model, loss: torch.save(model.state_dict(), folder / f"{next(file)}.pt")


@contextmanager
def safetensors(model: nn.Module, folder: Path) -> Iterator[Keep]:
    save_file = import_module("safetensors.torch").save_file
    file = count()
    yield lambda model, loss: save_file(model.state_dict(), folder / f"{next(file)}.safetensors")


@contextmanager
def h5py(model: nn.Module, folder: Path) -> Iterator[Keep]:
    with import_module("h5py").File(folder / "run.h5", "w") as file:
        arrays = {
            name: file.create_dataset(
                name, (0, *value.shape), "f4", maxshape=(None, *value.shape), chunks=(64, *value.shape)
            )
            for name, value in model.named_parameters()
        }

        def keep(model: nn.Module, loss: Tensor) -> None:
            for name, value in model.named_parameters():
                arrays[name].resize(len(arrays[name]) + 1, axis=0)
                arrays[name][-1] = value.detach().numpy()

        yield keep


@contextmanager
def zarr(model: nn.Module, folder: Path) -> Iterator[Keep]:
    """One chunk a step and parameter."""
    group = import_module("zarr").create_group(folder / "chunks.zarr")
    arrays = {
        name: group.create_array(name, shape=(0, *value.shape), dtype="f4", chunks=(1, *value.shape))
        for name, value in model.named_parameters()
    }

    def keep(model: nn.Module, loss: Tensor) -> None:
        for name, value in model.named_parameters():
            array = arrays[name]
            array.resize((array.shape[0] + 1, *array.shape[1:]))
            array[-1] = value.detach().numpy()

    yield keep


@contextmanager
def tensorboard(model: nn.Module, folder: Path) -> Iterator[Keep]:
    step = count()
    with import_module("torch.utils.tensorboard").SummaryWriter(str(folder / "tensorboard")) as writer:

        def keep(model: nn.Module, loss: Tensor) -> None:
            i = next(step)
            for name, value in model.named_parameters():
                writer.add_histogram(name, value, i)

        yield keep


@contextmanager
def checkpoint(model: nn.Module, folder: Path) -> Iterator[Keep]:
    """Distributed checkpoint, asynchronous; one at a time, as it asks."""
    save = import_module("torch.distributed.checkpoint").async_save
    file, last = count(), []

    def keep(model: nn.Module, loss: Tensor) -> None:
        if last:
            last.pop().result()
        last.append(save(model.state_dict(), checkpoint_id=folder / f"checkpoint-{next(file)}"))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that one process is all there is
        yield keep
        if last:
            last.pop().result()


class Shell(nn.Module):
    """A model's weights with a forward that does nothing: smdebug records in the hooks around it.

    The memory is the model's, the parameters are not: smdebug hooks into gradients, too.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name, parameter in model.named_parameters():
            self.register_parameter(name.replace(".", "_"), nn.Parameter(parameter.detach()))

    def forward(self, batch: Tensor) -> Tensor:
        return batch


@contextmanager
def smdebug(model: nn.Module, folder: Path) -> Iterator[Keep]:
    """Every weight at every step."""
    debugger = import_module("smdebug.pytorch")
    every = import_module("smdebug.core.save_config").SaveConfig(save_interval=1)
    hook = debugger.Hook(out_dir=str(folder / "smdebug"), save_config=every, include_collections=["weights", "biases"])
    shell, batch = Shell(model), torch.zeros(1)
    hook.register_module(shell)
    yield lambda model, loss: shell(batch) and None
    hook.close()


EMPTY, RECORDER = "optimizer.step() that does nothing", "recorder: hook, log(loss, epoch)"
RATIOS = ("x recorder", "x net")
FAST = {
    "clone every tensor": clone,
    "cat(out=ring[row])": cat,
    "_foreach_copy_ into a ring": foreach,
    EMPTY: gate,
    "recorder: hook": hook,
    RECORDER: hook_and_log,
}
SLOW = {
    "safetensors, a file a step": safetensors,
    "torch.save, a file a step": torch_save,
    "h5py, append": h5py,
    "zarr, one chunk a step": zarr,
    "torch.distributed.checkpoint.async_save": checkpoint,
    "TensorBoard add_histogram": tensorboard,
    "smdebug, all weights": smdebug,
}


def measure(steps: int, *, bare: bool = False) -> list[Row]:
    """Time every method over `steps` steps of the GCN's training with Adam.

    Parameters
    ----------
    steps : int
    bare : bool
        Instead, in bursts of its own: a method is called again and again with nothing between but an update of all
        parameters, so it finds its own code and data in the caches. That is how the figures of other tools are usually
        taken, and how the targets were.

    Returns
    -------
    list of rows
        Median, mean and 99th percentile of the microseconds that a step costs the training thread; median and mean as
        ratios to those of `cat`; the median as a ratio to the recorder's with log, whole and net; the text "not
        installed" for methods whose package is not there.
    """
    torch.manual_seed(0)
    shuffle = random.Random(0)
    model = GCN()
    times: dict[str, list[float]] = {name: [] for name in FAST | SLOW}

    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        ready: dict[str, Keep] = {}
        for i, (method, start) in enumerate((FAST | SLOW).items()):
            folder = Path(name, str(i))
            folder.mkdir()
            try:
                ready[method] = stack.enter_context(start(model, folder))
            except ImportError:
                continue
        slow = dict(enumerate(method for method in SLOW if method in ready))
        losses = walk(model) if bare else training(model, torch.optim.Adam(model.parameters(), lr=1e-3))
        for step, loss in enumerate(islice(losses, steps)):
            now = [*FAST]
            shuffle.shuffle(now)
            if step % SLOW_EVERY in slow:
                now.append(slow[step % SLOW_EVERY])
            for method in now:
                for again in range(1 if not bare else 8 if method in SLOW else 64):
                    if again:
                        next(losses)
                    began = perf_counter_ns()
                    ready[method](model, loss)
                    times[method].append((perf_counter_ns() - began) / 1e3)

    base = times["cat(out=ring[row])"]
    rows = [row(method, taken, base) for method, taken in times.items()]
    own = median(times[RECORDER])
    net = own - median(times[EMPTY])
    for line, taken in zip(rows, times.values(), strict=True):
        line |= (
            {"x recorder": median(taken) / own, "x net": median(taken) / net}
            if taken
            else dict.fromkeys(RATIOS, NOT_INSTALLED)
        )
    return rows


def walk(model: nn.Module) -> Iterator[Tensor]:
    """Updates without a training: every parameter moves a little."""
    parameters = [parameter.detach() for parameter in model.parameters()]
    updates = [1e-4 * torch.randn_like(parameter) for parameter in parameters]
    while True:
        torch._foreach_add_(parameters, updates)
        yield torch.tensor(1.0)


def row(method: str, taken: list[float], base: list[float]) -> dict[str, Any]:
    """Summarise the times of one method."""
    columns = ("steps", "median_us", "mean_us", "p99_us", "median/cat", "mean/cat")
    if not taken:
        return {"method": method} | dict.fromkeys(columns, NOT_INSTALLED)
    values = (
        len(taken),
        median(taken),
        fmean(taken),
        sorted(taken)[int(0.99 * len(taken))],
        median(taken) / median(base),
        fmean(taken) / fmean(base),
    )
    return {"method": method} | dict(zip(columns, values, strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2_000, help="steps of training (default: 2000)")
    parser.add_argument("--bare", action="store_true", help="without training, each method in bursts of its own")
    chosen = parser.parse_args()
    title = "Cost of one recorded step (GCN, 10 tensors, 11,786 floats)" + (", without training" if chosen.bare else "")
    print(table(title, measure(chosen.steps, bare=chosen.bare)))


if __name__ == "__main__":
    main()
