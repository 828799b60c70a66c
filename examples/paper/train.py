"""Training to equilibrium, and the branches from there. The work can stop after every epoch, and go on from there."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch.optim import Optimizer

from recorder import Recorder

from .answers import file_of
from .dense import KINDS, Inputs, Model
from .driver import TOGETHER, Driver, launches
from .place import Place, Stop, claim, load, read_json, save, write_json
from .plan import BATCH, Branch, Scale, Schedule, epochs_of, learning_rate, schedule_of, seed_of
from .together import Steps, finish
from .updates import accuracy, load_moments, portable
from .weights import account as account_of_shipped
from .weights import restored, shipped

TOLD = ("device", "second_device", "cpu_seconds")
"""The note in the account of a shipped network on where it was trained."""


@dataclass(frozen=True)
class Task:
    """What the training and all branches share.

    Attributes
    ----------
    kind : {"gcn", "gat", "cnn"}
    train, test : Inputs
        Data on the device that trains.
    compare_every : int, optional
        See `Recorder`; given only to the run that measures the cost of recording.
    together : int
        Branches that run at once in this process.
    edges : {"knn", "radius", "own"}
        See `Superpixels`.
    answers : Path, optional
        Folder of the model's answers, at a scale that keeps the answers of each branch: a branch whose answers lie
        there is finished, wherever it was made.
    """

    kind: str
    features: int
    scale: Scale
    place: Place
    train: Inputs
    test: Inputs
    stop: Stop
    compare_every: int | None = None
    together: int = 1
    notes: Mapping[str, Any] = field(default_factory=dict)
    answers: Path | None = None
    edges: str = "knn"

    @property
    def device(self) -> str:
        """The device that trains."""
        return str(self.train.y.device)

    @property
    def schedule(self) -> Schedule:
        """The training."""
        return schedule_of(self.scale, self.kind)


def tell(text: str) -> None:
    """Show progress; stdout is for data."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def fresh_model(task: Task) -> Model:
    """Make the model with new weights. The seed is set here, never inside a model."""
    torch.manual_seed(seed_of("weights", task.kind, task.features))
    kind = KINDS[task.kind]
    return (kind() if task.kind == "cnn" else kind(task.features)).to(task.device)  # type: ignore[call-arg]


def optimizer_of(name: str, model: Model, rate: float, device: str) -> Optimizer:
    """Plain SGD, or Adam as torch makes it; on a GPU fused, with what a CUDA graph reads in tensors there."""
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=rate)
    if device == "cpu":
        return torch.optim.Adam(model.parameters(), lr=rate)
    rates = torch.tensor(rate, device=device)
    return torch.optim.Adam(model.parameters(), lr=rates, capturable=True, fused=True)


def one_epoch(task: Task, driver: Driver, name: str, epoch: int, recorder: Recorder | None) -> Steps[float]:
    """Make every update of an epoch but a short last one; yields after each launch. Returns the mean loss."""
    order = torch.Generator().manual_seed(seed_of(name, "epoch", epoch))
    driver.begin(torch.randperm(len(task.train), generator=order))
    for count in launches(driver.steps, TOGETHER if recorder is None else 1):
        driver.make(count)
        if recorder is not None:
            with driver.stream():
                if driver.captured:
                    recorder.step()
                recorder.log(loss=driver.loss, epoch=epoch)
        yield
    return driver.mean_loss()


# -- training ---------------------------------------------------------------------------------------


def train(task: Task) -> bool:
    """Train with Adam from where an earlier call stopped, and record the last stage. Returns whether it is done.

    At a scale whose branches start from the shipped networks, the training goes on where those are, and nothing of it
    is recorded.
    """
    with claim(task.place.trained, wait=True):
        if task.place.trained.exists():
            return True
        model = fresh_model(task)
        state: dict[str, Any] = {"epoch": 0, "seconds": 0.0, "curve": []}
        if task.place.training.exists():
            state = load(task.place.training)
        elif starts_from_shipped(task):
            state = state_of_shipped(task.kind)
        optimizer = optimizer_of("adam", model, learning_rate(task.schedule, state["epoch"]), task.device)
        if state["epoch"]:
            model.load_state_dict(state["model"])
            load_moments(optimizer, state["optimizer"])
        driver = Driver(model, optimizer, task.train, BATCH, tell)
        recorded_from = task.schedule.epochs - (0 if task.scale.shipped else task.schedule.decay_every)
        while state["epoch"] < recorded_from:
            if task.stop:
                return False
            state = _stage(task, model, optimizer, driver, state, None)
            save(task.place.training, state | {"account": _told(task, state)})
        if task.scale.shipped:
            return _settle_training(task, model, state)
        if task.stop:
            return False
        return _finish_training(task, model, optimizer, driver, state)


