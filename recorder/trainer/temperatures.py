"""The newest temperatures by layer, from the mean kinetic energies that the writer publishes with each commit."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from recorder.names import as_text
from recorder.schema import Parameter, Schema
from recorder.spool_files import Control


class Temperatures:
    """Reads from mapped memory what the writer published last. No frame is read, and nothing waits.

    Lifetime: one recording, and after it.
    """

    def __init__(self, schema: Schema, control: Control, frozen: Collection[str] = ()) -> None:
        self._parameters, self._control, self._frozen = schema.parameters, control, frozen
        self._last: dict[str, float] = {}

    def newest(self) -> dict[str, float]:
        """Return the temperature of each layer; empty before the first commit that holds a velocity."""
        energies = self._control.energies()
        if energies is not None:  # else the writer is publishing others right now
            self._last = by_layer(self._parameters, energies.tolist(), self._frozen)
        return dict(self._last)


def frozen_in(schema: Schema, optimizers: object) -> frozenset[str]:
    """Return the parameters that require no gradient, or that no optimizer has, if optimizers are known.

    Parameters
    ----------
    schema : Schema
    optimizers : list of dict
        The root attribute `optimizer`.
    """
    groups = [group for one in optimizers for group in one["groups"]] if isinstance(optimizers, list) else []
    trained = {name for group in groups for name in group["parameters"]}
    return frozenset(
        p.name for p in schema.parameters if not p.requires_grad or (trained and as_text(p.name) not in trained)
    )


def by_layer(
    parameters: Sequence[Parameter], energies: Sequence[float], frozen: Collection[str] = ()
) -> dict[str, float]:
    """Return the temperature of each layer, a mean over its weights. Layers without weights are left out.

    Parameters
    ----------
    parameters : sequence of Parameter
    energies : sequence of float
        Mean kinetic energy ½⟨v²⟩ of each.
    frozen : collection of str
        Names of parameters that count only if they move.

    Returns
    -------
    dict of str to float
        Parameters of the model itself stand under "model"; under "model itself" if a layer is called "model".
    """
    itself = "model" if all(parameter.layer != "model" for parameter in parameters) else "model itself"
    sums: dict[str, tuple[int, float]] = {}
    for parameter, energy in zip(parameters, energies, strict=True):
        if parameter.elements and not (energy == 0 and parameter.name in frozen):
            weights, total = sums.get(layer := parameter.layer or itself, (0, 0.0))
            sums[layer] = weights + parameter.elements, total + parameter.elements * energy
    return {layer: total / weights for layer, (weights, total) in sums.items()}
