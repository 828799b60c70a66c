"""The optimizer of a run, from the attributes that a recorder writes: what temperatures it leads one to expect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Optimizer:
    """A recorded optimizer.

    Attributes
    ----------
    name
        Its class without the module.
    settings
        Its defaults; a parameter group may have had others, which are not recorded.
    """

    name: str
    settings: Mapping[str, Any]

    @property
    def is_adam(self) -> bool:
        """Whether steps are η m/√u of plain averages: Adam or AdamW, not their variants."""
        return self.name in ("Adam", "AdamW") and not self.settings.get("amsgrad") and self.beta1 is not None

    @property
    def is_sgd(self) -> bool:
        """Whether steps are proportional to gradients, or to running means of them."""
        return self.name == "SGD"

    @property
    def beta1(self) -> float | None:
        """Decay of the running mean of gradients, or None where it is not recorded."""
        betas = self.settings.get("betas")
        try:
            value = float(betas[0]) if isinstance(betas, (list, tuple)) else -1.0
        except (TypeError, ValueError, IndexError):
            return None
        return value if 0 <= value < 1 else None


@dataclass(frozen=True)
class Rate:
    """The learning rate of all updates of a window, in all parameter groups; or None and why, and if it changes."""

    value: float | None
    why: str = ""
    changes: bool = False


def optimizer_of(run: xr.DataTree) -> tuple[Optimizer | None, str]:
    """The one optimizer of a run, and why there is none."""
    listed = run.attrs.get("optimizer")
    known = [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, (list, tuple)) else []
    if not known:
        return None, "the optimizer is not recorded"
    if len(known) > 1:
        return None, f"{len(known)} optimizers, and which one moved a weight is not recorded"
    settings = known[0].get("defaults")
    name = str(known[0].get("class", "")).rpartition(".")[2]
    return Optimizer(name, settings if isinstance(settings, Mapping) else {}), ""


def learning_rate_of(run: xr.DataTree, frames: Array) -> Rate:
    """The one learning rate of the updates that ended in given frames, or why there is none."""
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
