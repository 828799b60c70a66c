"""Names are text: a terminal, a cell or a file shows them, and never takes them for a command or a formula."""

from __future__ import annotations

import pytest

import analyzer.text
import recorder.text
from analyzer.errors import StoreNotFoundError
from analyzer.text import of_cell, printable, storable, variable_name
from recorder.errors import StoreMissingError


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("conv1.lin", "conv1.lin"),
        ("层.weight", "层.weight"),
        ("a\x1b]0;owned\x07", r"a\x1b]0;owned\x07"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\x9b31m", r"\x9b31m"),
        ("\ud800", r"\ud800"),
    ],
)
def test_a_terminal_is_given_no_orders(name: str, shown: str) -> None:
    assert printable(name) == recorder.text.printable(name) == shown
    assert str(StoreNotFoundError(name)) == str(StoreMissingError(name)) == shown


@pytest.mark.parametrize("first", "=+-@＝＋－＠")
def test_a_spreadsheet_computes_nothing(first: str) -> None:
    assert of_cell(f"{first}1+1") == f"'{first}1+1"
    assert of_cell(f"a{first}1") == f"a{first}1"


def test_a_negative_number_is_no_formula() -> None:
    kept = ["-1", "-2.5e-3", "-9223372036854775809"]
    assert [of_cell(text) for text in kept] == kept
    assert [of_cell(text) for text in ("-1-1", "-x", "+1", "-")] == ["'-1-1", "'-x", "'+1", "'-"]


def test_a_cell_begins_with_neither_tab_nor_return() -> None:
    assert of_cell("\t=1") == r"\t=1"
    assert of_cell("\r=1") == r"\r=1"


def test_files_hold_every_text() -> None:
    kept = "层 $b$ =1 \x1b a/b"
    assert storable(kept) == kept
    assert storable("a\0b\ud800") == r"a\x00b\ud800"


def test_a_name_in_netcdf_is_no_path() -> None:
    assert variable_name("a/b.weight_row") == "a%2Fb.weight_row"
    assert variable_name("a\nb\ud800") == "a%0Ab%3F"
    assert variable_name("conv1.lin.weight_层") == "conv1.lin.weight_层"
    assert [variable_name(name) for name in (".", "..", "a.b", "a ")] == ["%2E", "%2E%2E", "a.b", "a%20"]


def test_both_packages_know_the_same_characters() -> None:
    assert analyzer.text._UNPRINTABLE == recorder.text._UNPRINTABLE
