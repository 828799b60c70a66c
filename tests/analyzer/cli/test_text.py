"""Names of users in what the commands print and write are text: never markup, a formula, a control code or a path."""

from __future__ import annotations

import csv
import io
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure
from matplotlib.text import Text

from analyzer.text import printable
from tests.analyzer.shell import invoke
from tests.stores import edit_root, write_store

FRACTION, DOLLARS, HIDDEN, FORMULA = "conv$\\frac$", "$b$", "_hidden", '=HYPERLINK("http://x")\x1b]0;owned\x07\u202e'
LAYERS = (FRACTION, DOLLARS, HIDDEN, FORMULA)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    frames = {f"{n}.weight": np.cumsum(rng.standard_normal((6, 4, 300)), axis=-1) for n in "abcd"}
    named = {
        f"{n}.weight": {"name": f"{layer}.weight", "layer": layer, "module": layer}
        for n, layer in zip("abcd", LAYERS, strict=True)
    }
    return write_store(
        tmp_path_factory.mktemp("hostile") / "run.zarr",
        frames,
        attributes=named,
        chunk_steps=256,
        scalars={"loss": rng.random(300)},
        hyperparameters={"=1+1\x1b": "\x1b[31m"},
    )


QUESTIONS = (
    ("temperature",),
    ("temperature", "--window", "100"),
    ("temperature", "--by", "parameter"),
    ("temperature", "--by", "row"),
    ("temperature", "--lag", "1,3"),
    ("velocity",),
    ("rows",),
    ("distribution",),
    ("equilibration",),
    ("check", "--only", "norm", "--only", "floor"),
)


@pytest.mark.parametrize("question", QUESTIONS, ids=" ".join)
@pytest.mark.parametrize("form", ["table", "csv"])
def test_a_terminal_and_a_spreadsheet_are_given_no_orders(hostile: Path, question: tuple[str, ...], form: str) -> None:
    command, *options = question
    result = invoke(command, hostile, *options, "--format", form)
    assert result.exit_code == 0, result.output
    for text in (result.stdout, result.stderr):
        assert not set(text.replace("\n", "")) & set("\x1b\x07\u202e\r")
    if form == "csv":
        cells = [cell for row in csv.reader(io.StringIO(result.stdout)) for cell in row]
        assert any(cell.startswith("'=HYPERLINK") for cell in cells)
        assert not [cell for cell in cells if cell[:1] in "=+@\t\r" and cell]
        assert all(_is_number(cell) for cell in cells if cell.startswith("-"))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_json_has_escapes_of_its_own(hostile: Path) -> None:
    result = invoke("temperature", hostile, "--format", "json")
    assert not set(result.stdout) & set("\x1b\x07\u202e\r")
    assert [record["layer"] for record in json.loads(result.stdout)["records"]] == list(LAYERS)


def test_info_errors_and_paths_give_no_orders(hostile: Path, tmp_path: Path) -> None:
    for arguments in (
        ("info", hostile),
        ("temperature", hostile, "--layer", "\x1b[31m*"),
        ("temperature", tmp_path / "none\x1b[31m.zarr"),
        ("temp\x1b[31merature", hostile),
        ("--\x1b[31m",),
        ("temperature", hostile, "--output", tmp_path / "a\x1b[31m\n.csv"),
        ("report", hostile, "--output", tmp_path / "a\x1b[31m\n.html"),
        ("report", hostile, "--output", tmp_path / "\x1b[31m" / "a.html"),
    ):
        result = invoke(*arguments)
        assert not isinstance(result.exception, UnicodeError)
        assert "\x1b" not in result.output + result.stderr, arguments


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that commands save, which still hold the texts that were drawn."""
    figures: list[Figure] = []
    save = Figure.savefig

    def kept(figure: Figure, *arguments: Any, **options: Any) -> None:
        figures.append(figure)
        assert not mpl.rcParams["text.usetex"]
        save(figure, *arguments, **{**options, "dpi": 30})

    monkeypatch.setattr(Figure, "savefig", kept)
    return figures


def shown(figure: Figure) -> list[str]:
    """Every text of a figure as it is read; those of numbers on a logarithmic scale are formulas of matplotlib's."""
    texts = [text.get_text() for text in figure.findobj(Text)]
    texts = [text for text in texts if "mathdefault" not in text and "times" not in text]
    assert not [text for text in texts if is_math_text(text)]
    return [text.replace(r"\$", "$") for text in texts]


@pytest.mark.parametrize("question", QUESTIONS[:-1], ids=" ".join)
def test_a_figure_holds_names_as_they_are(
    hostile: Path, tmp_path: Path, drawn: list[Figure], question: tuple[str, ...]
) -> None:
    command, *options = question
    with mpl.rc_context({"text.usetex": True}):
        result = invoke(command, hostile, *options, "--plot", tmp_path / "figure.png")
    assert result.exit_code == 0, result.stderr
    (figure,) = drawn
    text = "\n".join(shown(figure))
    for layer in LAYERS:
        assert printable(layer) in text


