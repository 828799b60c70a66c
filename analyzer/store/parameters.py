"""A recorded tensor, as the attributes of its array describe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parameter:
    """A recorded tensor: where it lies, what its axes mean, to which layer it belongs."""

    name: str
    path: str
    shape: tuple[int, ...]
    dtype: str
    layer: str
    module: str
    axes: tuple[str, ...]
    original_dtype: str
    layer_class: str = ""
    module_class: str = ""
    heads: int | None = None
    head_axis: int | None = None
    head_blocks: int = 1
    requires_grad: bool = True
    aliases: tuple[str, ...] = ()
    chunks: tuple[int, ...] = ()
    frozen: bool = False

    @property
    def weights(self) -> int:
        """Number of elements d."""
        count = 1
        for length in self.shape:
            count *= length
        return count


def parameter_of(path: str, attrs: Mapping[str, Any], shape: Sequence[int], dtype: str, **known: Any) -> Parameter:
    """The parameter that an array's attributes describe.

    Raises
    ------
    KeyError
        An attribute is missing; the error names it.
    TypeError, ValueError, OverflowError
        An attribute has a value that it cannot have.
    """
    heads, head_axis, blocks = attrs.get("heads"), attrs.get("head_axis"), attrs.get("head_blocks", 1)
    return Parameter(
        name=str(attrs["name"]),
        path=path,
        shape=tuple(int(length) for length in shape),
        dtype=dtype,
        layer=str(attrs["layer"]),
        module=str(attrs["module"]),
        axes=tuple(str(axis) for axis in attrs.get("axes", ())),
        original_dtype=str(attrs.get("original_dtype", dtype)),
        layer_class=str(attrs.get("layer_class", "")),
        module_class=str(attrs.get("module_class", "")),
        heads=None if heads is None or head_axis is None else int(heads),
        head_axis=None if heads is None or head_axis is None else int(head_axis),
        head_blocks=max(int(blocks), 1),
        requires_grad=bool(attrs.get("requires_grad", True)),
        frozen=bool(attrs.get("frozen", not attrs.get("requires_grad", True))),
        aliases=tuple(str(alias) for alias in attrs.get("aliases", ())),
        **known,
    )
