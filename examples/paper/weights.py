"""The trained networks that ship with the examples: weights and Adam's moments, as plain arrays.

`trained/gcn.npz`, `gat.npz` and `cnn.npz` hold float32 arrays, named by part and parameter: `weights/conv1.bias`, and
Adam's `exp_avg/conv1.bias` and `exp_avg_sq/conv1.bias`; `step` is Adam's count of updates. The json files beside them
say how the networks were trained. `numpy.load` reads them.

python -m examples.paper.run --scale trained --model gat --only-training --data mnist-75sp.npz    # goes on training it
python -m examples.paper.weights --model gat    # writes its present state into these files
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .dense import KINDS, Model
from .place import Place, load, read_json, write_json

FOLDER = Path(__file__).with_name("trained")
MOMENTS = ("exp_avg", "exp_avg_sq")


def shipped(kind: str) -> bool:
    """Whether a trained network of this kind ships with the examples."""
    return (FOLDER / f"{kind}.npz").exists()


def account(kind: str) -> dict[str, Any]:
    """How a network was trained: steps, epochs, hardware, and its loss and test accuracy epoch by epoch."""
    content: dict[str, Any] = read_json(FOLDER / f"{kind}.json")
    return content


def _untrained(kind: str) -> Model:
    return KINDS[kind]() if kind == "cnn" else KINDS[kind](1)  # type: ignore[call-arg]


def restored(kind: str) -> tuple[Model, dict[str, Any]]:
    """A trained network, and the state of its Adam, which `torch.optim.Adam.load_state_dict` takes.

    Parameters
    ----------
    kind : {"gcn", "gat", "cnn"}
    """
    with np.load(FOLDER / f"{kind}.npz", allow_pickle=False) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    model = _untrained(kind)
    names = [name for name, _ in model.named_parameters()]
    model.load_state_dict({name: arrays[f"weights/{name}"] for name in names})
    state = torch.optim.Adam(model.parameters()).state_dict()
    state["state"] = {
        number: {"step": arrays["step"].clone(), **{part: arrays[f"{part}/{name}"] for part in MOMENTS}}
        for number, name in enumerate(names)
    }
    return model, state


def ship(kind: str, model: Model, optimizer: dict[str, Any], told: dict[str, Any], folder: Path = FOLDER) -> None:
    """Write what `restored` and `account` read.

    Parameters
    ----------
    kind : {"gcn", "gat", "cnn"}
    optimizer
        The state of Adam, as its `state_dict` gives it, for the parameters in the model's order.
    told
        How the network was trained.
    """
    arrays: dict[str, Any] = {}
    for number, (name, parameter) in enumerate(model.named_parameters()):
        of_adam = optimizer["state"][number]
        arrays[f"weights/{name}"] = parameter.detach().numpy()
        arrays |= {f"{part}/{name}": of_adam[part].numpy() for part in MOMENTS}
        arrays["step"] = np.float32(of_adam["step"].item())
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{kind}.npz", **arrays)
    write_json(folder / f"{kind}.json", told)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=KINDS, default="gat")
    parser.add_argument("--output", type=Path, default=Path("runs/paper"), help="where run.py put the training")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the shipped networks lie")
    options = parser.parse_args(argv)
    kind, place = options.model, Place(options.output / "trained" / options.model)
    if not place.training.exists():
        print(
            f"{place.training}: expected a training, got none. Make it, or go on with it: "
            f"python -m examples.paper.run --scale trained --model {kind} --only-training",
            file=sys.stderr,
        )
        return 1
    state = load(place.training)
    model = _untrained(kind)
    model.load_state_dict(state["model"])
    told = read_json(place.account("training")) if place.account("training").exists() else state["account"]
    ship(kind, model, state["optimizer"], told, options.folder)
    print(f"Wrote {options.folder / kind}.npz: epoch {state['epoch']}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
