"""Momentum remembers.

The velocity autocorrelation C(τ) of two trainings, at the same effective rate η/(1 − µ). Steps of plain SGD follow the
noise of their batch and forget it at once. With momentum µ a step keeps the part µ of the last one: C(τ) falls as µ^τ,
and a little faster, since the minimum pulls back.
"""

from pathlib import Path

import torch

from analyzer import open_run
from analyzer.plots.style import COLOURS, canvas
from recorder import Recorder


def main(folder: Path) -> dict[float, list[float]]:
    """Record, measure and draw; return C(τ)/C(0) at τ = 0, 1, 2, … for each momentum."""
    figure, (axes,) = canvas(1, 6.4, 3.6)
    found = {}
    for colour, momentum in zip(COLOURS, (0.0, 0.9), strict=False):
        torch.manual_seed(0)
        model = torch.nn.Linear(32, 8)
        solution = model.weight.detach().clone()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01 * (1 - momentum), momentum=momentum)
        for step in range(7000):
            if step == 1000:  # in equilibrium by now
                recorder = Recorder(folder / f"momentum-{momentum}.zarr", model, optimizer, mode="w")
            x = torch.randn(32, 32)
            loss = (model(x) - x @ solution.T - torch.randn(32, 8)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        recorder.close()
        run = open_run(folder / f"momentum-{momentum}.zarr")
        answer = run.thermo.dynamics(by="model", lags=range(31)).isel(group=0, window=0).compute()
        values, lags = answer["normalised_autocorrelation"], answer["lag"]
        bars = 1.96 * answer["normalised_autocorrelation_error"]
        axes.errorbar(lags, values, bars, fmt="o", markersize=4, color=colour, label=f"µ = {momentum:g}")
        axes.plot(lags, momentum**lags, color=colour, linewidth=1)
        found[momentum] = values.values.tolist()
    axes.set(xlabel="lag τ (steps)", ylabel="C(τ) / C(0)", title=r"Points: measured. Lines: $\mu^\tau$")
    axes.legend(frameon=False)
    figure.savefig(folder / "momentum.png", dpi=120)
    return found


if __name__ == "__main__":
    print({momentum: round(values[1], 3) for momentum, values in main(Path()).items()})
