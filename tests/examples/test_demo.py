"""The demo and the trained networks that it begins from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from examples import demo
from examples.data.loader import dense, load
from examples.paper.dense import inputs
from examples.paper.updates import accuracy
from examples.paper.weights import FOLDER, account, restored, ship


@pytest.mark.parametrize("kind", ["gcn", "gat", "cnn"])
def test_a_shipped_network_has_learned(kind: str) -> None:
    """Its accuracy on the 500 test graphs that ship is that on all 10,000, within three standard errors."""
    model, state = restored(kind)
    told = account(kind)
    claimed = told["curve"][-1]["test_accuracy"]
    test = inputs(kind, dense(load()[1]))
    assert abs(accuracy(model, test) - claimed) < 3 * (claimed * (1 - claimed) / len(test)) ** 0.5
    assert told["steps"] == told["epochs"] * (told["train_graphs"] // 32)
    assert {int(one["step"]) for one in state["state"].values()} == {told["steps"]}
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.load_state_dict(state)
    assert all((one["exp_avg_sq"] >= 0).all() for one in optimizer.state.values())


def test_what_is_shipped_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model, state = restored("gcn")
    ship("gcn", model, state, account("gcn"), tmp_path)
    assert json.loads((tmp_path / "gcn.json").read_text()) == json.loads((FOLDER / "gcn.json").read_text())
    with np.load(tmp_path / "gcn.npz") as again, np.load(FOLDER / "gcn.npz") as first:
        assert set(again.files) == set(first.files)
        assert all(again[name].tobytes() == first[name].tobytes() for name in first.files)


def test_the_networks_take_less_than_a_megabyte() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_000_000


def test_the_branches_differ_in_their_rate_and_begin_from_the_trained_network(tmp_path: Path) -> None:
    sizes = ["--steps", "8", "--branch-steps", "3", "--settle", "0", "--before", "0"]
    assert demo.main([*sizes, "--output", str(tmp_path / "long.zarr"), "--rates", str(tmp_path / "rates")]) == 0
    trained = dict(restored("gcn")[0].named_parameters())
    stores = [tmp_path / "long.zarr", *sorted((tmp_path / "rates").glob("*.zarr"))]
    rates = []
    for store, frames in zip(stores, [9, 4, 4, 4, 4, 4], strict=True):
        with xr.open_datatree(store, engine="zarr", chunks={}) as run:
            assert run.sizes["step"] == frames
            rates.append(run.attrs["hyperparameters"]["learning_rate"])
            np.testing.assert_array_equal(
                run["parameters/out/weight"].values[..., 0], trained["out.weight"].detach().numpy()
            )
    assert tuple(sorted(rates[1:])) == demo.RATES
