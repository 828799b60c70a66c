"""Docstrings are plain text with a little markup: what would be markup by accident, as in `runs/*.zarr`, is escaped."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

KEPT = re.compile(r"`[^`]*`|(?<![\w*])\*\w[^*`]*(?<=[\w.])\*(?![\w*])")
"""Code, and what is meant to be emphasised."""


def escaped(lines: list[str]) -> list[str]:
    """Return the lines of a docstring, with stray `*` and `|` escaped; examples and names of arguments stay."""
    result, example = [], False
    for line in lines:
        example = (example or line.lstrip().startswith(">>>")) and bool(line.strip())
        as_it_is = example or line.lstrip().startswith("*")
        result.append(line if as_it_is else _escaped(line))
    return result


def _escaped(line: str) -> str:
    parts, end = [], 0
    for kept in KEPT.finditer(line):
        parts += [re.sub(r"([*|])", r"\\\1", line[end : kept.start()]), kept[0]]
        end = kept.end()
    return "".join([*parts, re.sub(r"([*|])", r"\\\1", line[end:])])


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape a docstring, before numpydoc takes it apart."""
    lines[:] = escaped(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx, before numpydoc (priority 500)."""
    app.connect("autodoc-process-docstring", process, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
