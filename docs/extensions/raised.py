"""The texts of all errors and warnings of both packages, read from their source.

An error is found where it is made: `SomethingError(…)`, `warn(…, SomethingWarning)`, `refused(SomethingError, …)`. Its
text stands there, or in what a name is given in that function or module, or in what a function returns. Where a text is
filled in, it has `…`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("analyzer", "recorder")
UNKNOWN = "…"
KIND = re.compile(r"[A-Z]\w+(Error|Warning)")
SHORT = 20
"""Texts of fewer letters say nothing by themselves: what is filled in does."""

Given = dict[str, list[ast.expr]]
Functions = dict[str, list[ast.FunctionDef]]


def messages() -> Iterator[tuple[str, str, str]]:
    """Yield package, error and text of each place that makes an error; the text is "" where it comes from elsewhere."""
    for package in PACKAGES:
        yield from ((package, *found) for found in messages_of(sorted((ROOT / package).rglob("*.py"))))


def messages_of(files: list[Path]) -> Iterator[tuple[str, str]]:
    """Yield error and text of each place in these files that makes an error."""
    modules = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    functions: Functions = {}
    for node in (node for module in modules for node in ast.walk(module)):
        if isinstance(node, ast.FunctionDef):
            functions.setdefault(node.name, []).append(node)
    for nodes, given in (scope for module in modules for scope in _scopes(module)):
        for call in nodes:
            if isinstance(call, ast.Call) and (name := _kind(call)):
                texts = [text for argument in call.args for text in _texts(argument, given, functions)]
                yield from ((name, text) for text in texts or [""])


def _kind(call: ast.Call) -> str:
    """Return the error that a call makes, or that it hands to a function which makes it; "" if none."""
    names = [ast.unparse(node).rpartition(".")[2] for node in (call.func, *call.args) if not isinstance(node, ast.Call)]
    if names and names[0] == "fail":  # of click: what was typed after an option is not valid
        return "UsageError"
    return next((name for name in names if KIND.fullmatch(name)), "") if call.args else ""


def _scopes(module: ast.Module) -> Iterator[tuple[list[ast.AST], Given]]:
    """Yield the nodes of each function, and of the module without them, with what names are given there."""
    functions = [list(ast.walk(node)) for node in _outer(module)]
    inside = {id(node) for nodes in functions for node in nodes}
    rest = [node for node in ast.walk(module) if id(node) not in inside]
    for nodes in (rest, *functions):
        yield nodes, _given(rest) | _given(nodes)


def _outer(node: ast.AST) -> Iterator[ast.FunctionDef]:
    """Yield the functions below a node that are in no other function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            yield child
        else:
            yield from _outer(child)


def _given(nodes: list[ast.AST]) -> Given:
    """Return what each name is given, by `=`, by `:=` and by `append`."""
    found: Given = {}
    for node in nodes:
        if isinstance(node, (ast.Assign, ast.NamedExpr)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                found.setdefault(ast.unparse(target), []).append(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "append":
            found.setdefault(ast.unparse(node.func.value), []).extend(node.args)
    return found


def _texts(node: ast.expr | None, given: Given, functions: Functions) -> Iterator[str]:
    """Yield the texts that an expression may be. A short text is passed over for those that are filled into it."""
    if isinstance(node, (ast.JoinedStr, ast.Constant)):
        text = " ".join(_text(node).split())
        if len(text) > SHORT:
            yield text
        else:
            for part in ast.walk(node):
                if part is not node and isinstance(part, (ast.Name, ast.Call)):
                    yield from _texts(part, given, functions)
    elif isinstance(node, ast.Name):
        for value in given.get(node.id, []):
            yield from _texts(value, {}, functions)
    elif isinstance(node, ast.ListComp):
        yield from _texts(node.elt, {}, functions)
    elif isinstance(node, ast.Call):
        for function in functions.get(ast.unparse(node.func), []):
            for part in ast.walk(function):
                if isinstance(part, ast.Return):
                    yield from _texts(part.value, {}, {})


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else UNKNOWN
