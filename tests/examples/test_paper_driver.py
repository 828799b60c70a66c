"""The driver of the reproduction: the same updates however they are launched, and what a CUDA graph needs."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import ref

import numpy as np
import pytest
import torch

import analyzer
from examples.data.loader import Superpixels, load
from examples.paper import driver as drivers
from examples.paper import train as stages
from examples.paper import updates
from examples.paper.dense import Inputs, inputs
from examples.paper.driver import TOGETHER, Captured, Driver, capture, launches
from examples.paper.place import Place, read_json
from examples.paper.place import load as read
from examples.paper.plan import SCALES, Branch, Schedule
from examples.paper.run import chosen, main
from examples.paper.together import finish, together
from examples.paper.train import Task, branch, branch_steps, fresh_model, optimizer_of, train
from examples.paper.updates import compiled_loss, load_moments, loss_of, portable, tensors_of, update_of, usable_loss

pytestmark = [pytest.mark.xdist_group("paper driver"), pytest.mark.reproduction]

TOY = replace(SCALES["toy"], graphs=100, schedule=Schedule(2, 1), discard=1, steps=9, branch_epochs=2)
RUNS = [Branch("sgd", 1e-3, 32, 0), Branch("adam", 2e-3, 20, 0), Branch("sgd", 1e-3, 50, 1)]


@pytest.fixture(scope="module")
def data() -> Inputs:
    graphs = load()[0]
    assert isinstance(graphs, Superpixels)
    return inputs("gcn", chosen(graphs, 100))


def task(root: Path, data: Inputs, **options: Any) -> Task:
    return Task("gcn", 1, TOY, Place(root), data, data.take(slice(0, 20)), False, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, data: Inputs) -> Path:
    """A training and three branches, one after the other."""
    root = tmp_path_factory.mktemp("alone")
    assert train(task(root, data))
    for run in RUNS:
        assert branch(task(root, data), run)
    return root


def assert_same_run(one: Path, other: Path, name: str) -> None:
    runs = [analyzer.open_run(Place(root).store(name)) for root in (one, other)]
    for parameter in ("conv1.lin.weight", "out.bias"):
        values = [run.thermo.parameter(parameter).values for run in runs]
        np.testing.assert_array_equal(values[0], values[1], err_msg=f"{name} {parameter}")
    for scalar in ("loss", "epoch", "step"):
        np.testing.assert_array_equal(runs[0][scalar].values, runs[1][scalar].values, err_msg=f"{name} {scalar}")


@pytest.mark.parametrize("steps", [1, 24, 25, 26, 62, 1875])
def test_launches_make_every_update_of_an_epoch(steps: int) -> None:
    made = launches(steps, TOGETHER)
    assert sum(made) == steps
    assert set(made) <= {1, TOGETHER}
    assert made.count(1) < TOGETHER
    assert launches(steps, 1) == [1] * steps


@pytest.mark.parametrize("most", [1, 25])
def test_an_epoch_is_its_updates_one_by_one(data: Inputs, tmp_path: Path, most: int) -> None:
    """Against a loop that knows no driver: weights and Adam's state to the bit, and the mean loss."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(1))
    models = [fresh_model(task(tmp_path, data)) for _ in range(2)]
    optimizers = [optimizer_of("adam", model, 1e-2, "cpu") for model in models]
    update = update_of(models[0], optimizers[0], data, 3)
    losses = []
    for chosen_graphs in order[:99].view(33, 3):
        update.index.copy_(chosen_graphs)
        update.make()
        losses.append(float(update.loss))
    driver = Driver(models[1], optimizers[1], data, 3, pytest.fail)
    for _ in range(2):
        driver.begin(order)  # beginning again changes nothing but the place
    for count in launches(driver.steps, most):
        driver.make(count)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(tensors_of(optimizers[0]), tensors_of(optimizers[1]), strict=True):
        assert torch.equal(one, other)
    assert driver.mean_loss() == pytest.approx(np.mean(losses), rel=1e-12)
    assert float(driver.loss) == losses[-1]


