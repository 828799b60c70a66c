"""Two ranks of a distributed training, run by test_ranks.py: by torchrun's launcher, or by `start_processes`.

Every scenario leaves what it saw in `FOLDER/RANK.json`.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from recorder import Recorder, RecorderError
from recorder.trainer import ranks

STEPS = 5


def make():
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def update(model, optimizer, number: int) -> None:
    generator = torch.Generator().manual_seed(2 * number + dist.get_rank())
    optimizer.zero_grad()
    model(torch.randn(8, 4, generator=generator)).square().mean().backward()
    optimizer.step()


def train(model, optimizer, recorder=None) -> list:
    """Train, and return the weights after each step."""
    truth = [copy.deepcopy(model.module.state_dict())]
    for number in range(STEPS):
        update(model, optimizer, number)
        truth.append(copy.deepcopy(model.module.state_dict()))
        if recorder is not None:
            recorder.log(number=number)
    return truth


def hooks(optimizer) -> int:
    return len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)


def refused(call) -> str:
    try:
        call()
    except RecorderError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def where(folder: Path, name: str) -> Path:
    """The store on rank 0; on other ranks a path at which any access raises."""
    return folder / name if dist.get_rank() == 0 else Path("/proc/self/mem/no/place") / name


def recorded(folder: Path, seen: dict) -> None:
    model, optimizer = make()
    with Recorder(where(folder, "ddp.zarr"), model, optimizer, mode="w") as recorder:
        truth = train(model, optimizer, recorder)
    seen["hooks after close"] = hooks(optimizer)
    torch.save(truth, folder / f"{dist.get_rank()}.pt")


def started(folder: Path, seen: dict) -> None:
    model, optimizer = make()
    recorder = Recorder(where(folder, "started.zarr"), model, optimizer, mode="w")
    recorder.start()
    seen["hooks after start"] = hooks(optimizer)
    train(model, optimizer, recorder)
    recorder.close()


def by_hand(folder: Path, seen: dict) -> None:
    model, optimizer = make()
    recorder = Recorder(where(folder, "hand.zarr"), model, mode="w")
    for number in range(STEPS):
        update(model, optimizer, number)
        recorder.step()
    recorder.close()
    recorder.close()


def never_started(folder: Path, seen: dict) -> None:
    with Recorder(where(folder, "never.zarr"), *make(), mode="w"):
        pass


def rank_0_alone(folder: Path, seen: dict) -> None:
    """`if rank == 0: …`: no rank waits for another."""
    model, optimizer = make()
    recorder = Recorder(folder / "alone.zarr", model, optimizer) if dist.get_rank() == 0 else None
    train(model, optimizer, recorder)
    if recorder is not None:
        recorder.close()
    else:
        next(ranks._numbers)  # so that later scenarios count alike


def rank_1_alone(folder: Path, seen: dict) -> None:
    model, optimizer = make()
    if dist.get_rank() == 1:
        ranks._PATIENCE = 0.2
        with Recorder(folder / "other.zarr", model, optimizer):
            train(model, optimizer)
        ranks._PATIENCE = 60.0
    else:
        train(model, optimizer)
        next(ranks._numbers)


def store_exists(folder: Path, seen: dict) -> None:
    def body():
        model, optimizer = make()
        with Recorder(where(folder, "ddp.zarr"), model, optimizer):
            train(model, optimizer)

    seen["refused"] = refused(body)


def no_room(folder: Path, seen: dict) -> None:
    model, optimizer = make()
    model(torch.randn(2, 4)).sum().backward()
    with Recorder(where(folder, "room.zarr"), model, optimizer, expected_steps=10**15):
        seen["refused"] = refused(optimizer.step)


def no_room_but_a_warning(folder: Path, seen: dict) -> None:
    model, optimizer = make()
    with Recorder(where(folder, "warn.zarr"), model, optimizer, expected_steps=10**15, on_error="warn"):
        train(model, optimizer)


def sharded(folder: Path, seen: dict) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

    mesh = init_device_mesh("cpu", (2,))
    models = {
        "FSDP2": fully_shard(nn.Sequential(nn.Linear(4, 4)), mesh=mesh),
        "tensor parallelism": parallelize_module(nn.Sequential(nn.Linear(4, 4)), mesh, {"0": ColwiseParallel()}),
        "FSDP": FullyShardedDataParallel(nn.Linear(4, 4), device_id=torch.device("cpu")),
        "FSDP, original parameters": FullyShardedDataParallel(
            nn.Linear(4, 4), device_id=torch.device("cpu"), use_orig_params=True
        ),
    }
    for name, model in models.items():
        recorder = Recorder(where(folder, "sharded.zarr"), model)
        seen[name] = refused(recorder.start)
        recorder.close()


SCENARIOS = [
    recorded,
    started,
    by_hand,
    never_started,
    rank_0_alone,
    rank_1_alone,
    store_exists,
    no_room,
    no_room_but_a_warning,
    sharded,
]


def main(folder: Path, *names: str) -> None:
    """Run scenarios in one process group, all by default."""
    dist.init_process_group("gloo")
    seen: dict[str, dict] = {}
    for scenario in SCENARIOS:
        if not names or scenario.__name__ in names:
            told = io.StringIO()
            own = seen[scenario.__name__] = {}
            with contextlib.redirect_stderr(told):
                scenario(folder, own)
            own["told"] = told.getvalue()
    (folder / f"{dist.get_rank()}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()


def launch(folder: str, port: str) -> None:
    """Start the ranks as torchrun does, from its options on; but a function in forked processes, which load nothing."""
    import torch.distributed.fsdp  # noqa: F401, which both would load
    from torch.distributed import run
    from torch.distributed.launcher.api import elastic_launch

    words = ["--nproc-per-node", "2", "--start-method", "fork", "--master-port", port, __file__]
    config, _, _ = run.config_from_args(run.parse_args(words))
    elastic_launch(config, main)(Path(folder))


def worker(rank: int, folder: str, port: int) -> None:
    """As `torch.multiprocessing` starts it."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ.update(RANK=str(rank), WORLD_SIZE="2")
    main(Path(folder), "recorded")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # torch's, of versions to come
    if sys.argv[1] == "end":  # as a user's script ends that catches nothing
        dist.init_process_group("gloo")
        model, optimizer = make()
        with Recorder(where(Path(sys.argv[2]), "ddp.zarr"), model, optimizer, **json.loads(sys.argv[3])):
            train(model, optimizer)
    elif sys.argv[1] == "no group":  # a launcher's environment alone
        model = nn.Linear(2, 2)
        with Recorder(Path(sys.argv[2]) / f"{os.environ['RANK']}.zarr", model) as recorder:
            recorder.start()
            model.weight.data.add_(1.0)
            recorder.step()
            recorder.log(loss=1.0)
    elif sys.argv[1] in ("spawn", "fork"):
        from torch.multiprocessing import start_processes

        start_processes(worker, (sys.argv[2], int(sys.argv[3])), nprocs=2, start_method=sys.argv[1])
    elif sys.argv[1] == "launched":
        launch(*sys.argv[2:])
