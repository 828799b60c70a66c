"""The README, executed: every command and every Python block, in a folder with small recordings.

What cannot run here (an environment is made, packages are installed) is marked in the README by a comment above its
block that begins with "not run by", and its commands are looked up: targets of the Makefile, extras of pyproject.toml.
What needs a trainer's library says that tests/integrations/test_readme.py runs it.
Printed output is compared in its structure, since the last digits of a network's weights depend on the machine: the
same header (but for the flag of a window), rows, counts and caption. The demo has fewer steps than the README's, but it
begins at equilibrium: its temperatures are the README's to a factor of 1.5, which is far beyond their error bars, and
so are its floors.
"""

from __future__ import annotations

import importlib
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner, Result

from analyzer.cli import cli as analyzer_command
from examples import demo
from recorder.__main__ import main as recorder_command
from tests.examples.markdown import Block, blocks_of, inline_code

pytestmark = pytest.mark.xdist_group("readme")

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = blocks_of(README)
COMMANDS: dict[str, click.Group] = {"analyzer": analyzer_command, "recorder": recorder_command}
STEPS = 1_000
NOT_RUN = "not run by tests/examples/test_readme.py: "
OUTPUT_OF = "output of: "
FLAG = "unreliable"
"""A column that is there if a group is flagged: of 4,000 steps one may be, of 1,000 none."""
RUN_ELSEWHERE = "run by tests/integrations/test_readme.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `runs/`: the demo as `make demo` records it, with fewer steps, and what the README's own training
    loop records, at four learning rates.
    """
    folder = tmp_path_factory.mktemp("readme")
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(ROOT / "examples")
        assert demo.main(["--steps", str(STEPS), "--output", "runs/demo.zarr"]) == 0
        quickstart = importlib.import_module("quickstart")
        graphs = tuple(part[:160] for part in quickstart.load("shipped"))
        for rate in (1e-3, 2e-3, 4e-3, 8e-3):
            torch.manual_seed(0)
            model = quickstart.GCN()
            names: dict[str, Any] = {
                "model": model,
                "optimizer": torch.optim.Adam(model.parameters(), lr=rate),
                "loader": quickstart.DataLoader(graphs[0], 32, shuffle=True, drop_last=True),
                "loss_fn": torch.nn.functional.cross_entropy,
                "epochs": 2,
            }
            text = _block("from recorder import Recorder").text
            if rate != 1e-3:
                text = text.replace('"learning_rate": 1e-3', f'"learning_rate": {rate}')
                text = text.replace("runs/gcn.zarr", f"runs/rate-{rate}.zarr")
                assert str(rate) in text
            exec(compile(text, "README.md", "exec"), names)
        (folder / "checkpoints").mkdir()
        for step in (0, 100, 200):
            torch.save(quickstart.GCN().state_dict(), folder / f"checkpoints/gcn-{step}.pt")
        yield folder
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("quickstart", "data", "models"):
            del sys.modules[name]


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def _block(start: str) -> Block:
    (found,) = (block for block in BLOCKS if start in block.text)
    return found


def _run(command: str) -> Result:
    program, *arguments = shlex.split(command, comments=True)
    return CliRunner().invoke(COMMANDS[program], arguments)


def test_every_block_says_what_it_is() -> None:
    assert len(BLOCKS) == README.count("```") / 2
    for block in BLOCKS:
        assert block.language in ("sh", "python", "text"), f"README.md:{block.line}: {block.language!r}"
        assert (block.language == "text") == block.comment.startswith(OUTPUT_OF), f"README.md:{block.line}"
        assert block.comment.startswith((NOT_RUN, OUTPUT_OF, RUN_ELSEWHERE)) or not block.comment, (
            f"README.md:{block.line}"
        )


_RUN = [command for block in BLOCKS if block.language == "sh" and not block.comment for command in block.commands] + [
    code for code in inline_code(README) if re.match(r"(analyzer|recorder) \w+ [^…]*$", code)
]


@pytest.mark.parametrize("command", _RUN)
def test_a_command_does_what_it_says(here: Path, command: str) -> None:
    done = _run(command)
    assert done.exit_code == 0, done.output
    arguments = shlex.split(command, comments=True)
    for option in ("--output", "-o", "--plot", "--masks"):
        if option in arguments:
            assert (here / arguments[arguments.index(option) + 1]).stat().st_size > 0
    if not {"--output", "-o"} & set(arguments):
        assert done.stdout.strip()


def test_commands_were_found() -> None:
    """The pattern above finds the commands: one at least of every kind."""
    names = {tuple(shlex.split(command)[:2]) for command in _RUN}
    expected = {(program, name) for program, group in COMMANDS.items() for name in group.commands}
    assert names == expected


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.comment.startswith(OUTPUT_OF)], ids=lambda b: f"line {b.line}"
)
def test_printed_output_is_what_comes_out(here: Path, block: Block) -> None:
    done = _run(block.comment.removeprefix(OUTPUT_OF))
    assert done.exit_code == 0, done.output
    header, line, *printed = (text.strip() for text in block.text.strip().splitlines())
    real_header, real_line, *real = (text.strip() for text in done.stdout.strip().splitlines())
    columns, real_columns = re.split(r"  +", header), re.split(r"  +", real_header)
    assert [name for name in columns if name != FLAG] == [name for name in real_columns if name != FLAG]
    assert set(line) == set(real_line) == {"─"}
    assert len(printed) == len(real)
    assert printed[-2:] == real[-2:] == ["", printed[-1]], "the caption"
    for row, real_row in zip(printed[:-2], real[:-2], strict=True):
        cells, real_cells = _cells(columns, row), _cells(real_columns, real_row)
        for name in ("layer", "start step", "weights"):
            assert cells[name] == real_cells[name]
        assert (cells["stop step"], real_cells["stop step"]) == ("4,000", f"{STEPS:,}")
        for name, factor in (("floor", 1.5), ("temperature", 1.5), ("temperature drift", 100)):
            assert 1 / factor < float(cells[name]) / float(real_cells[name]) < factor, (name, row, real_row)
        for told in (cells, real_cells):
            assert float(told["n eff"]) > 200, "an error bar to rely on"
            assert float(told["standard error"]) < 0.1 * float(told["temperature"])


def _cells(columns: list[str], row: str) -> dict[str, str]:
    """The cells of a row by column; a group that is not flagged has an empty one."""
    cells = re.split(r"  +", row)
    if FLAG in columns and len(cells) < len(columns):
        cells.insert(columns.index(FLAG), "")
    told = dict(zip(columns, cells, strict=True))
    assert told.get(FLAG, "") in ("", "yes")
    return told


def test_the_loop_recorded_every_step(here: Path) -> None:
    with xr.open_datatree("runs/gcn.zarr", engine="zarr", chunks={}) as run:
        assert run["step"].values.tolist() == list(range(11)), "two epochs of five batches"
        assert run["epoch"].values[1:].tolist() == [0] * 5 + [1] * 5
        assert run.attrs["hyperparameters"] == {"learning_rate": 1e-3, "batch_size": 32, "seed": 0}


@pytest.mark.parametrize(
    "block",
    [b for b in BLOCKS if b.language == "python" and "Recorder(" not in b.text and b.comment != RUN_ELSEWHERE],
    ids=lambda b: f"line {b.line}",
)
def test_python_runs(here: Path, block: Block) -> None:
    """Block by block; what is lazy is computed, and what both blocks call T is one number."""
    names: dict[str, Any] = {}
    exec(compile(block.text, "README.md", "exec"), names)
    if "sweep" in names:
        assert names["T"].sizes.keys() >= {"group", "window"}
        assert np.isfinite(names["T"].compute()["temperature"]).any()
        assert names["sweep"].thermo.temperature(by="layer")["temperature"].dims == ("run", "group", "window")
        assert names["sweep"].thermo.select(learning_rate=1e-3).children.keys() == {"demo", "gcn"}
        assert names["run"].thermo.parameter("conv1.lin.weight").dims == ("row", "col", "step")
        assert names["v"]["parameters/conv1/lin/weight"].chunks is not None, "lazy"
    else:
        import analyzer

        ours = analyzer.open_run("runs/demo.zarr").thermo.temperature(by="parameter", parameter="conv2.lin.weight")
        np.testing.assert_allclose(names["T"].compute(), ours["temperature"].values.item(), rtol=1e-12)


def test_what_is_not_run_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for block in (block for block in BLOCKS if block.comment.startswith(NOT_RUN)):
        for command in block.commands:
            program, *arguments = shlex.split(command, comments=True)
            if program == "make":
                assert re.search(rf"^{arguments[0]}:", makefile, re.MULTILINE), command
                continue
            assert (program, arguments[0]) == ("pip", "install")
            (extra,) = re.fullmatch(r"\.\[(\w+)\]", arguments[1]).groups()  # type: ignore[union-attr]
            needed = {re.split(r"[\[>=]", requirement)[0] for requirement in project["dependencies"] + extras[extra]}
            named = set(re.findall(r"\b(numpy|zarr|numcodecs|torch|dask|xarray|numba|matplotlib)\b", command))
            assert named - {"torch"} <= needed
            assert ("torch" in needed) == (extra == "recorder")
    assert project["requires-python"] == ">=3.11"
    assert "Python 3.11 or newer" in README


def test_the_demo_is_as_long_as_the_readme_says(capsys: pytest.CaptureFixture[str]) -> None:
    steps = re.search(r"records ([\d,]+) steps", README)
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

    known = set().union(*(options(command) for command in COMMANDS.values()))
    named = {option for code in inline_code(README) for option in re.findall(r"(?<!\S)--[a-z-]+", code)}
    assert len(named) > 10
    assert named <= known, named - known
    models = re.search(r"Models: (.*?); intervals", README, re.DOTALL)
    assert models is not None
    listed = re.findall(r"\w+", re.sub(r"\([^()]*(\([^)]*\))?[^()]*\)", "", models[1]))
    (model,) = (p for p in analyzer_command.commands["fit"].params if p.name == "model")
    assert isinstance(model.type, click.Choice)
    assert listed == list(model.type.choices)


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) > 5
    headings = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    for link in links:
        if link.startswith("#"):
            assert link[1:] in headings, link
        elif "://" not in link:
            assert (ROOT / link).exists(), link