def test_the_learning_rate_of_an_epoch_is_set(data: Inputs, tmp_path: Path) -> None:
    model = fresh_model(task(tmp_path, data))
    optimizer = optimizer_of("sgd", model, 1e-2, "cpu")
    driver = Driver(model, optimizer, data, 20, pytest.fail)
    driver.set_rate(0.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    driver.begin(torch.arange(100))
    driver.make(3)
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


# -- several at once --------------------------------------------------------------------------------


def counting(name: str, count: int, seen: list[str]) -> Iterator[None]:
    try:
        for _ in range(count):
            seen.append(name)
            yield
    finally:
        seen.append(f"{name} is over")
    return name.upper()  # type: ignore[return-value]


def test_jobs_take_turns_and_make_room_for_the_next() -> None:
    seen: list[str] = []
    jobs = [(name, counting(name, count, seen)) for name, count in (("a", 3), ("b", 1), ("c", 2))]
    assert list(together(jobs, 2)) == [("b", "B"), ("a", "A"), ("c", "C")]  # type: ignore[arg-type]
    assert seen == ["a", "b", "a", "b is over", "a", "c", "a is over", "c", "c is over"]


def test_one_at_a_time_is_one_after_the_other() -> None:
    seen: list[str] = []
    jobs = ((name, counting(name, 2, seen)) for name in "ab")
    assert list(together(jobs, 1)) == [("a", "A"), ("b", "B")]  # type: ignore[arg-type]
    assert seen == ["a", "a", "a is over", "b", "b", "b is over"]
    assert finish(counting("c", 2, seen)) == "C"  # type: ignore[arg-type]


def test_a_job_that_fails_closes_the_others() -> None:
    seen: list[str] = []

    def fails() -> Iterator[None]:
        yield
        raise RuntimeError("no more memory")

    jobs = [("a", counting("a", 9, seen)), ("b", fails()), ("c", counting("c", 9, seen))]
    with pytest.raises(RuntimeError, match="no more memory"):
        list(together(jobs, 3))  # type: ignore[arg-type]
    assert sorted(seen) == ["a", "a", "a is over", "c", "c is over"]


def test_branches_made_at_once_are_those_made_one_after_the_other(alone: Path, data: Inputs, tmp_path: Path) -> None:
    Place(tmp_path).trained.write_bytes(Place(alone).trained.read_bytes())
    made = task(tmp_path, data, together=3)
    ended = dict(together(((run, branch_steps(made, run)) for run in RUNS), 3))
    assert ended == dict.fromkeys(RUNS, True)
    for run in RUNS:
        assert_same_run(alone, tmp_path, run.name)
        assert read_json(made.place.account(run.name))["together"] == 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--together", "2"], "--together: expected 1 on a CPU, got 2"),
        (["--together", "0"], "--together: expected at least 1, got 0"),
        pytest.param(
            ["--device", "cuda", "--together", "2"],
            "--device: expected a GPU for cuda",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_what_the_machine_cannot_do_is_refused(options: list[str], sentence: str, capsys: Any, tmp_path: Path) -> None:
    assert main(["--scale", "toy", "--output", str(tmp_path), *options]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(sentence)
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


# -- what a CUDA graph needs ------------------------------------------------------------------------


class Graph:
    """Stands in for a CUDA graph: a replay repeats the capture's calls. Lifetime: one driver."""

    def __init__(self, update: Any, stream: Any, count: int) -> None:
        self.update, self.count = update, count

    def __call__(self) -> None:
        for _ in range(self.count):
            self.update()


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    return take_the_way_of_a_gpu(monkeypatch)


def take_the_way_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let drivers on the CPU go the GPU's way. Returns a list that grows with the updates of each capture."""
    captures: list[int] = []

    def captured(update: Any, stream: Any, count: int) -> Graph:
        captures.append(count)
        return Graph(update, stream, count)

    stream = SimpleNamespace(wait_stream=lambda other: None, device=torch.device("cpu"))
    cuda = SimpleNamespace(
        Stream=lambda device: stream, current_stream=lambda device: None, stream=lambda one: contextlib.nullcontext()
    )
    own = SimpleNamespace(cuda=cuda, zeros=torch.zeros, long=torch.long, float64=torch.float64)
    monkeypatch.setattr(drivers, "torch", own)
    monkeypatch.setattr(drivers, "is_gpu", lambda device: True)
    monkeypatch.setattr(drivers, "capture", captured)
    monkeypatch.setattr(updates, "compiled_loss", lambda: loss_of)
    return captures


def test_replays_are_recorded_one_by_one_and_equal_eager_updates(
    data: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole chain, training and branches: no hook sees a replay, so each is announced."""

    def with_tensors(name: str, model: Any, rate: float, device: str) -> torch.optim.Optimizer:
        """As on a GPU, the learning rate of Adam lies where a graph reads it."""
        if name == "adam":
            return torch.optim.Adam(model.parameters(), lr=torch.tensor(rate))
        return torch.optim.SGD(model.parameters(), lr=rate)

    monkeypatch.setattr(stages, "optimizer_of", with_tensors)
    roots = tmp_path / "eager", tmp_path / "replayed"
    for root in roots:
        captures = take_the_way_of_a_gpu(monkeypatch) if root == roots[1] else []
        made = task(root, data)
        assert train(made)
        assert all(branch(made, run) for run in RUNS[:2])
    assert captures == [1, TOGETHER] * 3
    one, other = (read(Place(root).trained)["model"] for root in roots)
    for name, weights in one.items():
        assert torch.equal(weights, other[name]), name
    for name in ("training", *(run.name for run in RUNS[:2])):
        assert_same_run(*roots, name)


def test_a_rate_that_a_graph_holds_cannot_change(data: Inputs, tmp_path: Path, as_on_a_gpu: list[int]) -> None:
    model = fresh_model(task(tmp_path, data))
    driver = Driver(model, optimizer_of("sgd", model, 1e-2, "cpu"), data, 20, pytest.fail)
    driver.set_rate(1e-2)
    with pytest.raises(ValueError, match=r"expected 0\.01, which the CUDA graph holds, got 0\.1"):
        driver.set_rate(0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(1e-2))
    driver = Driver(model, optimizer, data, 20, pytest.fail)
    rate = optimizer.param_groups[0]["lr"]
    driver.set_rate(0.125)
    assert optimizer.param_groups[0]["lr"] is rate  # where the graph reads it
    assert float(rate) == 0.125


def test_what_a_graph_reads_lives_as_long_as_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    @contextlib.contextmanager
    def graph(graph: Any, *, stream: Any, capture_error_mode: str) -> Iterator[None]:
        made.append((stream, capture_error_mode))
        yield

    cuda = SimpleNamespace(CUDAGraph=lambda: SimpleNamespace(replay=lambda: made.append("replayed")), graph=graph)
    monkeypatch.setattr(drivers, "torch", SimpleNamespace(cuda=cuda))
    batch = torch.zeros(3)
    held = ref(batch)

    def update(batch: torch.Tensor = batch) -> None:
        made.append(batch.shape)

    replay: Captured | None = capture(update, "a stream", count=2)
    del batch, update
    gc.collect()
    assert replay is not None
    replay()
    assert made == [("a stream", "thread_local"), (3,), (3,), "replayed"]
    assert held() is not None
    replay = None
    gc.collect()
    assert held() is None


def test_a_loss_that_does_not_compile_is_plain_and_that_is_said(
    data: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise RuntimeError("no compiler\nand more")

    model = fresh_model(task(tmp_path, data))
    monkeypatch.setattr(updates, "compiled_loss", broken)
    told: list[str] = []
    assert usable_loss(model, data.take(slice(0, 8)), told.append) is loss_of
    assert told == ["the loss is not compiled, updates take longer: RuntimeError: no compiler"]
    monkeypatch.undo()


def test_branches_share_what_was_compiled(data: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new model of one kind would be compiled anew otherwise, until torch gives up compiling."""
    compiled: list[int] = []

    def backend(graph: Any, example: Any) -> Any:
        compiled.append(len(example))
        return graph

    function = torch.compile(loss_of, dynamic=False, backend=backend)
    monkeypatch.setattr(updates, "compiled_loss", lambda: function)
    batch = data.take(slice(0, 8))
    for _ in range(3):
        model = fresh_model(task(tmp_path, data))
        assert usable_loss(model, batch, pytest.fail) is function
        torch.testing.assert_close(
            function(model, batch.x, batch.edges, batch.y), loss_of(model, batch.x, batch.edges, batch.y)
        )
    assert len(compiled) == 1
    assert compiled_loss() is compiled_loss()


def test_the_state_of_an_optimizer_goes_from_a_gpu_to_a_cpu_and_back(data: Inputs, tmp_path: Path) -> None:
    """Settings differ between the two: a saved one must not replace them. Moments are the training's own."""
    model = fresh_model(task(tmp_path, data))
    optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(1e-3), betas=(0.9, 0.999))
    update_of(model, optimizer, data, 20).make()
    state = portable(optimizer.state_dict())
    state["param_groups"][0] |= {"capturable": True, "fused": True, "lr": torch.tensor(1e-3)}
    other = optimizer_of("adam", model, 2e-3, "cpu")
    load_moments(other, state)
    group = other.param_groups[0]
    assert (group["lr"], group["capturable"], group["fused"]) == (2e-3, False, None)
    for one, two in zip(tensors_of(optimizer), tensors_of(other), strict=True):
        assert torch.equal(one, two)


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_gpu
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_on_a_gpu_several_updates_a_graph_are_one_update_a_graph(
    data: Inputs, tmp_path: Path, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # pragma: no cover
    monkeypatch.setattr(updates, "compiled_loss", lambda: loss_of)  # takes long, and `gpu_check` compiles
    ends = []
    for most in (1, TOGETHER):
        made = replace(task(tmp_path, data), train=data.to("cuda"))
        model = fresh_model(made)
        driver = Driver(model, optimizer_of(optimizer, model, 1e-3, "cuda"), made.train, 3, print)
        for epoch in range(2):
            driver.begin(torch.randperm(100, generator=torch.Generator().manual_seed(epoch)))
            for count in launches(driver.steps, most):
                driver.make(count)
            driver.mean_loss()
        ends.append([parameter.detach().cpu() for parameter in model.parameters()])
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@needs_gpu
def test_on_a_gpu_branches_at_once_are_whole(
    data: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # pragma: no cover
    monkeypatch.setattr(updates, "compiled_loss", lambda: loss_of)
    made = replace(task(tmp_path, data, together=3), train=data.to("cuda"), test=data.take(slice(0, 20)).to("cuda"))
    assert train(made)
    assert all(done for _, done in together(((run, branch_steps(made, run)) for run in RUNS), 3))
    for run in RUNS:
        steps = analyzer.open_run(made.place.store(run.name))["step"].values
        assert steps.tolist() == list(range(len(steps)))
