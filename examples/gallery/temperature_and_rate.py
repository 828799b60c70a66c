"""Temperature and learning rate.

Five trainings that differ in their learning rate alone. At the minimum of a quadratic loss the gradient is noise, and
a step is the learning rate times that noise. So T = a·η^b with b = 2, and the fit finds it with its interval.
"""

from pathlib import Path

import torch

import analyzer
from analyzer.plots.style import COLOURS, canvas
from recorder import Recorder


def main(folder: Path) -> tuple[float, float, float]:
    """Record, fit and draw; return the exponent b and its 95 % interval."""
    for rate in (0.01, 0.02, 0.04, 0.08, 0.16):
        torch.manual_seed(0)
        model = torch.nn.Linear(16, 4)
        solution = model.weight.detach().clone()  # the training starts at its minimum
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        with Recorder(
            folder / f"rate-{rate}.zarr", model, optimizer, hyperparameters={"learning_rate": rate}, mode="w"
        ):
            for _ in range(2000):
                x = torch.randn(32, 16)
                loss = (model(x) - x @ solution.T - torch.randn(32, 4)).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    answer = analyzer.open_sweep(folder / "rate-*.zarr").thermo.fit(by="model", model="power")
    found, b = answer.isel(group=0), answer.isel(group=0).sel(coefficient="b")
    figure, (axes,) = canvas(1, 6.4, 3.6)
    axes.loglog(found["learning_rate"], found["fitted"], color=COLOURS[1], label=f"T ∝ η$^{{{b['value']:.2f}}}$")
    bars = 1.96 * found["within"]
    axes.errorbar(found["learning_rate"], found["temperature"], bars, color=COLOURS[0], fmt="o", label="five trainings")
    axes.set(xlabel="learning rate η", ylabel="T (weight² step⁻²)", title="T grows with the square of η")
    axes.legend(frameon=False)
    figure.savefig(folder / "temperature_and_rate.png", dpi=120)
    return float(b["value"]), float(b["low"]), float(b["high"])


if __name__ == "__main__":
    print("b = {:.3f}, 95 % interval {:.3f} to {:.3f}".format(*main(Path())))
