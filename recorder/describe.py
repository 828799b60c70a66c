"""A recording in words and sizes: what its writer must know, and what the root attributes of its store will say."""

from __future__ import annotations

import math
import platform
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from recorder.budget import Budget, plan_budget
from recorder.options import Options
from recorder.root import read_root
from recorder.schema import Schema
from recorder.segments import Session, boot_id


def make_session(
    model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], options: Options, schema: Schema
) -> Session:
    """Decide all sizes of a recording, and say what the writer must know of it."""
    groups = sum(len(optimizer.param_groups) for optimizer in optimizers)
    chunk_steps = read_root(options.store)["chunk_steps"] if options.mode == "a" else options.chunk_steps
    budget = plan_budget(schema, groups, spool_limit=options.spool_limit, chunk_steps=chunk_steps)
    return Session(
        session=uuid.uuid4().hex,
        store=str(options.store),
        mode=options.mode,
        boot_id=boot_id(),
        schema=schema,
        budget=budget,
        param_groups=groups,
        user_step=options.user_step,
        attributes=root_attributes(model, optimizers, options, budget),
    )


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
