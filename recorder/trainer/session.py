"""What the training process tells the writer of a recording: its sizes, and the root attributes of its store."""

from __future__ import annotations

import platform
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from recorder.budget import Budget, plan_budget
from recorder.errors import SchemaError
from recorder.names import as_text
from recorder.root import check_continuable, read_root
from recorder.schema import Schema
from recorder.spool_files import Session, boot_id
from recorder.trainer.model.wrappers import named_parameters, unwrapped
from recorder.trainer.options import Options
from recorder.trainer.updates.optimizers import steps_of
from recorder.trainer.values import jsonable
from recorder.version import VERSION, installed


def make_session(
    model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], options: Options, schema: Schema
) -> Session:
    """Decide all sizes of a recording, and return what the writer must know of it."""
    groups = sum(len(optimizer.param_groups) for optimizer in optimizers)
    chunk_steps = options.chunk_steps
    if options.mode == "a":
        held = read_root(options.store)
        check_continuable(options.store, held)
        _check_sizes(options, held)
        chunk_steps = held["chunk_steps"]
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
        optimizer_step=[steps_of(optimizer) for optimizer in optimizers],
        attributes=root_attributes(model, optimizers, options, budget, [p.name for p in schema.parameters]),
    )


def _check_sizes(options: Options, held: Mapping[str, Any]) -> None:
    """Refuse another stride or another length of chunks than the store's.

    Raises
    ------
    SchemaError
    """
    if options.stride != (stride := held["stride"]):
        raise SchemaError(
            f"stride: the store has {stride}, this recording {options.stride}. The velocities of one run are all taken "
            f"over the same time. Resume with stride={stride}, or record into a new store."
        )
    if options.chunk_steps not in (None, chunk_steps := held["chunk_steps"]):
        raise SchemaError(
            f"chunk_steps: the store has {chunk_steps}, this recording {options.chunk_steps}. All chunks of a store "
            "have one length. Resume without chunk_steps, or record into a new store."
        )


def root_attributes(
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    options: Options,
    budget: Budget,
    recorded: Sequence[str],
) -> dict[str, Any]:
    """Return the root attributes that the training process knows. The writer adds its own."""
    chosen = set(recorded)
    names = {id(held.tensor): held.name for held in named_parameters(model) if held.name in chosen}
    return {
        "run_id": uuid.uuid4().hex,
        "chunk_steps": budget.chunk_steps,
        "stride": options.stride,
        "compression": options.compression,
        "hyperparameters": jsonable(options.hyperparameters),
        "model": describe_model(model),
        "optimizer": [jsonable(describe_optimizer(optimizer, names)) for optimizer in optimizers],
        "software": {
            "thermotrace": VERSION,
            "torch": str(torch.__version__),
            "numpy": installed("numpy"),
            "pcodec": installed("pcodec"),
            "python": platform.python_version(),
        },
    }


def describe_model(model: nn.Module) -> dict[str, Any]:
    """Return the class and the printed form of a model without its wrappers, for the store's attribute `model`."""
    model = unwrapped(model)
    text = as_text(str(model))
    return {"class": _qualified(model), "text": text if len(text) <= 100_000 else text[:100_000] + " …"}


def describe_optimizer(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, Any]:
    """Return the class, the defaults and the groups of an optimizer, for the store's attribute `optimizer`.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    names : mapping
        Dotted name of each recorded parameter, by its id: each group lists its own as `parameters`.
    """
    groups = [
        {key: value for key, value in group.items() if key not in ("params", "param_names", "parameters")}
        | {"parameters": [names[id(parameter)] for parameter in group["params"] if id(parameter) in names]}
        for group in optimizer.param_groups
    ]
    defaults = dict(getattr(optimizer, "defaults", {}))
    return {"class": _qualified(optimizer), "defaults": defaults, "groups": groups}


def _qualified(instance: object) -> str:
    return f"{type(instance).__module__}.{type(instance).__qualname__}"
