"""Every public error is raised by some test, which checks its text, and the remedy in its text can be carried out."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

import analyzer
import analyzer.errors
import recorder.errors
from analyzer.cli import cli as analyzer_command
from recorder import Recorder
from recorder.__main__ import main as recorder_command

ROOT = Path(__file__).parents[1]
PACKAGES = ("analyzer", "recorder")
PUBLIC = [
    (package.__name__.partition(".")[0], name)
    for package in (analyzer.errors, recorder.errors)
    for name, kind in vars(package).items()
    if isinstance(kind, type)
    and kind.__module__ == package.__name__
    and not name.endswith(("AnalyzerError", "AnalyzerWarning", "RecorderError"))
]


@cache
def _trees(folder: str) -> list[tuple[Path, ast.Module]]:
    files = sorted((ROOT / folder).rglob("*.py"))
    return [(file, ast.parse(file.read_text(encoding="utf-8"))) for file in files]


@cache
def _expected() -> set[tuple[str, str]]:
    """(package, error) of every `pytest.raises` or `pytest.warns` that also matches the text."""
    found = set()
    for _, tree in _trees("tests"):
        modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        origin = {
            alias.asname or alias.name: node.module or ""
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if ast.unparse(call.func) not in ("pytest.raises", "pytest.warns") or not call.args:
                continue
            if not any(keyword.arg == "match" for keyword in call.keywords):
                continue
            written = ast.unparse(call.args[0])
            name = written.rpartition(".")[2]
            head = written.partition(".")[0]
            home = origin.get(head, head if head in modules or head in PACKAGES else "")
            found.add((home.partition(".")[0], name))
    return found


def test_public_functions_are_not_hidden_by_modules_of_their_name() -> None:
    """`analyzer.equilibration` was the module, as soon as anything had imported it."""
    for module in pkgutil.walk_packages(analyzer.__path__, "analyzer."):
        if module.name != "analyzer.__main__":
            importlib.import_module(module.name)
    for name in set(analyzer.__all__) - {"__version__"}:
        assert callable(getattr(analyzer, name)), name


@pytest.mark.parametrize(("package", "name"), PUBLIC, ids=[f"{package}.{name}" for package, name in PUBLIC])
def test_an_error_is_raised_somewhere_and_its_text_matched(package: str, name: str) -> None:
    assert (package, name) in _expected()


def _messages() -> Iterator[tuple[str, str]]:
    """Place and text of every message that is raised, what is filled in replaced by a mark."""
    for package in PACKAGES:
        for file, tree in _trees(package):
            for node in ast.walk(tree):
                if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith(
                    ("Error", "Exception", "_damaged")
                ):
                    continue
                for argument in node.args:
                    if isinstance(argument, (ast.JoinedStr, ast.Constant)):
                        yield f"{file.relative_to(ROOT)}:{node.lineno}", _text(argument)


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "▮"


def _options(command: click.Command) -> set[str]:
    below = command.commands.values() if isinstance(command, click.Group) else ()
    own = {name for parameter in command.params for name in parameter.opts}
    return own.union(*(_options(child) for child in below))


COMMANDS = {"analyzer": analyzer_command, "recorder": recorder_command}
FOREIGN = {"--upgrade"}  # of pip


def test_options_that_errors_name_exist() -> None:
    known = FOREIGN.union(*(_options(command) for command in COMMANDS.values()))
    named = {
        (where, option) for where, text in _messages() for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text)
    }
    assert len(named) > 50
    assert not [(where, found) for where, found in sorted(named) if found not in known]


def test_commands_that_errors_name_exist() -> None:
    pattern = r"(?:: |or |`)(analyzer|recorder) ([a-z]+)\b"
    named = {(where, *found) for where, text in _messages() for found in re.findall(pattern, text)}
    assert {(program, word) for _, program, word in named} >= {("recorder", "recover")}
    for where, program, word in named:
        assert word in COMMANDS[program].commands, where


def test_python_that_errors_name_exists() -> None:
    """Functions of the analyzer, methods of a recorder, arguments of both: `recorder.log(...)`, `stride=2`."""
    arguments = set(inspect.signature(Recorder).parameters)
    for kind in (analyzer.temperature, analyzer.fit, analyzer.rows, analyzer.row_masks, analyzer.equilibration):
        arguments |= set(inspect.signature(kind).parameters)
    foreign = {
        "keep_attrs",
        "by",
        "assign",
        "strict",
        "weights_only",
    }  # xarray.set_options, load_state_dict, torch.load
    counted = 0
    for where, text in _messages():
        for name in re.findall(r"\banalyzer\.(\w+)\(", text):
            counted += 1
            assert name in analyzer.__all__, where
        for name in re.findall(r"\brecorder\.(\w+)\(", text):
            counted += 1
            assert hasattr(Recorder, name), where
        for name in re.findall(r"(?<![\w.'\"])([a-z_]+)=(?=[\[\"'\dTFN{])", text):
            counted += 1
            assert name in arguments | foreign, (where, name)
    assert counted > 15


def test_a_message_says_what_was_expected_and_what_was_found() -> None:
    """`Subject: expected X, got Y. Why. What to do.` for the messages that are written out where they are raised."""
    odd = [
        (where, text)
        for where, text in _messages()
        if len(text) > 60
        and where.startswith("analyzer/")
        and not where.startswith("analyzer/statistics/")  # plain ValueErrors for whoever writes code against it
        and not re.search(r"expected .*got\b", text, re.DOTALL)
        and not text.startswith(("Rows: ▮", "elements are"))  # of each parameter its own; an assertion
    ]
    assert not odd
