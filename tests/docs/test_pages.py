"""README.md and the pages of the documentation, executed: blocks of code, commands and expressions in tables.

The blocks of all pages but README.md are run by `make docs`; a plain `pytest` runs them here, too.

What is run, and how a page says otherwise: `tests/docs/pages.py`. What cannot run here (an environment is made,
packages are installed) is looked up: targets of the Makefile, extras of pyproject.toml. What needs a trainer's library
is run by tests/integrations/test_pages.py.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from examples import demo
from tests.docs.pages import (
    CODE,
    COMMENTS,
    NOT_RUN,
    OUTPUT_OF,
    Page,
    commands,
    execute,
    page_folder,
    page_of,
    pages,
    run_command,
    says,
)
from tests.docs.world import make_world
from tests.examples.markdown import Block, inline_code

pytestmark = pytest.mark.xdist_group("pages")

ROOT = Path(__file__).parents[2]
PAGES = pages()
README = PAGES[0]
STEPS, BRANCH_STEPS, BEFORE, SETTLE = 900, 60, 500, 20
OURS = re.compile(r"(analyzer|recorder) \w+ [^…]*$")
EXPRESSION = re.compile(r"(run(\.thermo\.|\.sizes|\[)|sweep\.thermo\.)[^…]*[)\]]$|analyzer\.\w+\([^()…]*\)$")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("pages") / "world", STEPS, BRANCH_STEPS, BEFORE, SETTLE)


@pytest.fixture(scope="module")
def here(world: Path) -> Iterator[Path]:
    """A folder with the recordings, for commands of single lines."""
    with page_folder(world, "lines") as folder, chdir(folder):
        yield folder


@pytest.fixture(autouse=True)
def _figures_are_closed() -> Iterator[None]:
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.mark.parametrize(
    "page", [README, *(pytest.param(page, marks=pytest.mark.built) for page in PAGES[1:])], ids=lambda page: page.name
)
def test_a_page_runs(world: Path, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT) + os.pathsep + os.environ.get("PYTHONPATH", ""))
    with page_folder(world, page.name.replace("/", "-")) as folder:
        execute(page, folder)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page: Page) -> None:
    assert len(page.blocks) == len(re.findall("^```", page.text, re.MULTILINE)) / 2
    for block in page.blocks:
        place = f"{page.name}:{block.line}"
        assert block.language in (*CODE, "text") or re.fullmatch(r"\{\w+\}.*", block.language), (
            f"{place}: {block.language!r}"
        )
        assert all(part.startswith(COMMENTS) for part in block.comment.split("; ") if block.comment), place
        assert (says(block, OUTPUT_OF) is None) or block.language == "text", place


def _lines() -> list[str]:
    found = (code for page in PAGES for code in inline_code(page.text))
    return list(dict.fromkeys(code for code in found if OURS.match(code)))


@pytest.mark.parametrize("command", _lines())
def test_a_command_in_the_text_runs(here: Path, command: str) -> None:
    done = run_command(command)
    assert done.exit_code == 0, done.output
    assert done.output.strip()


def test_expressions_in_tables_run(here: Path) -> None:
    import analyzer

    names: dict[str, Any] = {
        "analyzer": analyzer,
        "run": analyzer.open_run("runs/demo.zarr"),
        "sweep": analyzer.open_sweep("runs/demo-rates/*.zarr"),
        "tree": analyzer.open_run("runs/demo.zarr"),
    }
    tried = [code for page in PAGES for code in inline_code(page.text) if EXPRESSION.match(code)]
    for code in dict.fromkeys(tried):
        assert eval(code, names) is not None, code
    assert len(set(tried)) > 15


def test_every_command_is_shown_in_use() -> None:
    shown = [line for page in PAGES for block in page.blocks if block.language == "sh" for line in block.commands]
    names = {tuple(shlex.split(command, comments=True)[:2]) for command in [*shown, *_lines()]}
    expected = {(program, name) for program, group in commands().items() for name in group.commands}
    assert expected <= names, expected - names


def test_the_loop_of_the_readme_recorded_every_step(here: Path) -> None:
    import xarray as xr

    with xr.open_datatree("runs/gcn.zarr", engine="zarr", chunks={}) as run:
        assert run["step"].values.tolist() == list(range(11)), "two epochs of five batches"
        assert run["epoch"].values[1:].tolist() == [0] * 5 + [1] * 5
        assert run.attrs["hyperparameters"] == {"learning_rate": 1e-3, "batch_size": 32, "seed": 0}


def test_plain_xarray_gives_our_number(here: Path) -> None:
    (block,) = (b for page in PAGES for b in page.blocks if b.language == "python" and "xr.open_datatree" in b.text)
    names: dict[str, Any] = {}
    exec(compile(block.text, "page", "exec"), names)
    import analyzer

    ours = analyzer.open_run("runs/demo.zarr").thermo.temperature(by="parameter", parameter="conv2.lin.weight")
    np.testing.assert_allclose(names["T"].compute(), ours["temperature"].values.item(), rtol=1e-12)


@pytest.mark.parametrize(
    "block", [b for p in PAGES for b in p.blocks if says(b, OUTPUT_OF)], ids=lambda b: f"line {b.line}"
)
def test_printed_output_is_what_comes_out(here: Path, block: Block) -> None:
    """In its structure, since the last digits of a network's weights depend on the machine: the same header, rows,
    counts and caption, and nothing flagged. This demo has fewer steps, but it begins close to equilibrium: its
    temperatures are the page's to a factor of 1.5, which is far beyond their error bars.
    """
    done = run_command(says(block, OUTPUT_OF) or "")
    assert done.exit_code == 0, done.output
    header, line, *printed = (text.strip() for text in block.text.strip().splitlines())
    real_header, real_line, *real = (text.strip() for text in done.stdout.strip().splitlines())
    columns, real_columns = re.split(r"  +", header), re.split(r"  +", real_header)
    assert columns == real_columns == ["layer", "weights", "T ± standard error", "n eff"]
    assert set(line) == set(real_line) == {"─"}
    assert len(printed) == len(real)
    captions = [text.replace(f"{STEPS:,}", "4,000") for text in real[-3:]]
    assert printed[-3:] == captions == ["", *printed[-2:]]
    for row, real_row in zip(printed[:-3], real[:-3], strict=True):
        cells, real_cells = (dict(zip(columns, re.split(r"  +", one), strict=True)) for one in (row, real_row))
        for name in ("layer", "weights"):
            assert cells[name] == real_cells[name]
        heat, real_heat = _heat(cells), _heat(real_cells)
        assert 1 / 1.5 < heat[0] / real_heat[0] < 1.5, (row, real_row)
        for told, (value, error) in ((cells, heat), (real_cells, real_heat)):
            assert float(told["n eff"]) > 200, "an error bar to rely on"
            assert error < 0.1 * value


def _heat(cells: dict[str, str]) -> tuple[float, float]:
    """The temperature of a row and its standard error."""
    value, error = cells["T ± standard error"].split(" ± ")
    return float(value), float(error)


def test_what_is_not_run_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [line for page in PAGES for b in page.blocks if says(b, NOT_RUN) for line in b.commands]
    for command in lines:
        program, *arguments = shlex.split(command, comments=True)
        if program == "make":
            assert re.search(rf"^{arguments[0]}:", makefile, re.MULTILINE), command
        elif program == "pip" and arguments[1].startswith("."):
            named_extras = re.fullmatch(r"\.\[([\w,-]+)\]", arguments[1]).group(1).split(",")  # type: ignore[union-attr]
            assert set(named_extras) <= extras.keys(), command
            needed = {
                re.split(r"[\[>=]", wanted)[0]
                for wanted in project["dependencies"] + [w for extra in named_extras for w in extras[extra]]
            }
            named = set(re.findall(r"\b(numpy|zarr|numcodecs|torch|dask|xarray|numba|matplotlib)\b", command))
            if len(named_extras) == 1 and "#" in command and "no torch" in command:
                assert "torch" not in needed
                named -= {"torch"}
            if named_extras[0] in ("recorder", "analyzer"):
                assert named <= needed, command
        elif program in ("analyzer", "recorder"):
            assert arguments[0] in commands()[program].commands, command
        elif program == "python":
            script = f"{arguments[1].replace('.', '/')}.py" if arguments[0] == "-m" else arguments[0]
            assert (ROOT / script).exists(), command
        else:
            assert program in ("dask", "eval"), command
    assert project["requires-python"] == ">=3.11"
    assert "Python 3.11 or newer" in README.text


def test_the_demo_is_as_long_as_the_readme_says(capsys: pytest.CaptureFixture[str]) -> None:
    steps = re.search(r"records ([\d,]+) steps", README.text)
    assert steps is not None
    with pytest.raises(SystemExit):
        demo.main(["--help"])
    assert f"recorded steps of the long run (default: {steps[1]})" in " ".join(capsys.readouterr().out.split())
    assert "\t$(BIN)/analyzer temperature runs/demo.zarr --by layer" in (ROOT / "Makefile").read_text()


def test_options_and_models_that_the_text_names_exist() -> None:
    def options(command: click.Command) -> set[str]:
        below = command.commands.values() if isinstance(command, click.Group) else ()
        own = {name for parameter in command.params for name in parameter.opts}
        return own.union(*(options(child) for child in below)) | {"--help"}

    known = set().union(*(options(command) for command in commands().values()))
    elsewhere = ("docs/coming-from/",)  # their tables name options of other programs
    ours = [page for page in PAGES if not page.name.startswith(elsewhere)]
    named = {
        option
        for page in ours
        for code in inline_code(page.text)
        for option in re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", code)
    }
    assert len(named) > 10
    assert named <= known, named - known
    (sweeps,) = (page for page in PAGES if page.name == "docs/how-to/sweeps.md")
    models = re.search(r"Models: (.*?); intervals", sweeps.text, re.DOTALL)
    assert models is not None
    listed = re.findall(r"\w+", re.sub(r"\([^()]*(\([^)]*\))?[^()]*\)", "", models[1]))
    (model,) = (p for p in commands()["analyzer"].commands["fit"].params if p.name == "model")
    assert isinstance(model.type, click.Choice)
    assert listed == list(model.type.choices)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Page) -> None:
    """Files of the repository; what a role of Sphinx names, or a place within a page, the build checks."""
    text = re.sub(r"^```.*?^```$", "", page.text, flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if "://" not in link and not link.startswith("#"):
            assert (page.path.parent / link.partition("#")[0]).exists(), link


def test_the_readme_is_a_screen_and_a_half() -> None:
    assert len(README.text.splitlines()) <= 125


def test_ten_questions_are_two_clicks_away() -> None:
    """The start page links the questions, the questions link their pages, and each of those has code that is run."""
    questions = page_of(ROOT / "docs/questions.md")
    assert "](questions.md)" in page_of(ROOT / "docs/index.md").text
    rows = re.findall(r"^\| \d+ \| .*$", questions.text, re.MULTILINE)
    assert len(rows) == 10
    for row in rows:
        answers = re.findall(r"\]\(([^)]+)\)", row)
        assert answers, row
        for name in answers:
            page = page_of(ROOT / "docs" / name)
            assert any(b.language in CODE and says(b, NOT_RUN) is None for b in page.blocks), name


def test_pages_can_be_read_where_they_lie() -> None:
    """No page needs Sphinx to be read: its links are Markdown's, and it links whatever its table of contents holds."""
    for page in PAGES:
        assert not re.search(r"\{(doc|ref)\}`", page.text), page.name
        tables = re.findall(r"```\{toctree\}\n(.*?)```", page.text, re.DOTALL)
        for name in (line for table in tables for line in table.splitlines() if line and "generated/" not in line):
            if not name.startswith(":"):
                name = name.rpartition("<")[2].rstrip(">")
                file = ROOT / "docs" / f"{name[1:]}.md" if name[0] == "/" else page.path.parent / f"{name}.md"
                mark = re.match(r"<!-- the text of (\S+) -->", file.read_text(encoding="utf-8"))
                there = ROOT / mark[1] if mark else file
                assert f"]({os.path.relpath(there, page.path.parent)})" in page.text, f"{page.name} links {name}"