def starts_from_shipped(task: Task) -> bool:
    """Whether a network ships that saw the task's features and edges."""
    return task.scale.shipped and task.features == 1 and task.edges == "knn" and shipped(task.kind)


def state_of_shipped(kind: str) -> dict[str, Any]:
    """The training as far as the shipped network has come."""
    told = account_of_shipped(kind)
    model, optimizer = restored(kind)
    return {
        "epoch": told["epochs"],
        "seconds": told["seconds"],
        "curve": told["curve"],
        "model": model.state_dict(),
        "optimizer": optimizer,
        "told": {name: told[name] for name in TOLD if name in told},
    }


def _finish_training(task: Task, model: Model, optimizer: Optimizer, driver: Driver, state: dict[str, Any]) -> bool:
    """Make the last stage in one piece and record it. If it is interrupted, it begins again."""
    hyperparameters = {"learning_rate": learning_rate(task.schedule, state["epoch"]), "batch_size": BATCH, "seed": 0,
                       "optimizer": "adam", "model": task.kind, **task.notes}  # fmt: skip
    watched = None if driver.captured else optimizer
    with Recorder(task.place.store("training"), model, watched, hyperparameters=hyperparameters, mode="w") as recorder:
        with driver.stream():
            recorder.start()
        while state["epoch"] < task.schedule.epochs:
            if task.stop:
                recorder.close("interrupted")
                return False
            state = _stage(task, model, optimizer, driver, state, recorder)
    return _settle_training(task, model, state)


def _settle_training(task: Task, model: Model, state: Mapping[str, Any]) -> bool:
    """Write the trained network, and the account of its training."""
    account = _told(task, state)
    account |= {"test_accuracy": accuracy(model, task.test), "train_accuracy": accuracy(model, task.train)}
    save(task.place.trained, {"model": state["model"], "optimizer": state["optimizer"]})
    write_json(task.place.account("training"), account)
    tell(f"trained: test accuracy {account['test_accuracy']:.1%}, {state['seconds']:.0f} s")
    return True


