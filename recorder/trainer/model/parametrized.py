"""Finds the module of a parametrized tensor, which torch keeps in a submodule: weight_norm and spectral_norm do so.

A parametrized `conv.weight` is computed from `conv.parametrizations.weight.original`, or from `original0`,
`original1`, …. These are weights of `conv`.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList, type_before_parametrizations


def home_of(modules: Mapping[str, nn.Module], owner: str, key: str) -> tuple[str, str]:
    """Return the dotted name of the module that a parameter belongs to, and the parameter's name there.

    Parameters
    ----------
    modules : mapping of str to torch.nn.Module
        All modules of the model, by dotted name.
    owner, key : str
        Dotted name of the module that holds it, and its name there.
    """
    above, found, name = f".{owner}".rpartition(".parametrizations.")
    home = above.removeprefix(".")
    is_original = found and isinstance(modules[owner], ParametrizationList) and key.startswith("original")
    return (home, name) if is_original and home in modules else (owner, key)


def class_of(module: nn.Module) -> type[nn.Module]:
    """Return the class of a module as its author wrote it. torch derives another for a parametrized module."""
    return type_before_parametrizations(module)


def whole_shape(holder: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the tensor that a parametrization computes. A tensor without one has its own shape.

    A parametrization may have several originals: weight_norm has lengths (rows, 1) and directions (rows, columns). The
    longest size along each axis is the whole one. If the originals do not fit each other, it is the tensor's own shape.
    """
    if not isinstance(holder, ParametrizationList):
        return shape
    originals = [tensor for key, tensor in holder._parameters.items() if key.startswith("original")]
    shapes = [tuple(tensor.shape) for tensor in originals if tensor is not None]
    if any(len(other) != len(shape) for other in shapes):
        return shape
    whole = tuple(max(lengths) for lengths in zip(*shapes, strict=True))
    fits = all(length in (1, most) for other in shapes for length, most in zip(other, whole, strict=True))
    return whole if fits else shape
