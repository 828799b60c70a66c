"""The words of a run: what the store's root attributes say of model, optimizer, software and the user's
hyperparameters.
"""

from __future__ import annotations

import math
import platform
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from recorder.budget import Budget
from recorder.options import Options


def root_attributes(
    model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], options: Options, budget: Budget
) -> dict[str, Any]:
    """Return the root attributes that the training process knows; the writer adds its own."""
    return {
        "run_id": uuid.uuid4().hex,
        "chunk_steps": budget.chunk_steps,
        "stride": options.stride,
        "compression": options.compression,
        "hyperparameters": jsonable(options.hyperparameters),
        "model": describe_model(model),
        "optimizer": [jsonable(describe_optimizer(optimizer)) for optimizer in optimizers],
        "software": {
            "thermotrace": version("thermotrace"),
            "torch": str(torch.__version__),
            "numpy": version("numpy"),
            "pcodec": version("pcodec"),
            "python": platform.python_version(),
        },
    }


def describe_model(model: nn.Module) -> dict[str, Any]:
    """Return class and printed form of a model, as the store's `model` attribute holds them."""
    text = str(model)
    return {"class": _qualified(model), "text": text if len(text) <= 100_000 else text[:100_000] + " …"}


def describe_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return class and defaults of an optimizer, as the store's `optimizer` attribute holds them."""
    return {"class": _qualified(optimizer), "defaults": dict(optimizer.defaults)}


def _qualified(instance: object) -> str:
    return f"{type(instance).__module__}.{type(instance).__qualname__}"


def jsonable(value: Any) -> Any:
    """Return a value as JSON can hold it: numbers, strings, booleans, null, lists, objects; anything else as its
    text.
    """
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item) for item in value]
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if (hasattr(value, "item") and getattr(value, "size", None) == 1) or (
        isinstance(value, torch.Tensor) and value.numel() == 1
    ):
        return jsonable(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value)
