"""Pages whose blocks of code are run: README.md by the tests, docs/**/*.md by the build of the documentation, which
shows their outputs.

A page is run in a folder of its own, which holds the recordings of `world.py`. Its Python blocks share their names, and
all blocks run in the order of the page. A comment just above a block may say otherwise, in parts that "; " divides:

- `not run: REASON`: it needs what is not here;
- `run by tests/integrations/test_pages.py`: it needs a trainer's library;
- `made before: REASON`: its result is there already;
- `refused`: its command ends with exit code 1, and one sentence;
- `given: model, optimizer, loader, loss_fn`: a small network and its data are there under these names;
- `shown: 12 lines`, or `shown: nothing`: how much of what it prints the documentation shows;
- `output of: COMMAND`, above a block of text: what that command prints, compared in its structure.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner, Result

from tests.examples.markdown import Block, blocks_of

ROOT = Path(__file__).parents[2]
CODE = ("sh", "python")
NOT_RUN, RUN_ELSEWHERE, MADE_BEFORE = "not run: ", "run by tests/integrations/test_pages.py", "made before: "
REFUSED, GIVEN, SHOWN, OUTPUT_OF = "refused", "given: ", "shown: ", "output of: "
WRITES = ("--output", "-o", "--plot", "--masks")
"""Options of commands that name a file which is written."""
COMMENTS = (NOT_RUN, RUN_ELSEWHERE, MADE_BEFORE, REFUSED, GIVEN, SHOWN, OUTPUT_OF)


@dataclass(frozen=True)
class Page:
    """One file of Markdown: its path, its text, its fenced blocks."""

    path: Path
    text: str
    blocks: list[Block]

    @property
    def name(self) -> str:
        """The path from the root of the repository."""
        return self.path.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Outcome:
    """What a block printed, how much of that is shown, and the figures that it wrote."""

    printed: str
    shown: str
    figures: tuple[Path, ...]


def says(block: Block, mark: str) -> str | None:
    """Return what the comment above a block says after a mark, or None."""
    return next((part.removeprefix(mark) for part in block.comment.split("; ") if part.startswith(mark)), None)


def page_of(path: Path) -> Page:
    """Return a file as a page."""
    text = path.read_text(encoding="utf-8")
    return Page(path, text, blocks_of(text))


def pages() -> list[Page]:
    """Return README.md and every page of the documentation that is no copy of something else."""
    files = [path for path in sorted((ROOT / "docs").rglob("*.md")) if not {"_build", "generated"} & set(path.parts)]
    return [page_of(path) for path in (ROOT / "README.md", *files)]


def is_run(block: Block) -> bool:
    """Return whether a block is code that is run where its page is run."""
    return block.language in CODE and all(says(block, mark) is None for mark in (NOT_RUN, RUN_ELSEWHERE, MADE_BEFORE))


@contextmanager
def page_folder(world: Path, name: str) -> Iterator[Path]:
    """Give a folder with the world's recordings, as hard links: no file of a store is ever changed in place."""
    folder = world.with_name(f"{world.name}-{name}")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world, folder, copy_function=os.link)
    yield folder


def commands() -> dict[str, click.Group]:
    """Return the commands by name. They are imported here, since pages may be read without them."""
    from analyzer.cli import cli
    from recorder.__main__ import main

    return {"analyzer": cli, "recorder": main}


def run_command(line: str) -> Result:
    """Run one line of a shell: a command of ours."""
    program, *arguments = shlex.split(line, comments=True)
    return CliRunner().invoke(commands()[program], arguments, prog_name=program)


def execute(page: Page, folder: Path) -> dict[int, Outcome]:
    """Run the blocks of a page in a folder. Returns what came out, by the line at which a block begins."""
    names: dict[str, Any] = {"__name__": "__main__"}
    results = {}
    with chdir(folder):
        for block in filter(is_run, page.blocks):
            before = _figures(folder)
            place = f"{page.name}:{block.line}"
            printed = _shell(block, place) if block.language == "sh" else _python(block, place, names)
            printed = printed.replace(f"{folder.resolve()}/", "")
            drawn = [file for file, changed in _figures(folder).items() if before.get(file) != changed]
            drawn.sort(key=lambda file: block.text.find(file.name))
            results[block.line] = Outcome(printed, _part(printed, says(block, SHOWN)), tuple(drawn))
    return results


def _shell(block: Block, place: str) -> str:
    printed = []
    for line in block.commands:
        done = run_command(line)
        expected = 1 if says(block, REFUSED) == "" else 0
        if done.exit_code != expected or (done.exception and not isinstance(done.exception, SystemExit)):
            raise AssertionError(f"{place}: {line}\nexit code {done.exit_code}\n{done.output}") from done.exception
        written_of(line, place)
        several = len(block.commands) > 1 and done.output.strip()
        printed.append(f"$ {line.split('  #')[0].strip()}\n{done.output}" if several else done.output)
    return "\n".join(printed)


def written_of(line: str, place: str) -> None:
    """Raise an AssertionError unless each file that a command names as its output is there, and not empty."""
    arguments = shlex.split(line, comments=True)
    for option in WRITES if "--dry-run" not in arguments else ():
        if option in arguments:
            file = Path(arguments[arguments.index(option) + 1])
            if not file.exists() or file.stat().st_size == 0:
                raise AssertionError(f"{place}: {line}\nexpected {file}, got none, or an empty file")


def _python(block: Block, place: str, names: dict[str, Any]) -> str:
    if (wanted := says(block, GIVEN)) is not None:
        from tests.docs.given import given

        names |= given(wanted.split(", "))
    said = io.StringIO()
    lines = "\n" * block.line  # so that a traceback names the line of the page
    with redirect_stdout(said), redirect_stderr(said):
        exec(compile(lines + block.text, place, "exec", dont_inherit=True), names)
    return said.getvalue()


def _figures(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*.png")}


def _part(printed: str, how_much: str | None) -> str:
    """What is shown of an output."""
    text = printed.strip("\n")
    if how_much == "nothing":
        return ""
    limit = re.fullmatch(r"(\d+) lines", how_much or "")
    lines = text.split("\n")
    if limit and len(lines) > int(limit[1]):
        return "\n".join([*lines[: int(limit[1])], "…"])
    return text
