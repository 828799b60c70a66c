"""Tables that are not shown on a terminal: character by character what rich would draw."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analyzer.cli import table
from tests.analyzer.shell import invoke
from tests.patience import PATIENCE

WORDS = (
    "conv1",
    "lin.weight",
    "a b",
    "σ² × η",
    "…and–more",
    "Größe",
    "ab:c",
    "x_y",
    " lead",
    "trail ",
    "",
    "(",
    "]",
    "50%",
)
HOSTILE = (
    "[bold]x",
    "[/]",
    "\\",
    "back\\[",
    ":smile:",
    "a:b:c",
    "層",
    "가나",
    "e\u0301",
    "👍",
    "\u00a0",
    "\x1b[31m",
    "\n",
)
NUMBERS = (0, 1234567, -1, 0.1, float("nan"), float("inf"), -2.5e-9, True, False)
TITLES = (
    "group",
    "standard_error",
    "rms_velocity",
    "n_eff",
    "unreliable",
    "a_heading_of_many_words",
    "% > 2 own rms",
    "T",
)


def by_rich(frame: pd.DataFrame, wide: int = 240) -> str:
    columns = table._columns(frame)
    return table._drawn(columns, sum(column.narrowest + 3 for column in columns), wide)


def frame_of(rng: random.Random, words: tuple[str, ...]) -> pd.DataFrame:
    rows, titles = rng.randrange(6), rng.sample(TITLES, rng.randrange(1, len(TITLES)))

    def column() -> Any:
        kind = rng.randrange(4)
        if kind == 0:
            return np.array([rng.random() < 0.5 for _ in range(rows)], dtype=bool)
        if kind == 1:
            return np.array([rng.randrange(10**8) for _ in range(rows)], dtype=np.int64)
        if kind == 2:
            return np.array([rng.gauss(0, 1) * 10.0 ** rng.randrange(-9, 9) for _ in range(rows)])
        return np.array([rng.choice((*words, *NUMBERS)) for _ in range(rows)], dtype=object)

    return pd.DataFrame({title: column() for title in titles})


@pytest.mark.parametrize("words", [WORDS, WORDS + HOSTILE], ids=["plain", "hostile"])
@pytest.mark.parametrize("wide", [20, 60, 100, 240])
def test_a_table_is_what_rich_draws(words: tuple[str, ...], wide: int) -> None:
    rng = random.Random(wide)
    for _ in range(40):
        frame = frame_of(rng, words)
        assert table.table_text(frame, wide) == by_rich(frame, wide)


def test_a_table_that_fits_is_aligned_without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the test above would compare rich with itself."""
    monkeypatch.setattr(table, "_drawn", None)
    frame = pd.DataFrame(
        {"layer": ["σ²", "conv1", ""], "standard_error": [0.5, float("nan"), 1e-9], "rows": [1, 2000, 3]}
    )
    assert table.table_text(frame) == "\n".join(
        (
            "",
            " layer   standard error    rows",
            " ──────────────────────────────",
            " σ²                 0.5       1",
            " conv1                –   2,000",
            "                  1e-09       3",
        )
    )


def test_every_character_that_is_printed_as_it_is_takes_one_place_in_rich() -> None:
    from rich.cells import cell_len

    plain = [chr(code) for code in range(0x3000) if table._NARROW.fullmatch(chr(code)) and chr(code).isprintable()]
    assert len(plain) > 700
    assert {cell_len(character) for character in plain} == {1}


def test_the_environment_may_ask_for_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"layer": ["conv1"]})
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert table.table_text(frame) == by_rich(frame)
    assert "\x1b[" in table.table_text(frame), "a bold heading"


def test_a_table_in_a_pipe_loads_no_rich(store: Path) -> None:
    code = f"""
import sys
from analyzer.cli import cli
cli(["temperature", {str(store)!r}], standalone_mode=False)
print([name for name in ("rich", "scipy.fftpack", "matplotlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_table_names_its_units(store: Path) -> None:
    result = invoke("temperature", store)
    assert "temperature in weight^2 step^-2, lag 1, convention paper" in result.stdout
    assert "conv1" in result.stdout
    assert "…" not in result.stdout
