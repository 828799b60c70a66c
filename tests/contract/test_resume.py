"""A run that was resumed, as its readers see it: plain xarray, open handles, the command line, kept sums, figures."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

import analyzer
from analyzer.engine import frames as frames_module
from analyzer.engine import plan
from analyzer.errors import StoreChangedError
from analyzer.plots import temperature as plots
from analyzer.plots.equilibration import starts
from analyzer.plots.style import canvas, resumptions
from analyzer.quantities.equilibration import equilibration_of
from analyzer.query.changes import resumed_at
from analyzer.query.query import Query
from analyzer.store.describe import _sizes
from analyzer.store.reading import read
from recorder import Recorder
from tests.analyzer.shell import invoke
from tests.recorder.resumes import attributes_of, train
from tests.recorder.runs import open_tree, read_array

FIRST, SECOND = [(0, 0)], [(0, 0), (51, 1)]


@pytest.fixture
def store(tmp_path) -> Path:
    """Recorded to step 100, and resumed from step 50 to step 130."""
    train(tmp_path / "run.zarr", nn.Linear(3, 2), FIRST, 0, 100)
    train(tmp_path / "run.zarr", nn.Linear(3, 2), SECOND, 50, 130)
    return tmp_path / "run.zarr"


def gcn(place: Path, saved: dict, start: int, stop: int) -> None:
    """A deterministic training of a small network; it saves a checkpoint at every step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    if start:
        model.load_state_dict(saved[start]["model"])
        optimizer.load_state_dict(saved[start]["optimizer"])
    with Recorder(place, model, optimizer, chunk_steps=32, mode="a" if start else "w-") as recorder:
        recorder.start()
        for step in range(start + 1, stop + 1):
            generator = torch.Generator().manual_seed(step)
            optimizer.zero_grad()
            model(torch.randn(8, 4, generator=generator)).square().mean().backward()
            optimizer.step()
            recorder.log(loss=float(step))
            if step not in saved:
                held = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                saved[step] = copy.deepcopy(held)


def test_a_deterministic_training_has_the_temperature_of_one_that_was_never_interrupted(tmp_path):
    saved: dict = {}
    gcn(tmp_path / "run.zarr", saved, 0, 173)
    gcn(tmp_path / "run.zarr", saved, 120, 250)
    gcn(tmp_path / "run.zarr", saved, 90, 320)
    gcn(tmp_path / "whole.zarr", {}, 0, 320)
    trees = [analyzer.open_run(tmp_path / name) for name in ("run.zarr", "whole.zarr")]
    for options in ({"by": "layer"}, {"by": "row", "window": 40}, {"by": "model", "start": 80, "stop": 200}):
        run, whole = (tree.thermo.temperature(cache=False, **options).load() for tree in trees)
        assert run["temperature"].values.tobytes() == whole["temperature"].values.tobytes()
        assert (run["velocities"] == whole["velocities"]).all(), "no velocity is left out at a resumption"
    assert len(attributes_of(tmp_path / "run.zarr")["attempts"]) == 2


def test_plain_xarray_selects_by_step(store):
    tree = open_tree(store)
    steps = tree["step"].to_numpy()
    np.testing.assert_array_equal(steps, np.arange(131))
    assert (np.diff(steps) > 0).all()
    weights = tree["parameters"].to_dataset(inherit=True)["weight"]
    assert weights.sel(step=slice(40, 60)).sizes["step"] == 21
    whole = read_array(store, "parameters/weight")
    assert weights.sel(step=75).to_numpy().tobytes() == np.ascontiguousarray(whole[..., 75]).tobytes()
    assert weights.diff("step").sizes["step"] == 130
    assert "attempts" not in tree.children
    attempt = open_tree(store / "attempts/1")
    np.testing.assert_array_equal(attempt["step"].to_numpy(), np.arange(48, 101))


def test_a_handle_that_was_opened_before_is_void(tmp_path):
    place = tmp_path / "run.zarr"
    train(place, nn.Linear(3, 2), FIRST, 0, 100)
    run = analyzer.open_run(place)
    assert run.thermo.temperature(by="model", cache=False).load()
    train(place, nn.Linear(3, 2), SECOND, 50, 130)
    with pytest.raises(StoreChangedError, match="resumed from an earlier frame, since it was opened"):
        run.thermo.temperature(by="model", cache=False).load()
    with pytest.raises(StoreChangedError):
        run["parameters"]["weight"].load()
    assert analyzer.open_run(place).thermo.temperature(by="model", cache=False).load()
    # A resumption that cuts nothing leaves a handle as it is.
    run = analyzer.open_run(place)
    train(place, nn.Linear(3, 2), SECOND, 130, 140)
    assert run.thermo.temperature(by="model", cache=False).load()["stop_step"].item() == 130


