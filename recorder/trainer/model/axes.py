"""What the axes of a parameter mean, by known conventions and by the sizes of a class's modules. Nothing is guessed.

A matrix that a class multiplies as `W x`, as `torch.nn.Linear` does, has the axes (output, input). One that a class
multiplies as `x W` has (input, output). The shape of a square matrix does not tell which. Its class does: all modules
of a class multiply in one way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from recorder.trainer.model.parametrized import class_of, home_of, whole_shape

Axes = tuple[str, ...]

_OUT_IN: Axes = ("output", "input")
_IN_OUT: Axes = ("input", "output")
_INPUTS = ("in_features", "in_channels", "in_feats", "_in_feats", "input_dim", "in_dim", "input_size", "n_in", "nx")
_OUTPUTS = (
    "out_features",
    "out_channels",
    "out_feats",
    "_out_feats",
    "output_dim",
    "out_dim",
    "output_size",
    "n_out",
    "nf",
)
_TORCH = (nn.Linear, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
"""All of their matrices are multiplied as `W x`."""
_PYG: Mapping[tuple[str, str], Axes] = {
    ("Linear", "weight"): _OUT_IN,
    ("SparseLinear", "weight"): _IN_OUT,
    ("GCN2Conv", "weight1"): _IN_OUT,
    ("GCN2Conv", "weight2"): _IN_OUT,
    ("RGCNConv", "root"): _IN_OUT,
    ("GMMConv", "g"): _IN_OUT,
    ("RGATConv", "q"): _IN_OUT,
    ("RGATConv", "k"): _IN_OUT,
    ("RGATConv", "e"): _IN_OUT,
    ("RGATConv", "l2"): _IN_OUT,
}
"""Matrices that layers of torch_geometric own, as their code multiplies them."""


class Conventions:
    """How the classes of a model multiply their matrices. Lifetime: one look at a model.

    Parameters
    ----------
    modules : mapping of str to torch.nn.Module
        All modules of the model, by dotted name.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._modules = modules
        self._of_key: dict[tuple[type, str], set[Axes]] = {}
        self._of_class: dict[type, set[Axes]] = {}
        for module in modules.values():
            for key, tensor in module._parameters.items():
                if tensor is None or nn.parameter.is_lazy(tensor) or tensor.dim() != 2:
                    continue
                if (axes := _told_by_sizes(module, key, tuple(tensor.shape))) is not None:
                    self._of_key.setdefault((class_of(module), key), set()).add(axes)
                    self._of_class.setdefault(class_of(module), set()).add(axes)

    def axes(self, owner: str, key: str, shape: tuple[int, ...]) -> Axes:
        """Return the meaning of each axis of a parameter, `""` where it is not known.

        Parameters
        ----------
        owner : str
            Dotted name of the module that holds it.
        key : str
            Its name there.
        shape : tuple of int
        """
        whole = whole_shape(self._modules[owner], shape)
        home, name = home_of(self._modules, owner, key)
        axes = self._axes(self._modules[home], name, whole)
        return tuple(axis if own == all_of_it else "" for axis, own, all_of_it in zip(axes, shape, whole, strict=True))

    def _axes(self, module: nn.Module, key: str, shape: tuple[int, ...]) -> Axes:
        if isinstance(module, nn.modules.conv._ConvNd) and len(shape) > 2:
            ends = _IN_OUT if module.transposed else _OUT_IN
            return ends + ("kernel",) * (len(shape) - 2)
        if len(shape) == 1:
            return ("output",)
        if len(shape) != 2:
            return ("",) * len(shape)
        if (told := _told_by_sizes(module, key, shape)) is not None:
            return told
        votes = self._of_key.get((class_of(module), key), set())
        if not votes and shape[0] == shape[1]:
            votes = self._of_class.get(class_of(module), set())
        if len(votes) == 1:
            return next(iter(votes))
        return _known(module, key) or ("", "")


def _told_by_sizes(module: nn.Module, key: str, shape: tuple[int, ...]) -> Axes | None:
    """Return the axes of a matrix if only one of its two sizes can be the module's number of outputs; else None."""
    rows, columns = shape
    of_pyg = type(module).__module__.partition(".")[0] == "torch_geometric"
    if rows == columns or isinstance(module, (nn.Embedding, nn.EmbeddingBag)) or (of_pyg and key != "weight"):
        return None
    inputs, outputs = _size(module, _INPUTS), {_size(module, _OUTPUTS), _length(module._parameters.get("bias"))}
    fits = [
        axes
        for axes, read, made in ((_IN_OUT, rows, columns), (_OUT_IN, columns, rows))
        if made in outputs and inputs in (None, read)
    ]
    return fits[0] if len(fits) == 1 else None


def _size(module: nn.Module, names: Iterable[str]) -> int | None:
    found = (getattr(module, name, None) for name in names)
    return next((size for size in found if isinstance(size, int) and not isinstance(size, bool)), None)


def _length(bias: nn.Parameter | None) -> int | None:
    return None if bias is None or nn.parameter.is_lazy(bias) or bias.dim() != 1 else bias.shape[0]


def _known(module: nn.Module, key: str) -> Axes | None:
    """Return the axes by the convention of a class of torch or torch_geometric, by name so that neither is imported."""
    if isinstance(module, _TORCH):
        return _OUT_IN
    for base in type(module).__mro__:
        if base.__module__.partition(".")[0] == "torch_geometric" and (base.__name__, key) in _PYG:
            return _PYG[base.__name__, key]
    return None
