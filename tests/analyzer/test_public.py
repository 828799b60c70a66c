"""The public names of the analyzer: loaded when they are looked up, and written once more for type checkers."""

from __future__ import annotations

import ast
from pathlib import Path

import analyzer


def test_type_checkers_know_every_public_name() -> None:
    (block,) = (
        node
        for node in ast.parse(Path(analyzer.__file__).read_text()).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    )
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert {alias.asname: node.module for node in imports for alias in node.names} == analyzer._PUBLIC
