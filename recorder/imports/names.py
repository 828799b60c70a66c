"""Chooses which tensors of a checkpoint are parameters, and what they are called in the store."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from recorder.errors import CheckpointError, UsageError
from recorder.imports.formats import Tensor
from recorder.names import as_text, parameter_path
from recorder.patterns import listing, match_names
from recorder.schema import STORED_DTYPES, Parameter, Schema, lay_out

if TYPE_CHECKING:
    from torch import nn

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""What layers of torch keep beside their weights and never train."""
_COMPILED = "_orig_mod."
"""What `torch.compile` puts into names."""
_PARAMETRIZED = re.compile(r"(.*)\.parametrizations\.[^.]+\.original\d*")
"""Names of the tensors from which torch computes a parametrized one."""
Globs = str | Iterable[str] | None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The parameters of a series of checkpoints.

    Attributes
    ----------
    schema : Schema
    tensors : tuple of str
        Name of each parameter in the files, in the schema's order.
    said : tuple of str
        Sentences on what was left out, and on what was renamed.
    """

    schema: Schema
    tensors: tuple[str, ...]
    said: tuple[str, ...]


def choose(tensors: Mapping[str, Tensor], *, prefix: str = "", include: Globs = None, exclude: Globs = None) -> Chosen:
    """Choose the parameters among the tensors of a checkpoint, without its model.

    Parameters
    ----------
    tensors : mapping of str to Tensor
    prefix : str
        Take only tensors whose name begins with it. It is removed from the names.
    include, exclude : str or iterable of str, optional
        Glob patterns over the names that are left.

    Raises
    ------
    CheckpointError
        Nothing is left, or a name has no place in a store.
    SelectionError
        A pattern matches nothing.
    """
    known = {name: name.removeprefix(prefix).replace(_COMPILED, "") for name in tensors if name.startswith(prefix)}
    buffers, others, said = [], [], []
    for name, tensor in tensors.items():
        if name in known and name.rpartition(".")[2] in _BUFFERS:
            buffers.append(known.pop(name))
        elif name in known and not (tensor.dtype in STORED_DTYPES and "float" in tensor.dtype):
            others.append(f"{known.pop(name)} ({tensor.dtype})")
    if buffers:
        said.append(f"left out, buffers: {listing(buffers)}")
    if others:
        said.append(f"left out, not of a floating type that a store can hold: {listing(others)}")
    if not known:
        raise CheckpointError(
            f"checkpoint: expected floating-point tensors{f' whose names begin with {prefix!r}' if prefix else ''}, "
            f"got {listing([as_text(name) for name in tensors]) or 'no tensor'}. Say where the weights are (--key), or "
            "leave out --prefix."
        )
    if all(name.startswith("module.") for name in known.values()):
        said.append("all names begin with 'module.', as DataParallel writes them; cut it off with --prefix module.")
    kept = match_names([(name,) for name in known.values()], include, exclude)
    chosen = {name: own for name, own in known.items() if own in kept}
    _check_paths(list(chosen.values()))
    schema = lay_out([_bare(own, tensors[name]) for name, own in chosen.items()], ["cpu"] * len(chosen))
    return Chosen(schema, tuple(chosen), tuple(said))


def _bare(name: str, tensor: Tensor) -> Parameter:
    """Describe a parameter without its model. Its name tells its module."""
    owner = _home(name)
    return Parameter(
        name=name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        layer=owner,
        module=owner,
        module_class="",
        layer_class="",
        axes=("",) * len(tensor.shape),
    )


def _home(name: str) -> str:
    """Return the module in a name: `conv` for `conv.bias` and for `conv.parametrizations.weight.original0`."""
    found = _PARAMETRIZED.fullmatch(f".{name}")
    return (found[1] if found else f".{name}".rpartition(".")[0]).removeprefix(".")


def _check_paths(names: Sequence[str]) -> None:
    """Refuse names that have no place of their own in a store."""
    paths: dict[str, str] = {}
    for name in names:
        if not all(part and part.strip(".") for part in name.split(".")) or "\0" in name:
            raise CheckpointError(
                f"{as_text(name)!r}: expected a dotted name of a parameter. Leave it out: --exclude {as_text(name)!r}"
            )
        if (path := parameter_path(name)) in paths:
            raise CheckpointError(f"{as_text(name)!r}: expected one tensor of this name, got two. Leave one out.")
        paths[path] = name
    for path, name in paths.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            if (above := paths.get("/".join(parts[:depth]))) is not None:
                raise CheckpointError(
                    f"{as_text(name)!r}: expected no parameter inside another, but {as_text(above)!r} is one. Leave "
                    f"one out: --exclude {as_text(above)!r}"
                )


def choose_by_model(
    model: nn.Module, tensors: Mapping[str, Tensor], *, prefix: str = "", include: Globs = None, exclude: Globs = None
) -> Chosen:
    """Choose the parameters of a model among the tensors of its checkpoint; layers and axes are those of the model.

    Parameters
    ----------
    model : torch.nn.Module
    tensors : mapping of str to Tensor
    prefix : str
        What the file has before the model's own names. Found without being given, if it is the same for all.
    include, exclude : str or iterable of str, optional

    Raises
    ------
    CheckpointError
        The file has no such parameter, or has it in another shape.
    SelectionError
        A pattern matches nothing.
    """
    from recorder.trainer.model.selection import select_parameters

    schema = select_parameters(model, include, exclude).schema
    stripped = {name.replace(_COMPILED, ""): name for name in tensors}
    if not prefix:
        prefix = _prefix_of(schema, stripped)
    parameters, found, used = [], [], set()
    for parameter in schema.parameters:
        names = (prefix + one for one in (parameter.name, *parameter.aliases))
        there = next((stripped[name] for name in names if name in stripped), None)
        if there is None:
            raise CheckpointError(
                f"{parameter.name}: expected this parameter of the model in the checkpoint, which only has "
                f"{listing([as_text(name) for name in tensors])}. Name the model of these files, or leave the "
                f"parameter out: --exclude {parameter.name!r}",
                parameter=parameter.name,
            )
        tensor = tensors[there]
        if tensor.shape != parameter.shape or tensor.dtype not in STORED_DTYPES:
            raise CheckpointError(
                f"{parameter.name}: the model has shape {list(parameter.shape)}, the checkpoint {list(tensor.shape)} "
                f"({tensor.dtype}). Name the model of these files.",
                parameter=parameter.name,
            )
        parameters.append(replace(parameter, dtype=tensor.dtype))
        found.append(there)
        used |= {prefix + one for one in (parameter.name, *parameter.aliases)}
    left = [as_text(name) for name in stripped if name not in used]
    said = [f"left out, not parameters of the model: {listing(left)}"] if left else []
    if prefix:
        said.append(f"names in the files begin with {prefix!r}, which is removed")
    return Chosen(lay_out(parameters, ["cpu"] * len(parameters)), tuple(found), tuple(said))


def _prefix_of(schema: Schema, names: Mapping[str, str]) -> str:
    """Return what a file has before the names of a model's parameters; "" if nothing fits all of them."""
    first = schema.parameters[0].name
    candidates = [name[: -len(first)] for name in names if name == first or name.endswith("." + first)]
    fitting = [
        prefix
        for prefix in candidates
        if all(any(prefix + one in names for one in (p.name, *p.aliases)) for p in schema.parameters)
    ]
    return min(fitting, key=len, default="")


def load_model(text: str) -> nn.Module:
    """Return the model that `MODULE:FACTORY` names: a module of torch, or a function that makes one.

    Raises
    ------
    UsageError
    """
    module, colon, name = text.partition(":")
    if not colon or not module or not name:
        raise UsageError(f"--model: expected MODULE:FACTORY, such as train:make_model, got {text!r}.")
    from torch import nn

    here = os.getcwd()  # noqa: PTH109
    sys.path.insert(0, here)  # as `python -m` does
    try:
        made: Any = importlib.import_module(module)
        for part in name.split("."):
            made = getattr(made, part)
        factory: Callable[[], Any] | None = None if isinstance(made, nn.Module) else made
        made = factory() if factory is not None else made
    except (Exception, SystemExit) as error:  # the user's own code: it may raise anything, or parse arguments
        raise UsageError(
            f"--model {text}: expected a function without arguments that makes the model, got "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}. Name one in a module that can be imported "
            "from here."
        ) from error
    finally:
        with contextlib.suppress(ValueError):  # the user's code may have changed the path
            sys.path.remove(here)
    if not isinstance(made, nn.Module):
        raise UsageError(f"--model {text}: expected a torch.nn.Module, got {type(made).__name__}.")
    return made
