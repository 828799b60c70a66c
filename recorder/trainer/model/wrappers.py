"""A model's modules and parameters by the user's own names, without those of wrappers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

# The attributes under which a wrapper holds what it wraps, by the wrapper's package and class, so that nothing is
# imported. The attribute's name alone does not tell, because a user may call a layer `module`.
_HELD_UNDER = {
    ("torch", "DataParallel"): ("module",),
    ("torch", "DistributedDataParallel"): ("module",),
    ("torch", "FullyShardedDataParallel"): ("_fsdp_wrapped_module",),
    ("torch", "OptimizedModule"): ("_orig_mod",),
    ("torch", "AveragedModel"): ("module",),  # a copy of the model, whose weights are averages
    ("torch", "ActivationWrapper"): ("_checkpoint_wrapped_module",),
    ("lightning", "_FabricModule"): ("_forward_module", "_original_module"),
    ("lightning_fabric", "_FabricModule"): ("_forward_module", "_original_module"),
    ("deepspeed", "DeepSpeedEngine"): ("module",),
    ("opacus", "AbstractGradSampleModule"): ("_module",),  # one class for each way of clipping
}


class Held(NamedTuple):
    """A parameter: its user's name, the module that holds it and its key there."""

    name: str
    owner: nn.Module
    key: str
    tensor: nn.Parameter


def _held_under(kind: type) -> tuple[str, ...]:
    """Return the attributes under which a class of wrappers holds what it wraps; none if the class is no wrapper."""
    found = (_HELD_UNDER.get((base.__module__.partition(".")[0], base.__name__)) for base in kind.__mro__)
    return next((keys for keys in found if keys), ())


def named_modules(model: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of a model with the user's names. A wrapper has the name of its content, and comes before it.

    Parameters
    ----------
    model : torch.nn.Module
    name : str
        Its own name.
    """
    yield name, model
    hidden = _held_under(type(model))
    for key, child in model._modules.items():
        if child is not None:
            yield from named_modules(child, name if key in hidden else f"{name}.{key}" if name else key)


def named_parameters(model: nn.Module) -> Iterator[Held]:
    """Yield the parameters of a model in its order, a tied one under each of its names."""
    for name, module in named_modules(model):
        for key, tensor in module._parameters.items():
            if tensor is not None:
                yield Held(f"{name}.{key}" if name else key, module, key, tensor)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside all wrappers."""
    while keys := _held_under(type(model)):
        if not isinstance(inner := model._modules.get(keys[0]), nn.Module):
            break
        model = inner
    return model


def sharded_modules(model: nn.Module) -> list[str]:
    """Return the names of the modules whose parameters FullyShardedDataParallel has sharded."""
    return [
        name
        for name, module in named_modules(model)
        if "_fsdp_wrapped_module" in _held_under(type(module))
        and getattr(getattr(module, "sharding_strategy", None), "name", "") != "NO_SHARD"
    ]
