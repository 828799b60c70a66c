"""Random walk or training.

The first principal mode of a random walk looks like half a cosine (dashed), as if it had a purpose. The cosine content
tells: near 1 for the walk, small for a training that moves about its minimum. The walk is a tree made by hand.
"""

from pathlib import Path

import numpy as np
import torch
import xarray as xr

from analyzer import as_run, open_run
from analyzer.plots.style import COLOURS, canvas
from recorder import Recorder


def main(folder: Path) -> dict[str, float]:
    """Make both, measure and draw; return the cosine content of the first mode of each."""
    torch.manual_seed(0)
    model = torch.nn.Linear(16, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(folder / "training.zarr", model, optimizer, mode="w"):
        for _ in range(3000):
            optimizer.zero_grad()
            x = torch.randn(32, 16)
            (model(x) - x[:, :4] - torch.randn(32, 4)).square().mean().backward()
            optimizer.step()
    frames = 0.01 * np.cumsum(np.random.default_rng(0).normal(size=(64, 3001)), axis=1)
    walk = xr.Dataset({"w": (("row", "step"), frames, {"name": "w", "layer": "w", "module": "w"})})
    tree = xr.DataTree.from_dict({"/": xr.Dataset(coords={"step": np.arange(3001)}), "/parameters": walk})
    runs = {"random walk": as_run(tree), "training": open_run(folder / "training.zarr")}
    figure, panels = canvas(2, 6.4, 3.2)
    found = {}
    for (name, run), axes, colour in zip(runs.items(), panels, COLOURS, strict=False):
        first = run.thermo.modes(by="model", start=500).isel(group=0).sel(mode=1).compute()
        found[name] = float(first["cosine_content"])
        cosine = -np.cos(np.linspace(0, np.pi, first.sizes["frame"])) * 2**0.5 * float(first["projection"].std())
        axes.plot(first["step"], cosine, color="0.6", linestyle="--")
        axes.plot(first["step"], first["projection"], color=colour, linewidth=1)
        axes.set(title=f"{name}\ncosine content {found[name]:.2f}", xlabel="step")
    panels[0].set_ylabel("first mode (weights)")
    figure.savefig(folder / "walk_or_training.png", dpi=120)
    return found


if __name__ == "__main__":
    print({name: round(content, 2) for name, content in main(Path()).items()})
