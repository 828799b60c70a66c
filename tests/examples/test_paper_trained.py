"""The scale whose branches start from the shipped networks, on a tiny imitation of it: resumed, answered, judged."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from examples.data.loader import SHIPPED
from examples.paper import analyse, prune, run, weights
from examples.paper import train as stages
from examples.paper.answers import answered, file_of, read
from examples.paper.place import Place, read_json
from examples.paper.place import load as loaded
from examples.paper.plan import BATCH, RATE, SCALES, Branch, Schedule, branches, epochs_of, kept, sweeps
from examples.paper.weights import account, restored

pytestmark = [pytest.mark.xdist_group("paper trained"), pytest.mark.reproduction]

TINY = replace(
    SCALES["trained"],
    graphs=100,
    discard=1,
    steps=24,
    branch_epochs=4,
    lags=(1, 2),
    rates={"sgd": (7e-4, 1e-3, 3e-3), "adam": (1e-3,)},
    batches={"sgd": (20, 32, 50), "adam": (32,)},
    rate_seeds={"sgd": 2, "adam": 1},
    batch_seeds={"sgd": 2, "adam": 1},
    grid_seeds=0,
    test_graphs=100,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SCALES, "trained", TINY)
        assert start(root) == 0
        assert ask(root) == 0
    return root


def start(root: Path, *more: str) -> int:
    places = ["--output", str(root / "runs"), "--results", str(root / "results")]
    return run.main(["--scale", "trained", "--model", "gcn", *places, *more])


def ask(root: Path) -> int:
    places = ["--output", str(root / "runs"), "--results", str(root / "results")]
    return analyse.main(["--scale", "trained", *places])


def test_a_branch_is_as_long_as_the_issue_asks() -> None:
    scale = SCALES["trained"]
    for batch in (8, 12, 20, 32, 50, 80, 128):
        discarded, recorded = epochs_of(scale, batch)
        per_epoch = 60_000 // batch
        assert discarded * per_epoch >= 1_000 > (discarded - 1) * per_epoch
        assert recorded * per_epoch >= 20_000
        assert recorded >= 10
    assert epochs_of(scale, 8) == (1, 10)
    assert epochs_of(scale, 32) == (1, 11)
    assert len(branches(scale, "gcn")) == len(branches(scale, "gat")) == 71


def test_the_branches_start_from_the_shipped_weights(made: Path) -> None:
    trained = loaded(Place(made / "runs/trained/gcn").trained)
    model, optimizer = restored("gcn")
    for name, values in model.state_dict().items():
        assert torch.equal(trained["model"][name], values), name
    for number, state in optimizer["state"].items():
        for name, values in state.items():
            assert torch.equal(trained["optimizer"]["state"][number][name], values)
    told = json.loads((made / "results/trained/gcn/accounts.json").read_text())["training"]
    assert told["epochs"] == 600
    assert told["curve"] == account("gcn")["curve"]
    assert told["device"] == account("gcn")["device"]


def test_sums_are_kept_and_few_trajectories(made: Path) -> None:
    place = Place(made / "runs/trained/gcn")
    for one in branches(TINY, "gcn"):
        assert place.store(one.name).exists() == (one in kept(TINY)), one
        assert place.store(one.name).with_name(f"{one.name}.zarr.moments").exists()
    assert Branch("sgd", RATE, BATCH, 0) in kept(TINY)
    assert not place.store("training").exists()


def test_a_finished_branch_is_recognised_where_only_its_answers_are(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine: the small files are there, the runs are not. Only the branch whose file is missing is made."""
    monkeypatch.setitem(SCALES, "trained", TINY)
    into = tmp_path / "results/trained/gcn"
    (into / "branches").mkdir(parents=True)
    left = Branch("sgd", 3e-3, BATCH, 0)
    for one in branches(TINY, "gcn"):
        if one != left:
            file_of(into, one).write_bytes(file_of(made / "results/trained/gcn", one).read_bytes())
    assert start(tmp_path) == 0
    accounts = Path(tmp_path / "runs/trained/gcn/runs").glob("*.json")
    assert [path.stem for path in accounts if path.stem != "training"] == [left.name]
    before, after = (read(root / "results/trained/gcn", left) for root in (made, tmp_path))
    assert before["lags"] == after["lags"]


def test_fits_of_the_answers_are_those_of_the_command(made: Path, tmp_path: Path, undrawn: None) -> None:
    place = Place(made / "runs/trained/gcn")
    into = made / "results/trained/gcn"
    assert len(answered(into, branches(TINY, "gcn"))) == len(branches(TINY, "gcn"))
    analyse.fits(place, TINY, tmp_path, tmp_path / "figures")
    names = {path.name for path in tmp_path.glob("*.json")}
    assert names >= {f"sgd-{name}.json" for name in ("rate", "rate-lags", "batch", "inverse", "inverse-epoch", "joint")}
    for name in names - {"sgd-rate-lags.json", "sgd-batch-lags.json"}:  # sums answer no lag in between
        theirs, ours = (json.loads((folder / name).read_text()) for folder in (tmp_path, into))
        theirs.get("attrs", {}).pop("remark", None)  # answers that were kept no longer tell whether T changes
        assert ours == theirs, name
        assert "refused" not in ours or name == "adam-rate.json", name