def _told(task: Task, state: Mapping[str, Any]) -> dict[str, Any]:
    """The account of the training so far."""
    return {
        "name": "training",
        "model": task.kind,
        "scale": task.scale.name,
        "seconds": state["seconds"],
        "steps": state["epoch"] * (len(task.train) // BATCH),
        "epochs": state["epoch"],
        "curve": state["curve"],
        "test_graphs": len(task.test),
        "train_graphs": len(task.train),
        **state.get("told", {}),
        **task.notes,
    }


def _stage(
    task: Task, model: Model, optimizer: Optimizer, driver: Driver, state: dict[str, Any], recorder: Recorder | None
) -> dict[str, Any]:
    """Make epochs of one learning rate, one or a few at a time. Returns the state after them."""
    first = state["epoch"]
    decay = task.schedule.decay_every
    at_a_time = 1 if task.scale.shipped else max(1, decay // 10)  # at full size a CPU takes ten seconds or more for one
    end = min(first + at_a_time, (first // decay + 1) * decay)
    driver.set_rate(learning_rate(task.schedule, first))
    began = time.perf_counter()
    name = f"training/{task.kind}"
    losses = [finish(one_epoch(task, driver, name, epoch, recorder)) for epoch in range(first, end)]
    seconds = time.perf_counter() - began
    point = {"epoch": end, "loss": losses[-1], "test_accuracy": accuracy(model, task.test)}
    tell(f"{task.kind} training {end}/{task.schedule.epochs} epochs  loss {losses[-1]:.3f}  "
         f"test {point['test_accuracy']:.1%}  {(end - first) * driver.steps / seconds:.0f} steps/s")  # fmt: skip
    return {
        **state,
        "epoch": end,
        "seconds": state["seconds"] + seconds,
        "curve": [*state["curve"], point],
        "model": portable(model.state_dict()),
        "optimizer": portable(optimizer.state_dict()),
    }


# -- branches ---------------------------------------------------------------------------------------


def branch(task: Task, run: Branch) -> bool:
    """Make one branch, or go on where it stopped. Returns False if it must be continued, or another process has it."""
    return finish(branch_steps(task, run))


def branch_steps(task: Task, run: Branch) -> Steps[bool]:
    """Make one branch, and give way after each launch. Returns as `branch` does.

    A branch that was stopped between two epochs goes on in its store; one that was killed begins again.
    """
    place, name = task.place, run.name
    with claim(place.store(name), wait=False) as mine:
        if not mine or task.stop:
            return False
        if place.account(name).exists():
            return True
        discarded, recorded = epochs_of(task.scale, run.batch_size)
        trained = load(place.trained)
        model = fresh_model(task)
        model.load_state_dict(trained["model"])
        optimizer = optimizer_of(run.optimizer, model, run.learning_rate, task.device)
        if run.optimizer == "adam":
            load_moments(optimizer, trained["optimizer"])
        state: dict[str, Any] = {"epoch": 0, "losses": [], "seconds": 0.0, "cpu_seconds": 0.0, "account": {}}
        mode: Literal["w", "a"] = "w"
        if place.part(name).exists():
            state, mode = load(place.part(name)), "a"
            model.load_state_dict(state["model"])
            load_moments(optimizer, state["optimizer"])
            place.part(name).unlink()  # killed from now on, its frames would be ahead of it: then it begins again
        driver = Driver(model, optimizer, task.train, run.batch_size, tell)
        if mode == "w":
            for epoch in range(discarded):
                yield from one_epoch(task, driver, f"{task.kind}/{name}/discarded", epoch, None)
        return (yield from _record(task, run, model, optimizer, driver, state, mode, recorded))


def _record(
    task: Task,
    run: Branch,
    model: Model,
    optimizer: Optimizer,
    driver: Driver,
    state: dict[str, Any],
    mode: Literal["w", "a"],
    epochs: int,
) -> Steps[bool]:
    place, name = task.place, run.name
    hyperparameters = {"learning_rate": run.learning_rate, "batch_size": run.batch_size, "seed": run.seed,
                       "optimizer": run.optimizer, "model": task.kind, **task.notes}  # fmt: skip
    watched = None if driver.captured else optimizer
    began = time.perf_counter()
    with Recorder(
        place.store(name), model, watched, hyperparameters=hyperparameters, mode=mode, compare_every=task.compare_every
    ) as recorder:
        with driver.stream():
            recorder.start()
        trained_from, cpu_from = time.perf_counter(), time.process_time()
        while state["epoch"] < epochs and not task.stop:
            loss = yield from one_epoch(task, driver, f"{task.kind}/{name}", state["epoch"], recorder)
            state["losses"].append(loss)
            state["epoch"] += 1
        seconds = time.perf_counter() - trained_from
        state["cpu_seconds"] += time.process_time() - cpu_from
        finished = state["epoch"] == epochs
        recorder.close("complete" if finished else "interrupted")
    state["seconds"] += seconds
    report = recorder.report
    assert report is not None
    state["account"] = _added(state["account"], report, time.perf_counter() - began - seconds)
    if not finished:
        now = {"model": portable(model.state_dict()), "optimizer": portable(optimizer.state_dict())}
        save(place.part(name), state | now)
        return False
    steps = state["account"]["steps"]
    account = {
        "name": name,
        "scale": task.scale.name,
        **hyperparameters,
        "epochs": epochs,
        "seconds": state["seconds"],
        "cpu_seconds": state["cpu_seconds"],  # on a machine that is shared, the one that says what the work takes
        "steps_per_second": steps / state["seconds"],
        **state["account"],
        "first_loss": state["losses"][0],
        "last_loss": state["losses"][-1],
        "test_accuracy": accuracy(model, task.test),
        "test_graphs": len(task.test),
    }
    if task.together > 1:
        account["together"] = task.together  # its seconds are those of so many branches
    if report.overhead is not None:
        account["slowdown"] = [report.overhead.slowdown, report.overhead.low, report.overhead.high]
        account["slowdown_pairs"] = report.overhead.pairs
    write_json(place.account(name), account)
    tell(f"{task.kind} {name}: {steps:,} steps, {account['steps_per_second']:.0f} steps/s, "
         f"loss {account['last_loss']:.3f}, test {account['test_accuracy']:.1%}")  # fmt: skip
    return True


def _added(before: Mapping[str, Any], report: Any, outside: float) -> dict[str, Any]:
    """The account of a recording, added to that of the recordings before it; stored bytes are the store's own total."""
    now = {
        "steps": report.steps,
        "recorder_seconds": report.seconds,
        "stall_seconds": report.stall_seconds,
        "outside_seconds": outside,
        "raw_bytes": report.raw_bytes,
        "dropped": report.dropped,
    }
    return {key: before.get(key, 0) + value for key, value in now.items()} | {"stored_bytes": report.stored_bytes}


def finished(task: Task, run: Branch) -> bool:
    """Whether a branch is finished, and its answers are kept where the scale keeps them."""
    if task.answers is not None:
        return file_of(task.answers, run).exists()
    return task.place.account(run.name).exists()


def account_of(task: Task, name: str) -> dict[str, Any]:
    """What a finished run cost."""
    content: dict[str, Any] = read_json(task.place.account(name))
    return content
