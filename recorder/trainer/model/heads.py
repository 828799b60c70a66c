"""Which axis of a parameter is divided among attention heads, for classes that are known. Nothing is guessed.

These are layers of torch_geometric with `heads` and `out_channels`, torch's MultiheadAttention, and the attention of
transformers, whose modules have the same names in most of its models. Neither library is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

_SEPARATE = frozenset(("q_proj", "k_proj", "v_proj", "query", "key", "value", "q_lin", "k_lin", "v_lin", "q", "k", "v"))
"""Modules of transformers that make the queries, keys or values of all heads, head after head."""
_SHARED = frozenset(("k_proj", "v_proj", "key", "value", "k", "v"))
"""Those that make keys and values: several heads of queries may share one head of keys and values."""
_MERGES = frozenset(("o_proj", "out_proj", "out_lin", "o"))
"""Modules that take the outputs of all heads, head after head."""
_JOINT: Mapping[tuple[str, str], bool] = {
    ("GPT2Attention", "c_attn"): True,
    ("DecisionTransformerGPT2Attention", "c_attn"): True,
    ("GPTNeoXAttention", "query_key_value"): False,
    ("BloomAttention", "query_key_value"): False,
}
"""Modules that make queries, keys and values together: all queries before all keys (True), or head after head."""
_JOINT_MERGES = frozenset(
    (
        ("GPT2Attention", "c_proj"),
        ("DecisionTransformerGPT2Attention", "c_proj"),
        ("GPTNeoXAttention", "dense"),
        ("BloomAttention", "dense"),
    )
)
_SIZE = ("head_dim", "attention_head_size", "key_value_proj_dim", "head_size")
_COUNT = ("num_attention_heads", "num_heads", "n_heads", "n_head")
_SHARED_COUNT = ("num_key_value_heads",)


@dataclass(frozen=True, slots=True)
class Heads:
    """How heads divide a parameter.

    Attributes
    ----------
    heads : int
    axis : int
    blocks : int
        Equal parts of the axis, such as queries, keys and values. The heads divide each of them.
    """

    heads: int
    axis: int
    blocks: int = 1


def heads_of(
    modules: Mapping[str, nn.Module], layer: str, owner: str, key: str, shape: tuple[int, ...], axes: tuple[str, ...]
) -> Heads | None:
    """Return how heads divide a parameter; None if they do not, or it is not known.

    Parameters
    ----------
    modules : mapping of str to torch.nn.Module
        All modules of the model, by dotted name.
    layer, owner, key : str
        Dotted names of its layer and of its module, and its own name there.
    shape : tuple of int
    axes : tuple of str
        The meaning of each axis.
    """
    found = (
        _of_graph(modules[layer], shape, axes)
        or _of_torch(modules, owner, key)
        or _of_transformers(modules, owner, key, shape, axes)
    )
    if found is None or found.axis >= len(shape) or shape[found.axis] % (found.heads * found.blocks):
        return None
    return found


def _of_graph(layer: nn.Module, shape: tuple[int, ...], axes: tuple[str, ...]) -> Heads | None:
    heads, channels = getattr(layer, "heads", None), getattr(layer, "out_channels", None)
    if not isinstance(heads, int) or not isinstance(channels, int) or isinstance(heads, bool) or heads < 1:
        return None
    if len(shape) == 3 and shape[:2] == (1, heads):
        return Heads(heads, 1)
    if axes == ("input", "output"):
        return Heads(heads, 1) if shape[1] == heads * channels else None
    if shape and shape[0] == heads * channels and (len(shape) != 2 or axes[0] == "output"):
        return Heads(heads, 0)
    return None


def _of_torch(modules: Mapping[str, nn.Module], owner: str, key: str) -> Heads | None:
    """Return the heads of a `torch.nn.MultiheadAttention`, whose queries, keys and values share a matrix, or do not."""
    module, (above, _, child) = modules[owner], owner.rpartition(".")
    if isinstance(module, nn.MultiheadAttention):
        axis, blocks = {
            "in_proj_weight": (0, 3),
            "in_proj_bias": (0, 3),
            "q_proj_weight": (0, 1),
            "k_proj_weight": (0, 1),
            "v_proj_weight": (0, 1),
            "bias_k": (2, 1),
            "bias_v": (2, 1),
        }.get(key, (0, 0))
        return Heads(module.num_heads, axis, blocks) if blocks else None
    merges = modules.get(above)
    if child == "out_proj" and key == "weight" and isinstance(merges, nn.MultiheadAttention):
        return Heads(merges.num_heads, 1)
    return None


def _of_transformers(
    modules: Mapping[str, nn.Module], owner: str, key: str, shape: tuple[int, ...], axes: tuple[str, ...]
) -> Heads | None:
    if key not in ("weight", "bias"):
        return None
    above, _, child = owner.rpartition(".")
    attention, names = modules.get(above), _names(modules.get(above))
    if not names and child == "dense" and above.rpartition(".")[2] == "output":  # as BERT's, beside its attention
        attention = modules.get(f"{above.removesuffix('output')}self")
        return _merged(attention, shape, axes, key) if _names(attention) else None
    if attention is None or not names:
        return None
    joint = [_JOINT[name, child] for name in names if (name, child) in _JOINT]
    if child in _MERGES or any((name, child) in _JOINT_MERGES for name in names):
        return _merged(attention, shape, axes, key)
    if "output" not in axes or not (joint or child in _SEPARATE):
        return None
    axis, size = axes.index("output"), _number(attention, _SIZE)
    count = (_number(attention, _SHARED_COUNT) if child in _SHARED else None) or _number(attention, _COUNT)
    if size is None or count is None:
        return None
    parts, rest = divmod(shape[axis], count * size)
    if rest or (parts != 1 and not joint):
        return None
    return Heads(count, axis, parts if joint and joint[0] else 1)


def _merged(attention: nn.Module | None, shape: tuple[int, ...], axes: tuple[str, ...], key: str) -> Heads | None:
    """Return the heads of the matrix that reads the outputs of all heads: along its inputs. Its bias has none."""
    if attention is None or key != "weight" or "input" not in axes:
        return None
    axis, count, size = axes.index("input"), _number(attention, _COUNT), _number(attention, _SIZE)
    return None if count is None or size is None or shape[axis] != count * size else Heads(count, axis)


def _names(module: nn.Module | None) -> list[str]:
    """Return the names of a module's classes, if it is an attention of transformers; else none."""
    classes = [] if module is None else [one for one in type(module).__mro__ if _is_of_transformers(one)]
    return [one.__name__ for one in classes] if any("Attention" in one.__name__ for one in classes) else []


def _is_of_transformers(one: type) -> bool:
    return one.__module__.partition(".")[0] == "transformers"


def _number(module: nn.Module, names: tuple[str, ...]) -> int | None:
    """Return the first attribute in `names`, of a module or of its configuration, that is a positive integer."""
    for holder in (module, getattr(module, "config", None)):
        for name in names:
            found = getattr(holder, name, None)
            if isinstance(found, int) and not isinstance(found, bool) and found > 0:
                return found
    return None
