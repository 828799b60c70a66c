"""Training and branches of the reproduction: stopped anywhere, they end as if they had not been."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import analyzer
from examples.data.loader import Superpixels, load
from examples.paper import train as stages
from examples.paper import updates
from examples.paper.dense import Inputs, inputs
from examples.paper.driver import Driver
from examples.paper.place import Place, read_json
from examples.paper.place import load as read
from examples.paper.plan import BATCH, SCALES, Branch, epochs_of
from examples.paper.run import chosen, settle
from examples.paper.train import Task, branch, fresh_model, optimizer_of, train
from examples.paper.updates import rehearse, tensors_of, update_of

pytestmark = [pytest.mark.xdist_group("paper training"), pytest.mark.reproduction]

TOY = replace(SCALES["toy"], graphs=100, discard=1, steps=9, branch_epochs=3)


class After:
    """Stops when it has been asked so often. Lifetime: one call."""

    def __init__(self, times: int) -> None:
        self._left = times

    def __bool__(self) -> bool:
        self._left -= 1
        return self._left < 0


@pytest.fixture(scope="module")
def data() -> Inputs:
    graphs = load()[0]
    assert isinstance(graphs, Superpixels)
    return inputs("gcn", chosen(graphs, 100))


def task(root: Path, data: Inputs, stop: Any = False) -> Task:
    return Task("gcn", 1, TOY, Place(root), data, data.take(slice(0, 20)), stop)


def trajectory(root: Path, name: str) -> dict[str, np.ndarray]:
    run = analyzer.open_run(Place(root).store(name))
    known = {"loss": run["loss"].values, "step": run["step"].values, "epoch": run["epoch"].values}
    return known | {p: run.thermo.parameter(p).values for p in ("conv1.lin.weight", "out.bias")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Inputs) -> Path:
    root = tmp_path_factory.mktemp("whole")
    assert train(task(root, data))
    for optimizer in ("sgd", "adam"):
        assert branch(task(root, data), Branch(optimizer, 1e-3, BATCH, 0))
    return root


def test_training_stopped_at_every_epoch_ends_with_the_same_weights(whole: Path, data: Inputs, tmp_path: Path) -> None:
    calls = 0
    while not train(task(tmp_path, data, After(2))):
        calls += 1
        assert calls < 20
    assert calls >= 1
    one, other = (read(Place(root).trained)["model"] for root in (whole, tmp_path))
    for name, weights in one.items():
        assert torch.equal(weights, other[name]), name
    assert read_json(Place(tmp_path).account("training"))["curve"][-1]["epoch"] == TOY.schedule.epochs


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_branch_stopped_at_every_epoch_is_the_same_trajectory(
    whole: Path, data: Inputs, tmp_path: Path, optimizer: str
) -> None:
    run = Branch(optimizer, 1e-3, BATCH, 0)
    place = Place(tmp_path)
    place.root.mkdir(exist_ok=True)
    place.trained.write_bytes(Place(whole).trained.read_bytes())
    calls = 0
    while not branch(task(tmp_path, data, After(2)), run):
        calls += 1
        assert calls < 20
    assert calls >= 2
    one, other = trajectory(whole, run.name), trajectory(tmp_path, run.name)
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)
    assert one["step"].tolist() == list(range(10))
    counted = [read_json(Place(root).account(run.name)) for root in (whole, tmp_path)]
    assert [account["steps"] for account in counted] == [9, 9]
    assert counted[0]["last_loss"] == counted[1]["last_loss"]


def test_a_killed_branch_begins_again(whole: Path, data: Inputs, tmp_path: Path, monkeypatch: Any) -> None:
    run = Branch("sgd", 1e-3, BATCH, 0)
    place = Place(tmp_path)
    place.trained.write_bytes(Place(whole).trained.read_bytes())
    assert not branch(task(tmp_path, data, After(2)), run)
    real, epochs = stages.one_epoch, []

    def dies(*args: Any) -> float:
        epochs.append(args[3])
        if len(epochs) == 2:
            raise RuntimeError("killed")
        return real(*args)

    monkeypatch.setattr(stages, "one_epoch", dies)
    with pytest.raises(RuntimeError, match="killed"):
        branch(task(tmp_path, data), run)
    monkeypatch.undo()
    assert branch(task(tmp_path, data), run)
    for name, values in trajectory(whole, run.name).items():
        np.testing.assert_array_equal(values, trajectory(tmp_path, run.name)[name], err_msg=name)


def test_a_branch_that_another_process_has_is_left_alone(whole: Path, data: Inputs, tmp_path: Path) -> None:
    from examples.paper.place import claim

    place = Place(tmp_path)
    place.trained.write_bytes(Place(whole).trained.read_bytes())
    run = Branch("sgd", 1e-3, BATCH, 0)
    with claim(place.store(run.name), wait=False) as mine:
        assert mine
        assert not branch(task(tmp_path, data), run)
    assert not place.store(run.name).exists()


def test_adam_carries_its_state_into_the_branch_and_sgd_is_plain(whole: Path, data: Inputs) -> None:
    trained = read(Place(whole).trained)
    steps = TOY.schedule.epochs * (TOY.graphs // BATCH)
    assert {float(state["step"]) for state in trained["optimizer"]["state"].values()} == {steps}
    run = analyzer.open_run(Place(whole).store(Branch("adam", 1e-3, BATCH, 0).name))
    first = run.thermo.parameter("out.bias").isel(step=slice(0, 2)).values
    # A fresh Adam's first step is η for every weight; one with a history of small steps moves less or otherwise.
    discarded, _ = epochs_of(TOY, BATCH)
    assert discarded == 1
    assert not np.allclose(np.abs(np.diff(first)), 1e-3, rtol=1e-3)
    assert run.attrs["hyperparameters"] == {
        "learning_rate": 1e-3, "batch_size": BATCH, "seed": 0, "optimizer": "adam", "model": "gcn"
    }  # fmt: skip


def test_sums_stay_when_the_trajectory_goes(whole: Path, data: Inputs, tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.trained.write_bytes(Place(whole).trained.read_bytes())
    run = Branch("sgd", 1e-3, BATCH, 0)
    assert branch(task(tmp_path, data), run)
    before = analyzer.temperature(analyzer.open_run(place.store(run.name)), by="row").compute()
    settle(task(tmp_path, data), run, keep=False)
    assert not place.store(run.name).exists()
    kept = analyzer.open_run(f"{place.store(run.name)}.moments")
    np.testing.assert_array_equal(
        analyzer.temperature(kept, by="row").compute()["temperature"].values, before["temperature"].values
    )


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("history", [0, 2])
def test_a_rehearsal_leaves_everything_as_it_was(data: Inputs, tmp_path: Path, name: str, history: int) -> None:
    """What a CUDA graph needs before its capture: updates that never happened, with the state's memory in place."""
    made = task(tmp_path, data)
    ends = []
    for rehearsed in (False, True):
        model = fresh_model(made)
        optimizer = optimizer_of(name, model, 1e-2, "cpu")
        update = update_of(model, optimizer, data, 8)
        for _ in range(history):
            update.make()
        if rehearsed:
            pointers = [p.data_ptr() for p in model.parameters()]
            rehearse(update.make, model, optimizer)
            assert pointers == [p.data_ptr() for p in model.parameters()]
        for start in range(3):
            update.index.copy_(torch.arange(start, start + 8))
            update.make()
        ends.append([*(p.detach().clone() for p in model.parameters()), *(t.clone() for t in tensors_of(optimizer))])
    for one, other in zip(*ends, strict=True):
        assert torch.equal(one, other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_captured_updates_are_the_eager_ones(
    data: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # pragma: no cover
    monkeypatch.setattr(updates, "compiled_loss", lambda: updates.loss_of)  # takes long, and `gpu_check` compiles
    ends = []
    for device in ("cpu", "cuda"):
        made = replace(task(tmp_path, data), train=data.to(device))
        model = fresh_model(made)
        driver = Driver(model, optimizer_of("sgd", model, 1e-2, device), made.train, 8, print)
        assert driver.captured == (device == "cuda")
        driver.begin(torch.arange(100))
        for _ in range(5):
            driver.make(1)
        driver.mean_loss()
        ends.append([p.detach().cpu() for p in model.parameters()])
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
