import importlib
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import xarray as xr

from tests.scripts import Scripts

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def quickstart(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script as a module, found as the script finds its neighbours, with few graphs."""
    monkeypatch.syspath_prepend(EXAMPLES)
    before = set(sys.modules)
    module = importlib.import_module("quickstart")
    load = module.load
    monkeypatch.setattr(module, "load", lambda source: tuple(graphs[:80] for graphs in load(source)))
    yield module
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("quickstart", "data", "models"):
            del sys.modules[name]


@pytest.mark.parametrize(("name", "optimizer"), [("gcn", "adam"), ("gat", "sgd")])
def test_the_last_frame_is_the_trained_model(
    quickstart: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, optimizer: str
) -> None:
    trained: list[torch.nn.Module] = []
    make = quickstart.MODELS[name]
    monkeypatch.setitem(quickstart.MODELS, name, lambda: trained.append(make()) or trained[0])
    store, steps, batch_size = tmp_path / "run.zarr", 9, 16  # an epoch is five steps
    options = f"--model {name} --optimizer {optimizer} --steps {steps} --batch-size {batch_size} --output {store}"
    monkeypatch.setattr(sys, "argv", ["quickstart.py", *options.split()])
    quickstart.main()

    with xr.open_datatree(store, engine="zarr", chunks={}) as run:
        assert run["step"].values.tolist() == list(range(steps + 1))
        assert run["epoch"].values[1:].tolist() == [0] * 5 + [1] * 4
        assert np.isfinite(run["loss"].values[1:]).all()
        assert run.attrs["hyperparameters"] == {
            "learning_rate": 1e-3,
            "batch_size": batch_size,
            "optimizer": optimizer,
            "model": name,
            "data": "shipped",
            "seed": 0,
        }
        for parameter, tensor in trained[0].named_parameters():
            frames = run["parameters/" + parameter.replace(".", "/")].values
            np.testing.assert_array_equal(frames[..., -1].view(np.int32), tensor.detach().numpy().view(np.int32))
            assert (frames[..., 0] != frames[..., -1]).any(), "a parameter that never moved shows nothing"


def test_the_same_seed_is_the_same_run(quickstart: ModuleType, tmp_path: Path) -> None:
    options = {"model": "gcn", "optimizer": "adam", "learning_rate": 1e-3, "batch_size": 16, "steps": 3}
    options |= {"data": "shipped", "overwrite": False}
    finals = []
    for number, seed in enumerate((0, 0, 1)):
        store = tmp_path / f"{number}.zarr"
        quickstart.train(Namespace(**options, seed=seed, output=str(store)))
        with xr.open_datatree(store, engine="zarr", chunks={}) as run:
            finals.append(run["parameters/conv2/lin/weight"].values)
    np.testing.assert_array_equal(finals[0], finals[1])
    assert (finals[0] != finals[2]).any()


def test_bad_options_are_told_in_one_line(
    quickstart: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "run.zarr"
    store.mkdir()
    (store / "zarr.json").write_text("{}")
    for options, message in (
        (["--output", str(store)], str(store)),
        (["--data", "nowhere.npz"], "nowhere.npz: expected a file of graphs"),
        (["--batch-size", "81"], "expected at most 80, got 81"),
    ):
        monkeypatch.setattr(sys, "argv", ["quickstart.py", "--steps", "1", *options])
        with pytest.raises(SystemExit) as caught:
            quickstart.main()
        assert isinstance(caught.value.code, str), "sys.exit with a text prints it to stderr and returns 1"
        assert message in caught.value.code
    assert (store / "zarr.json").read_text() == "{}", "a store that exists is left alone"


@pytest.mark.xdist_group("scripts")
def test_the_command_runs_from_anywhere(scripts: Scripts, tmp_path: Path) -> None:
    done = scripts.run(EXAMPLES / "quickstart.py", "--steps", 2, "--output", "demo.zarr", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "step 2/2" in done.stderr
    assert "recorded 3 frames of 2 steps" in done.stderr
    assert "Warning" not in done.stderr
    assert (tmp_path / "demo.zarr" / "zarr.json").is_file()
