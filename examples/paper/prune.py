"""Claim C20: rows taken out of a trained network, by their temperature, their norm, or at random.

python -m examples.paper.prune --scale small --model gcn

The network is the last frame of a branch. Its rows are ranked over that branch, so every seed has its own ranking. A
row is set to 0 together with its element of the bias: its unit then gives 0 always, as if it had been removed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

import analyzer

from ..data.loader import dense, load
from .dense import KINDS, Inputs, Model, inputs
from .place import Place, read_json, write_json
from .plan import BATCH, RATE, SCALES, Branch
from .run import chosen
from .train import tell
from .updates import accuracy

WAYS = ("hot", "cold", "random", "small_norm")
FRACTIONS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
DRAWS = 3
"""How many random sets of rows are tried for each seed and fraction."""
FIGURE_4 = "conv2"

Masks = Mapping[str, NDArray[Any]]


def last_frame(run: xr.DataTree, kind: str) -> Model:
    """The network as the run left it."""
    names = {"gcn": "initial_conv.lin.weight", "gat": "initial_conv.lin.weight", "cnn": "conv1.weight"}
    features = run.thermo.parameter(names[kind]).shape[1]
    model = KINDS[kind]() if kind == "cnn" else KINDS[kind](features)  # type: ignore[call-arg]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(run.thermo.parameter(name).isel(step=-1).values))
    return model


def prunable(model: Model, layers: str | None) -> list[str]:
    """Weights whose rows may go: those of one layer, or of all but the last layer, whose rows are classes."""
    weights = [name for name, parameter in model.named_parameters() if name.endswith("weight") and parameter.ndim > 1]
    return [name for name in weights[:-1] if layers is None or name.startswith(f"{layers}.")]


@torch.no_grad()
def without(model: Model, masks: Masks, way: str, weights: Sequence[str], kept: Mapping[str, torch.Tensor]) -> None:
    """Give the model its weights back, with the rows of a kind and their elements of the bias set to 0."""
    for name, parameter in model.named_parameters():
        parameter.copy_(kept[name])
    parameters = dict(model.named_parameters())
    for name in weights:
        rows = torch.from_numpy(masks[f"{way}/{name}"])
        parameters[name][rows] = 0
        parameters[name.replace(".lin.weight", ".bias").replace(".weight", ".bias")][rows] = 0


def curves(store: Path, kind: str, test: Inputs, draws: int) -> dict[str, Any]:
    """Accuracy of one branch's network with rows taken out of one layer and of all hidden layers."""
    run = analyzer.open_run(store)
    answer = analyzer.rows(run, parameter="*weight")
    model = last_frame(run, kind)
    kept = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    found: dict[str, Any] = {"run": store.stem, "whole": accuracy(model, test)}
    for where, layer in ((FIGURE_4, FIGURE_4), ("all hidden layers", None)):
        weights = prunable(model, layer)
        table: dict[str, list[float]] = {way: [] for way in WAYS}
        for fraction in FRACTIONS:
            masks = [analyzer.row_masks(answer, fraction, seed) for seed in range(draws)]
            for way in WAYS:
                values = []
                for mask in masks if way == "random" else masks[:1]:
                    without(model, mask, way, weights, kept)
                    values.append(accuracy(model, test))
                table[way].append(float(np.mean(values)))
        found[where] = table
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--model", choices=KINDS, default="gcn")
    parser.add_argument("--data", default="shipped", help="as for run.py; the test graphs are taken from it")
    parser.add_argument("--test", type=int, default=2_000, help="test graphs, equally many of each class")
    parser.add_argument("--output", type=Path, default=Path("runs/paper"), help="where run.py put the runs")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--draws", type=int, default=DRAWS, help="random sets of rows for each seed and fraction")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    scale = SCALES[options.scale]
    test = inputs(options.model, chosen(dense(load(options.data)[1]), options.test))
    place = Place(options.output / scale.name / options.model)
    target = options.results / scale.name / options.model / "prune.json"
    asked = {"fractions": list(FRACTIONS), "draws": options.draws, "test_graphs": len(test)}
    known = earlier(target, asked)
    runs = []
    for seed in range(scale.rate_seeds["sgd"]):
        run = Branch("sgd", RATE, BATCH, seed)
        if place.account(run.name).exists() and place.store(run.name).exists():
            runs.append(curves(place.store(run.name), options.model, test, options.draws))
            tell(f"{options.model} {run.name}: {runs[-1]['whole']:.1%} whole")
        elif scale.shipped and run.name in known:
            runs.append(known[run.name])  # made elsewhere
    write_json(target, asked | {"runs": runs})
    return 0


def earlier(target: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Earlier results of runs whose trajectories are not here, if they answer the same question."""
    content = read_json(target) if target.exists() else {"runs": []}
    same = all(content.get(name) == value for name, value in asked.items())
    return {run["run"]: run for run in content["runs"]} if same else {}


if __name__ == "__main__":
    sys.exit(main())
