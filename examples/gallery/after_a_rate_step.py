"""Equilibrium after a step of the learning rate.

A schedule divides the learning rate by ten halfway. Each stretch of constant rate has an equilibrium of its own.
`equilibration` finds when it begins and what T is from there on: a hundredth, as the square of the rate.
"""

from pathlib import Path

import torch

from analyzer import open_run
from analyzer.plots.style import COLOURS, canvas
from recorder import Recorder


def main(folder: Path) -> tuple[list[str], float]:
    """Record, measure and draw; return the verdict of each stretch, and T of the first over T of the second."""
    torch.manual_seed(0)
    model = torch.nn.Linear(16, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2500)
    with Recorder(folder / "schedule.zarr", model, optimizer, mode="w"):
        for _ in range(5000):
            x = torch.randn(32, 16)
            optimizer.zero_grad()
            (model(x) - 3 * x[:, :4] - torch.randn(32, 4)).square().mean().backward()
            optimizer.step()
            schedule.step()
    thermo = open_run(folder / "schedule.zarr").thermo
    series = thermo.temperature(by="model", window=25, errors=False).isel(group=0).compute()
    starts = thermo.equilibration(by="model").isel(group=0)
    figure, (axes,) = canvas(1, 6.4, 3.6)
    axes.semilogy(series["stop_step"], series["temperature"], color=COLOURS[5], linewidth=1, label="means of 25 steps")
    for start, stop, mean in zip(starts["equilibrium_step"], starts["stop_step"], starts["mean"], strict=True):
        line = axes.hlines(mean, start, stop, color=COLOURS[1], linewidth=2)
    line.set_label("mean in equilibrium")
    axes.set(xlabel="step", ylabel="T (weight² step⁻²)", title="Each rate has its own temperature")
    axes.legend(frameon=False)
    figure.savefig(folder / "after_a_rate_step.png", dpi=120)
    return starts["verdict"].values.tolist(), float(starts["mean"][0] / starts["mean"][1])


if __name__ == "__main__":
    print("stretches: {}; T falls by {:.0f}".format(*main(Path())))