def test_fits_over_a_sweep_are_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    rng = np.random.default_rng(1)
    stores = [
        write_store(
            tmp_path / f"run{n}.zarr",
            {"a.weight": np.cumsum(rate * rng.standard_normal((4, 4, 120)), axis=-1)},
            attributes={"a.weight": {"layer": "_$b$"}},
            hyperparameters={"$rate$": rate},
        )
        for n, rate in enumerate((1.0, 2.0, 4.0, 8.0, 16.0))
    ]
    for options in ((), ("--lag", "1,2")):
        result = invoke("fit", *stores, "--against", "$rate$", *options, "--plot", tmp_path / "fit.svg")
        assert result.exit_code == 0, result.stderr
    one, by_lag = ("\n".join(shown(figure)) for figure in drawn)
    assert "_$b$" in one
    assert "$rate$" in one
    assert "_$b$" in by_lag


def test_glyphs_that_a_font_lacks_are_one_line(tmp_path: Path) -> None:
    store = write_store(
        tmp_path / "run.zarr",
        {"a.weight": np.cumsum(np.random.default_rng(1).standard_normal((3, 2, 60)), axis=-1)},
        attributes={"a.weight": {"layer": "层"}},
    )
    result = invoke("temperature", store, "--window", 20, "--plot", tmp_path / "figure.png")
    assert result.exit_code == 0, result.output
    assert all(line.startswith(("Warning: ", "Wrote ")) for line in result.stderr.strip().splitlines())


@pytest.fixture
def slashed(tmp_path: Path) -> Path:
    """A run whose names hold what netCDF cannot: a slash, a null."""
    path = "parameters/a%2Fb/weight"
    named = {"name": "a/b.weight", "layer": "a/b\0", "module": "a/b"}
    store = write_store(
        tmp_path / "run.zarr",
        {"a%2Fb.weight": np.cumsum(np.random.default_rng(2).standard_normal((3, 2, 60)), axis=-1)},
        attributes={"a%2Fb.weight": named},
        scalars={"loss": np.random.default_rng(3).random(60)},
    )

    def change(document: dict[str, Any]) -> None:
        array = document["consolidated_metadata"]["metadata"][path]
        array["dimension_names"] = ["a/b.weight_row", "a/b.weight_col", "step"]

    edit_root(store, change)
    return store


def test_netcdf_and_parquet_hold_every_name(slashed: Path, tmp_path: Path) -> None:
    for command in ("temperature", "velocity", "rows", "distribution", "equilibration", "check"):
        for suffix in (".nc", ".parquet") if command in ("temperature", "rows") else (".nc",):
            file = tmp_path / f"{command}{suffix}"
            result = invoke(command, slashed, "--output", file)
            assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "temperature.nc", engine="h5netcdf") as answer:
        assert answer["layer"].values.tolist() == ["a/b\\x00"]
    assert pd.read_parquet(tmp_path / "temperature.parquet")["layer"].tolist() == ["a/b\\x00"]


def test_raw_velocities_have_names_that_are_no_paths(slashed: Path, tmp_path: Path) -> None:
    file = tmp_path / "raw.nc"
    result = invoke("velocity", slashed, "--raw", "--output", file)
    assert result.exit_code == 0, result.output
    with xr.open_datatree(file, engine="h5netcdf") as tree:
        assert tree["parameters/a%2Fb/weight"].dims[:2] == ("a%2Fb.weight_row", "a%2Fb.weight_col")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_is_closed_is_no_fault(make: Callable[..., Path], closed: str) -> None:
    """As some schedulers and service managers start a command: Python then has no such stream at all."""
    command = shlex.join([sys.executable, "-m", "analyzer", "info", str(make())])
    ended = subprocess.run(f"{command} {closed}", shell=True, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert bool(ended.stdout) == (closed == "2>&-")


@pytest.mark.parametrize("charset", ["iso-8859-1", "ascii"])
def test_a_terminal_that_lacks_characters_is_given_escapes(
    make: Callable[..., Path], frames: dict[str, np.ndarray], charset: str
) -> None:
    from click.testing import CliRunner

    from analyzer.cli import cli
    from recorder.__main__ import main

    store = str(make(attributes={"lin.weight": {"layer": "层"}}))
    runner = CliRunner(charset=charset)
    for command in (
        ["info", store],
        ["temperature", store, "--by", "parameter", "--wide"],
        ["temperature", store, "--layer", "ü"],
    ):
        result = runner.invoke(cli, command)
        assert isinstance(result.exception, (SystemExit, type(None))), result.exception
        said = (result.stdout_bytes + result.stderr_bytes).decode(charset)
        assert "\\u5c42" in said or "'ü'" in said or "\\xfc" in said
    result = runner.invoke(main, ["recover", "层\x1b.zarr"])
    assert result.exit_code == 1
    assert "\\u5c42\\x1b.zarr" in result.stderr_bytes.decode(charset)
