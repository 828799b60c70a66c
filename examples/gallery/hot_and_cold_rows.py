"""Hot and cold rows of a GCN layer.

A row of a graph convolution is one hidden unit. A unit to which the output hardly listens, or whose tanh is
saturated, gets small gradients: its row is cold. `rows` ranks them with error bars, and tests whether they differ.
"""

from pathlib import Path

import torch
from torch_geometric.nn import GCNConv

from analyzer import open_run
from analyzer.plots.style import canvas
from recorder import Recorder


def main(folder: Path) -> tuple[str, float]:
    """Record, rank and draw; return the verdict, and how much hotter the hottest row is than the coldest."""
    torch.manual_seed(1)
    classes = torch.arange(60) % 3
    edges = torch.nonzero((classes[:, None] == classes) & (torch.rand(60, 60) < 0.2)).T  # friends are of one class
    model = torch.nn.ModuleList([GCNConv(6, 12), GCNConv(12, 3)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def train(steps: int) -> None:
        for _ in range(steps):
            x = torch.eye(6)[2 * classes] + 0.7 * torch.randn(60, 6)
            loss = torch.nn.functional.cross_entropy(model[1](model[0](x, edges).tanh(), edges), classes)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    train(3000)  # until it has learned
    with Recorder(folder / "gcn.zarr", model, optimizer, mode="w"):
        train(4000)
    found = open_run(folder / "gcn.zarr").thermo.rows(parameter="0.lin.weight").isel(window=0).sortby("rank")
    figure, (axes,) = canvas(1, 6.4, 3.6)
    axes.errorbar(found["rank"], found["temperature"], 1.96 * found["standard_error"], fmt="none", ecolor="0.4")
    axes.scatter(found["rank"], found["temperature"], s=60, c=found["rank"], cmap="coolwarm_r", zorder=3)
    axes.set(yscale="log", xlabel="rows from hot to cold", ylabel="T (weight² step⁻²)", title="Rows of a GCN layer")
    figure.savefig(folder / "hot_and_cold_rows.png", dpi=120)
    return str(found["verdict"].values[0]), float(found["hottest_over_coldest"].values[0])


if __name__ == "__main__":
    print("rows: {}, the hottest is {:.0f} times as hot as the coldest".format(*main(Path())))
