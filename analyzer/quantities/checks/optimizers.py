"""The optimizer and learning rate of a run, from what the recorder wrote. Physical checks need them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from analyzer.query.changes import setting_in, within
from analyzer.query.timeline import Timeline

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Optimizer:
    """A recorded optimizer.

    Attributes
    ----------
    name
        Name of its class, without the module.
    settings
        Settings that are equal in all its parameter groups; its defaults in stores of earlier recorders, which kept no
        groups. For the settings of each group see `analyzer.quantities.rates.expectations`.
    differing
        Names of the settings in which its parameter groups differ.
    """

    name: str
    settings: Mapping[str, Any]
    differing: frozenset[str] = frozenset()

    @property
    def is_adam(self) -> bool:
        """Whether updates are η m/√u with running means m and u: Adam or AdamW, without amsgrad."""
        is_plain = not self.settings.get("amsgrad") and "amsgrad" not in self.differing
        return self.name in ("Adam", "AdamW") and is_plain and self.beta1 is not None

    @property
    def is_sgd(self) -> bool:
        """Whether updates are proportional to gradients, or to running means of them."""
        return self.name == "SGD"

    @property
    def beta1(self) -> float | None:
        """Decay rate of the running mean of gradients, 0 to 1; None if it was not recorded."""
        betas = self.settings.get("betas")
        try:
            value = float(betas[0]) if isinstance(betas, (list, tuple)) else -1.0
        except (TypeError, ValueError, IndexError):
            return None
        return value if 0 <= value < 1 else None


@dataclass(frozen=True)
class Rate:
    """The learning rate of a window.

    Attributes
    ----------
    value
        The rate of all updates and parameter groups; None if it is not one positive number.
    why
        Why `value` is None, else empty.
    changes
        Whether the rate changes within the window.
    """

    value: float | None
    why: str = ""
    changes: bool = False


@dataclass(frozen=True)
class Updates:
    """The optimizer and the learning rate that made the updates of a window.

    Attributes
    ----------
    optimizer
        The one optimizer of the run, or None.
    why
        Why `optimizer` is None, else empty.
    rate
        The learning rate.
    """

    optimizer: Optimizer | None
    why: str
    rate: Rate


def optimizer_of(run: xr.DataTree, line: Timeline, start: int, stop: int) -> tuple[Optimizer | None, str]:
    """Return the one optimizer that made the updates with start < step <= stop and "", or None and the reason."""
    if found := within(line.changes, line.steps, start, stop):
        return None, f"the settings changed at step {found[0].first_step}"
    listed = setting_in("optimizer", run.attrs, line.steps, start, stop)
    known = [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, (list, tuple)) else []
    if not known:
        return None, "the optimizer is not recorded"
    if len(known) > 1:
        return None, f"{len(known)} optimizers, and which one moved a weight is not recorded"
    name = str(known[0].get("class", "")).rpartition(".")[2]
    return Optimizer(name, *_settings_of(known[0])), ""


def _settings_of(recorded: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """The settings that all parameter groups have, and the names of those in which they differ."""
    defaults, held = recorded.get("defaults"), recorded.get("groups")
    usual = dict(defaults) if isinstance(defaults, Mapping) else {}
    listed = held if isinstance(held, (list, tuple)) else []
    groups = [usual | dict(group) for group in listed if isinstance(group, Mapping)] or [usual]
    names = dict.fromkeys(name for group in groups for name in group)
    differing = frozenset(name for name in names if any(group.get(name) != groups[0].get(name) for group in groups))
    return {name: groups[0][name] for name in groups[0] if name not in differing}, differing


def learning_rate_of(run: xr.DataTree, frames: Array) -> Rate:
    """Return the learning rate of the updates that ended in the given frames (updates,)."""
    if "learning_rate" not in run.data_vars or "step" not in run["learning_rate"].dims:
        return Rate(None, "the learning rate is not recorded")
    values = np.asarray(run["learning_rate"].transpose("step", ...).values, dtype=np.float64)
    values = values.reshape(len(values), -1)[frames]
    if not values.size or not np.isfinite(values).all():
        return Rate(None, "the learning rate is not recorded at every step")
    low, high = float(values.min()), float(values.max())
    if low == high:
        return Rate(low) if low > 0 else Rate(None, "the learning rate is 0")
    changes = bool((values.max(axis=0) != values.min(axis=0)).any())
    how = "changes within the window" if changes else "differs between parameter groups"
    return Rate(None, f"the learning rate {how}: {low:.4g} to {high:.4g}", changes)
