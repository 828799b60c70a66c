"""The line of the epoch.

The spectral density of the velocities of two trainings, with 40 batches an epoch. Where the batches come in the same
order each time, the gradients repeat themselves, and the spectrum has lines at multiples of 1/40. Shuffling removes
them.
"""

from pathlib import Path

import torch

from analyzer import open_run
from analyzer.plots.style import COLOURS, canvas
from recorder import Recorder


def main(folder: Path) -> dict[str, float]:
    """Record, measure and draw; return for each order how far the first line rises above the density beside it."""
    figure, (axes,) = canvas(1, 6.4, 3.6)
    found = {}
    for order, colour in zip(("shuffled", "same order"), COLOURS[:2], strict=True):
        torch.manual_seed(0)
        model = torch.nn.Linear(16, 4)
        x, y = torch.randn(40, 8, 16), torch.randn(40, 8, 4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        with Recorder(folder / f"{order}.zarr", model, optimizer, mode="w") as recorder:
            for epoch in range(100):
                for batch in torch.randperm(40) if order == "shuffled" else range(40):
                    optimizer.zero_grad()
                    (model(x[batch] + 0.3 * torch.randn(8, 16)) - y[batch]).square().mean().backward()
                    optimizer.step()
                    recorder.log(epoch=epoch)
        run = open_run(folder / f"{order}.zarr")
        answer = run.thermo.spectrum(by="model", start=1000).isel(group=0, window=0).compute()
        density, line = answer["spectral_density"], abs(answer["frequency"] - 1 / 40)
        beside = density.where((line > 0.006) & (line < 0.02)).median()
        found[order] = float(density.where(line < 0.004).max() / beside)
        axes.semilogy(answer["frequency"], density, color=colour, linewidth=1.2, label=order)
    axes.set(xlabel="frequency (step⁻¹)", ylabel="density (weight² step⁻¹)", title="Lines at multiples of 1/epoch")
    axes.legend(frameon=False)
    figure.savefig(folder / "epoch_line.png", dpi=120)
    return found


if __name__ == "__main__":
    print({order: round(rise, 1) for order, rise in main(Path()).items()})