def test_info_and_verify_tell_of_attempts_and_of_remnants(store):
    told = invoke("info", store)
    assert "attempts         attempts/1 (steps 51 to 100 are superseded)" in told.output
    known = json.loads(invoke("info", store, "--format", "json").output)
    assert known["attempts"] == [{"path": "attempts/1", "steps": [51, 100]}]
    assert known["steps"] == [0, 130]
    of_attempt = invoke("info", store / "attempts/1").output
    assert "superseded from  frame 3: this is an attempt" in of_attempt
    (store / "attempts/.2.tmp").mkdir()
    for place in (store, store / "attempts/1"):
        found = invoke("verify", place)
        assert found.exit_code == 0, found.output
    said = invoke("verify", store).output
    assert "attempts/1: steps 51 to 100 were superseded by a resumed training." in said
    assert "attempts/.2.tmp: not an attempt of this run; a writer that died left it. It may be deleted." in said
    shutil.rmtree(store / "attempts/1")
    gone = invoke("verify", store)
    assert gone.exit_code == 0
    assert "are not there any more. The run does not need them." in gone.output
    assert invoke("temperature", store).exit_code == 0


def test_chunks_that_run_and_attempt_share_count_once(store):
    os.link(store / "parameters/weight/c/0/0/0", store / "attempts/1/parameters/weight/c/0/0/9")
    files = {path.stat().st_ino: path.stat().st_size for path in store.rglob("*") if path.is_file()}
    assert sum(_sizes(str(store))) == sum(files.values())
    assert len(files) < len([path for path in store.rglob("*") if path.is_file()])


def decoded(place: Path) -> tuple[bytes, int]:
    """The temperature of all of a run, and how many pieces were decoded for it."""
    with mock.patch.object(frames_module, "read", wraps=read) as reader:
        answer = analyzer.open_run(place).thermo.temperature(by="layer").compute(scheduler="synchronous")
        return answer["temperature"].values.tobytes(), len(reader.call_args_list)


def test_sums_that_were_kept_before_a_cut_answer_for_the_chunks_that_are_left(tmp_path):
    place, bare = tmp_path / "run.zarr", tmp_path / "bare.zarr"
    with mock.patch.object(plan, "SPAN_FRAMES", 1), mock.patch.object(plan, "KEPT_FRAMES", 1):
        train(place, nn.Linear(3, 2), FIRST, 0, 160)
        _, all_pieces = decoded(place)
        train(place, nn.Linear(3, 2), [(0, 0), (121, 1)], 120, 170)
        shutil.copytree(place, bare)
        cold, pieces = decoded(bare)
        warm, fewer = decoded(place)
        assert warm == cold
        assert (all_pieces, pieces, fewer) == (22, 22, 8), "chunks 0 to 6 of 10 are as they were, of two parameters"
        assert decoded(place) == (cold, 0)
        # Once more, from further back: the sums of two ids before.
        train(place, nn.Linear(3, 2), [(0, 0), (121, 1), (151, 2)], 150, 180)
        train(place, nn.Linear(3, 2), [(0, 0), (61, 3)], 60, 100)
        shutil.rmtree(bare)
        shutil.rmtree(f"{bare}.moments")
        shutil.copytree(place, bare)
        warm, fewer = decoded(place)
        cold, pieces = decoded(bare)
        assert warm == cold
        assert (pieces, fewer) == (14, 8), "those before step 48"


def test_where_recordings_went_on():
    def one(first_step: int, session: str | None, continuous: bool = True, stride: int = 2) -> dict:
        return {"first_step": first_step, "session": session, "continuous": continuous, "stride": stride}

    assert resumed_at([one(0, "a"), one(52, "b"), one(80, "c", continuous=False)]) == (50, 80)
    assert resumed_at([one(0, "a"), one(10, "a", stride=5), one(100, "a")]) == (), "uneven spacing"
    assert resumed_at([{"first_step": 0}, {"first_step": 7}]) == (7,)
    assert resumed_at("damaged") == resumed_at([1, {"first_step": "x"}]) == ()


def labels(figure) -> list[str]:
    return [text.get_text() for owner in (*figure.axes, figure) for legend in legends(owner) for text in legend.texts]


def legends(owner) -> list:
    return owner.legends if hasattr(owner, "legends") else [owner.get_legend()] if owner.get_legend() else []


def test_figures_mark_where_a_training_was_resumed(store, tmp_path):
    run = analyzer.open_run(store)
    resumed = resumed_at(run.attrs["segments"])
    assert resumed == (50,)
    lines = plots.temperature(run.thermo.temperature(by="layer", window=10).load(), resumed)
    assert labels(lines)[-1] == "resumed"
    assert [line.get_xdata()[0] for line in lines.axes[0].lines if line.get_linestyle() != "-"][-1] == 50
    before = plots.temperature(run.thermo.temperature(by="layer", window=10, stop=40).load(), resumed)
    assert "resumed" not in labels(before)
    rows = plots.temperature(run.thermo.temperature(by="row", window=10).load(), resumed)
    assert labels(rows) == ["resumed"]
    answer, series = equilibration_of(run, Query(by="layer"), "loss")
    panels = starts(series, answer, resumed)
    assert labels(panels) == ["resumed"]
    _, (axes,) = canvas(1, 4, 3)
    axes.plot([0, 10], [0, 1])
    limits = axes.get_xlim()
    assert resumptions(axes, [500]) is None
    assert axes.get_xlim() == limits
    for command in ("temperature", "equilibration"):
        shown = invoke(command, store, "--plot", tmp_path / f"{command}.png")
        assert shown.exit_code == 0, shown.output
    assert invoke("report", store, "-o", tmp_path / "report.html").exit_code == 0
    assert '"resumed"' in (tmp_path / "report.html").read_text()
