"""The newest temperatures by layer, from the mean kinetic energies that the writer publishes with each commit."""

from __future__ import annotations

from collections.abc import Sequence

from recorder.schema import Parameter, Schema
from recorder.spool_files import Control


class Temperatures:
    """Reads what the writer published last, from mapped memory: nothing is computed of frames, and nothing waits.

    Lifetime: one recording, and after it.
    """

    def __init__(self, schema: Schema, control: Control) -> None:
        self._parameters, self._control = schema.parameters, control
        self._last: dict[str, float] = {}

    def newest(self) -> dict[str, float]:
        """Return the temperature of each layer; empty before the first commit that holds a velocity."""
        energies = self._control.energies()
        if energies is not None:  # else the writer publishes others right now
            self._last = by_layer(self._parameters, energies.tolist())
        return dict(self._last)


def by_layer(parameters: Sequence[Parameter], energies: Sequence[float]) -> dict[str, float]:
    """Return the temperature of each layer, a mean over its weights; layers without weights have none.

    Parameters
    ----------
    parameters : sequence of Parameter
    energies : sequence of float
        Mean kinetic energy ½⟨v²⟩ of each.

    Returns
    -------
    dict of str to float
        What lies in the model itself is "model", unless a layer is called so.
    """
    itself = "model" if all(parameter.layer != "model" for parameter in parameters) else "model itself"
    sums: dict[str, tuple[int, float]] = {}
    for parameter, energy in zip(parameters, energies, strict=True):
        if parameter.elements:
            weights, total = sums.get(layer := parameter.layer or itself, (0, 0.0))
            sums[layer] = weights + parameter.elements, total + parameter.elements * energy
    return {layer: total / weights for layer, (weights, total) in sums.items()}
