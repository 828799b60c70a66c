"""Chooses what is recorded of a model, and describes it: parameters, their layers and axes, the planes of a frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from recorder.errors import SchemaError, UsageError
from recorder.patterns import match_names
from recorder.schema import STORED_DTYPES, Parameter, Schema, lay_out
from recorder.trainer.model.axes import Conventions
from recorder.trainer.model.heads import heads_of
from recorder.trainer.model.parametrized import class_of, home_of
from recorder.trainer.model.wrappers import Held, named_modules, named_parameters, sharded_modules


@dataclass(frozen=True, slots=True)
class Slot:
    """Where the model holds a recorded parameter: one dictionary access looks it up again."""

    owner: dict[str, nn.Parameter | None]
    key: str
    tensor: nn.Parameter


@dataclass(frozen=True, slots=True)
class Selection:
    """A schema, and the slot in the model for each of its parameters."""

    schema: Schema
    slots: tuple[Slot, ...]


def model_of(model: object) -> nn.Module:
    """Return the model, if it is a module.

    Raises
    ------
    UsageError
    """
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"model: expected a torch.nn.Module, got {type(model).__name__}. Write Recorder(store, model, optimizer)."
        )
    return model


def select_parameters(
    model: nn.Module, include: str | Iterable[str] | None = None, exclude: str | Iterable[str] | None = None
) -> Selection:
    """Choose the parameters of a model to record, and describe them.

    Names are the user's own, without what wrappers add (`module.`, `_orig_mod.`).

    Parameters
    ----------
    model : torch.nn.Module
        Lazy layers must have seen a batch.
    include, exclude : str or iterable of str, optional
        Glob patterns over dotted names. By default everything is included and nothing excluded.

    Returns
    -------
    Selection
        Parameters in the model's order. A tied tensor comes once, under its first name.

    Raises
    ------
    SelectionError
        A pattern matches nothing, or nothing is left.
    SchemaError
        A parameter has no shape yet, has a type that cannot be stored, or is sharded; or two have the same name.
    """
    groups = _by_tensor(model)
    names = [[held.name for held in group] for group in groups]
    chosen = match_names(names, include, exclude)
    modules = dict(named_modules(model))
    conventions, sharded = Conventions(modules), sharded_modules(model)
    parameters, slots = [], []
    for group, aliases in zip(groups, names, strict=True):
        name, owner, key, tensor = group[0]
        if name in chosen:
            _check_whole(name, tensor, sharded)
            parameters.append(_describe(modules, conventions, tensor, aliases))
            slots.append(Slot(owner._parameters, key, tensor))
    return Selection(lay_out(parameters, [str(slot.tensor.device) for slot in slots]), tuple(slots))


def _by_tensor(model: nn.Module) -> list[list[Held]]:
    """Return the parameters of a model, each with all places that hold it under a name of its own."""
    groups: dict[int, list[Held]] = {}
    owners: dict[str, Held] = {}
    for held in named_parameters(model):
        first = owners.setdefault(held.name, held)
        if first is held:
            groups.setdefault(id(held.tensor), []).append(held)
        elif first.tensor is not held.tensor:
            raise SchemaError(
                f"parameter {held.name}: expected one of this name, got two: a {type(first.owner).__name__} and a "
                f"{type(held.owner).__name__} hold one each, and only a wrapper's name stands between. Rename an "
                "attribute of the wrapper, or pass the model that it wraps.",
                parameter=held.name,
            )
    return list(groups.values())


def _check_whole(name: str, tensor: nn.Parameter, sharded: Sequence[str]) -> None:
    """Refuse a parameter of which this rank holds only a shard.

    Raises
    ------
    SchemaError
    """
    what = ""
    if any(not module or name.startswith(module + ".") for module in sharded):
        what = "FullyShardedDataParallel"
    elif any(base.__name__ == "DTensor" for base in type(tensor).__mro__):
        what = "FSDP2 or tensor parallelism (DTensor)"
    elif not is_lazy(tensor) and getattr(tensor, "ds_numel", tensor.numel()) != tensor.numel():
        what = "DeepSpeed ZeRO 3"
    if what:
        raise SchemaError(
            f"parameter {name}: expected all of it in this process, got the shard of one rank under {what}. Shards are "
            f"not gathered. Train with DistributedDataParallel, or leave it out with exclude=[{name!r}].",
            parameter=name,
        )


def check_memory(name: str, tensor: torch.Tensor) -> None:
    """Check that a parameter's elements lie in memory of its own.

    Raises
    ------
    SchemaError
        The parameter wraps other tensors, its storage was freed, or it never had one (`meta`).
    """
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    needed = (tensor.storage_offset() + last + 1) * tensor.element_size() if tensor.numel() else 0
    try:
        # A wrapper may claim bytes at no address.
        room = tensor.untyped_storage().nbytes() if tensor.data_ptr() else 0
    except (RuntimeError, NotImplementedError):
        room = 0
    if room < needed:
        what = f"{room} bytes" if room else "none"
        raise SchemaError(
            f"parameter {name}: expected {needed} bytes of memory of its own, got {what} ({type(tensor.data).__name__} "
            f"on {tensor.device}). Its elements cannot be copied from there. Leave it out with exclude=[{name!r}], "
            "record while its storage is there, or record a module that holds its local shard as a plain parameter.",
            parameter=name,
        )


def _describe(
    modules: dict[str, nn.Module], conventions: Conventions, tensor: nn.Parameter, names: Sequence[str]
) -> Parameter:
    name = names[0]
    if is_lazy(tensor):
        raise SchemaError(
            f"parameter {name}: expected a shape, but its lazy layer has not seen a batch yet. Run the model once "
            "before recorder.start(), or leave start() out: the first optimizer step calls it.",
            parameter=name,
        )
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in STORED_DTYPES:
        raise SchemaError(
            f"parameter {name}: expected a real type of 16, 32 or 64 bits, an integer or a boolean, got {dtype}, which "
            f"the store cannot hold without loss. Leave it out with exclude=[{name!r}], or record a model that has "
            "such a type in its place (of a complex tensor, its real and imaginary parts).",
            parameter=name,
        )
    check_memory(name, tensor)
    holder, _, own = name.rpartition(".")
    owner, key = home_of(modules, holder, own)
    layer = _layer(modules, owner)
    axes = conventions.axes(holder, own, tuple(tensor.shape))
    heads = heads_of(modules, layer, owner, key, tuple(tensor.shape), axes)
    if heads is not None and heads.axis == 1 and tensor.dim() == 3:
        axes = ("", "head", "channel")
    concat = getattr(modules[layer], "concat", None)
    return Parameter(
        name=name,
        shape=tuple(tensor.shape),
        dtype=dtype,
        layer=layer,
        module=owner,
        module_class=class_of(modules[owner]).__name__,
        layer_class=class_of(modules[layer]).__name__,
        axes=axes,
        requires_grad=tensor.requires_grad,
        aliases=tuple(names[1:]),
        heads=None if heads is None else heads.heads,
        head_axis=None if heads is None else heads.axis,
        head_blocks=None if heads is None or heads.blocks == 1 else heads.blocks,
        concat=concat if isinstance(concat, bool) else None,
    )


def _layer(modules: dict[str, nn.Module], owner: str) -> str:
    """Return the nearest ancestor that is a `MessagePassing`, else the owner.

    Classes are compared by name, so that no graph library is imported.
    """
    path = owner
    while True:
        if any(base.__name__ == "MessagePassing" for base in type(modules[path]).__mro__):
            return path
        if not path:
            return owner
        path = path.rpartition(".")[0]
