"""The analyzer's own commands, run in this process, their answers in files."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import click

from analyzer.cli import cli


def analyzer_command(*words: object, output: Path, plot: Path | None = None) -> dict[str, Any] | None:
    """Run `analyzer WORDS --format json --output FILE`, as in the shell.

    Returns
    -------
    The answer that it wrote; None where the analyzer refused. Then the file holds the reason.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    arguments = [*map(str, words), "--format", "json", "--output", str(output)]
    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        arguments += ["--plot", str(plot)]
    print("analyzer", *_shown(arguments), file=sys.stderr, flush=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cli.main(arguments, prog_name="analyzer", standalone_mode=False)
    except click.ClickException as error:
        print(error.format_message(), file=sys.stderr, flush=True)
        output.write_text(json.dumps({"refused": error.format_message()}, indent=1) + "\n")
        return None
    content = read(output)
    output.write_text(json.dumps(content, separators=(",", ":")) + "\n")  # without its indents half as long
    return content


def read(path: Path) -> dict[str, Any] | None:
    """Return the answer in a file; None where there is no file, or the analyzer refused."""
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text())
    return None if "refused" in content else content


def _shown(arguments: list[str]) -> list[str]:
    stores = [word for word in arguments if word.endswith((".zarr", ".moments"))]
    if len(stores) < 3:
        return arguments
    first = arguments.index(stores[0])
    return [*arguments[: first + 1], f"… ({len(stores)} runs)", *[w for w in arguments[first:] if w not in stores]]
