"""The directive `command`: the help of a command of click, as a page. `.. command:: analyzer temperature`."""

from __future__ import annotations

import inspect
import re

import click
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from analyzer.cli import cli as analyzer_command
from recorder.__main__ import main as recorder_command

COMMANDS: dict[str, click.Command] = {"analyzer": analyzer_command, "recorder": recorder_command}


def command_of(words: list[str]) -> click.Command:
    """Return the command that these words call."""
    command = COMMANDS[words[0]]
    for word in words[1:]:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    return command


def names(command: click.Command, name: str) -> list[str]:
    """Return the name of a command and those of all commands below it."""
    below = command.commands if isinstance(command, click.Group) else {}
    return [name, *(found for word, child in below.items() for found in names(child, f"{name} {word}"))]


def paragraphs(help_text: str) -> list[tuple[bool, str]]:
    r"""Return the paragraphs of a help text, and whether each stands as it is (click's mark `\b`) or flows."""
    found = []
    for part in re.split(r"\n\s*\n", inspect.cleandoc(help_text)):
        as_it_is = part.startswith("\b\n")
        found.append((as_it_is, part.removeprefix("\b\n") if as_it_is else " ".join(part.split())))
    return found


def language_of(text: str) -> str:
    """Return the language of a paragraph that stands as it is: commands, or a script's lines."""
    return "sh" if re.match(r"(analyzer|recorder) ", text) else "python"


class CommandDirective(Directive):
    """Usage, text, examples and options of a command."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return the nodes of the command's page, without its title."""
        return nodes_of(self.arguments[0])


def nodes_of(name: str) -> list[nodes.Node]:
    """Return usage, text, examples and options of the command of that name."""
    words = name.split()
    command = command_of(words)
    context = click.Context(command, info_name=name)
    usage = command.get_usage(context).removeprefix("Usage: ")
    found: list[nodes.Node] = [_code(" ".join(usage.split()), "none")]
    found += [_code(text, language_of(text)) if raw else _text(text) for raw, text in paragraphs(command.help or "")]
    options = [option for option in command.params if isinstance(option, click.Option)]
    listed = nodes.definition_list(classes=["options"])
    for option in options:
        record = option.get_help_record(context)
        if record is not None:
            term = nodes.term("", "", nodes.literal("", record[0]))
            listed += nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph("", record[1])))
    if listed.children:
        found += [nodes.rubric("", "Options"), listed]
    return found


def _code(text: str, language: str) -> nodes.literal_block:
    return nodes.literal_block(text, text, language=language)


def _text(text: str) -> nodes.paragraph:
    """A paragraph; what stands between backticks in it is code."""
    paragraph = nodes.paragraph()
    for number, part in enumerate(text.split("`")):
        paragraph += nodes.literal("", part) if number % 2 else nodes.Text(part)
    return paragraph


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("command", CommandDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
