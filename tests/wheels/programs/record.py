"""Record a training; print the temperature of each layer, from the weights that the training itself saw."""

import json
import sys

import torch
from torch import nn

from recorder import Recorder


def main(store: str) -> dict[str, float]:
    """Train 600 steps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    layers = {"0": model[0], "2": model[2]}
    energies: dict[str, list[float]] = {name: [] for name in layers}
    with Recorder(store, model, optimizer, hyperparameters={"learning_rate": 0.1}) as recorder:
        for _ in range(600):
            before = {name: [p.detach().clone() for p in layer.parameters()] for name, layer in layers.items()}
            optimizer.zero_grad()
            inputs = torch.randn(16, 4)
            loss = (model(inputs) - inputs.sum(dim=1, keepdim=True)).square().mean()
            loss.backward()
            optimizer.step()
            recorder.log(loss=loss)
            for name, layer in layers.items():
                pairs = zip(layer.parameters(), before[name], strict=True)
                moved = [(new.detach() - old).double().square().flatten() for new, old in pairs]
                energies[name].append(0.5 * torch.cat(moved).mean().item())
    return {name: sum(values) / len(values) for name, values in energies.items()}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