def test_lags_are_answered_though_the_trajectories_are_gone(made: Path) -> None:
    answer = json.loads((made / "results/trained/gcn/sgd-rate-lags.json").read_text())
    assert list(answer["lags"]) == ["1", "2", "epoch", "epoch, half phase"]
    assert answer["lags"]["1"]["records"][1]["coefficient"] == "b"
    steps = {name: set(at["steps_per_lag"]) for name, at in answer["lags"].items()}
    assert steps == {"1": {1}, "2": {2}, "epoch": {3}, "epoch, half phase": {3}}


def test_what_single_runs_answer_is_there(made: Path) -> None:
    into = made / "results/trained/gcn"
    own: dict[str, Any] = {name: json.loads((into / f"{name}.json").read_text()) for name in (
        "rows-sgd-0", "figure-4-sgd", "check-sgd", "windows-sgd", "energy-sgd", "equilibrium-sgd-0.003-32-0"
    )}  # fmt: skip
    assert all("refused" not in answer for answer in own.values())
    checks = [json.loads(path.read_text()) for path in into.glob("independent-*.json")]
    assert len(checks) == len(analyse.judged_apart(TINY))
    assert all(max(check["largest_relative_difference"].values()) < 1e-12 for check in checks)
    for path in (made / "results").rglob("*.json"):
        assert str(made) not in path.read_text(), path


def test_pruning_keeps_what_was_found_where_the_trajectory_was(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCALES, "trained", TINY)
    words = ["--scale", "trained", "--model", "gcn", "--draws", "1", "--results", str(tmp_path)]
    here = [*words, "--test", "20", "--output", str(made / "runs")]
    target = tmp_path / "trained/gcn/prune.json"
    assert prune.main(here) == 0
    first = target.read_bytes()
    assert [run["run"] for run in json.loads(first)["runs"]] == ["sgd-0.001-32-0", "sgd-0.001-32-1"]
    assert prune.main([*words, "--test", "20", "--output", str(tmp_path / "nowhere")]) == 0
    assert target.read_bytes() == first
    assert prune.main([*words, "--test", "10", "--output", str(tmp_path / "nowhere")]) == 0
    assert json.loads(target.read_text())["runs"] == [], "other test graphs are another question"


def test_all_sweeps_are_in_the_plan() -> None:
    scale = SCALES["trained"]
    assert {*sweeps(scale, "sgd"), *sweeps(scale, "adam")} == set(branches(scale, "gcn"))


def test_a_network_on_other_edges_is_trained_from_the_start_and_can_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped weights saw the nearest neighbours. What sees other edges has a folder and a training of its own."""
    monkeypatch.setitem(SCALES, "trained", replace(TINY, schedule=Schedule(3, 1)))
    with np.load(SHIPPED) as file:
        np.savez(tmp_path / "radius.npz", allow_pickle=False, **file, radius_squared=np.array(1500))
    words = ["--only-training", "--data", str(tmp_path / "radius.npz")]
    place = Place(tmp_path / "runs/trained/gcn-radius")
    assert start(tmp_path, *words, "--minutes", "0") == 3
    assert not place.trained.exists()
    real, made = stages.one_epoch, []

    def stops_after_two(*args: Any) -> float:
        made.append(args[3])
        if len(made) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args)

    monkeypatch.setattr(stages, "one_epoch", stops_after_two)
    assert start(tmp_path, *words) == 3
    assert loaded(place.training)["epoch"] == 2
    assert start(tmp_path, *words) == 0
    assert made == [0, 1, 2]
    told = read_json(place.account("training"))
    assert [point["epoch"] for point in told["curve"]] == [1, 2, 3]
    assert not place.store("training").exists()
    assert not Place(tmp_path / "runs/trained/gcn").root.exists()


def test_an_unfinished_network_is_trained_to_the_end_and_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SCALES, "trained", replace(TINY, schedule=Schedule(3, 1)))
    begun = account("gcn") | {"epochs": 1, "curve": account("gcn")["curve"][:1]}
    monkeypatch.setattr(stages, "account_of_shipped", lambda kind: begun)
    words = ["--model", "gcn", "--output", str(tmp_path / "runs"), "--folder", str(tmp_path / "shipped")]
    assert weights.main(words) == 1
    assert "training.part.pt: expected a training, got none" in capsys.readouterr().err
    real, made = stages.one_epoch, []
    monkeypatch.setattr(stages, "one_epoch", lambda *words: made.append(words[3]) or real(*words))
    assert start(tmp_path, "--only-training") == 0
    assert made == [1, 2]
    assert weights.main(words) == 0
    told = read_json(tmp_path / "shipped/gcn.json")
    assert (told["epochs"], [point["epoch"] for point in told["curve"]]) == (3, [10, 2, 3])
    assert 0 < told["test_accuracy"] < 1
    trained = loaded(Place(tmp_path / "runs/trained/gcn").trained)
    with np.load(tmp_path / "shipped/gcn.npz") as file:
        for name, values in trained["model"].items():
            np.testing.assert_array_equal(file[f"weights/{name}"], values.numpy())
        assert file["step"] == account("gcn")["steps"] + 2 * (100 // BATCH)
