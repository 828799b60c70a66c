"""What `analyzer watch` draws: in any width and height, encoding and alphabet of names."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from analyzer.cli.screen import ASCII_BARS, BARS, cells, cut, line_of, sparkline, table_of
from analyzer.cli.watched import View
from analyzer.store.recent import Recent

TEMPERATURES = {"conv1": 2e-8, "畳み込み層": 3e-7, "out\x1b[31m": math.nan}


def view_of(temperatures: dict[str, float] = TEMPERATURES, **changes: object) -> View:
    recent = Recent(100, 356, 256, 1, temperatures, dict.fromkeys(temperatures, 1234), (1e-3,))
    view = View(
        store="runs/gcn.zarr",
        status="running",
        is_over=False,
        step=12_544,
        rate=48.25,
        loss=("train/loss", 1.25),
        scalars={"epoch": 3.0, "accuracy": 0.5},
        learning_rates=(1e-3, 1e-4),
        waiting=(128, 3072),
        recent=recent,
        history={layer: (T / 128, T / 8, T) for layer, T in temperatures.items()},
        since=100,
        committed="12:34:56",
    )
    return replace(view, **changes)  # type: ignore[arg-type]


def test_everything_is_in_a_wide_table() -> None:
    table = table_of(view_of(events=("12:00:00 resumed at step 500",)), 100, 30)
    text = "\n".join(table)
    for expected in ("runs/gcn.zarr", "[running]", "committed 12:34:56", "step 12,544", "48.25 steps/s",
                     "train/loss 1.25", "η 0.0001..0.001", "spool 128 of 3,072 frames", "epoch 3",
                     "accuracy 0.5", "since step 100",
                     "T: newest 256 velocities, lag 1, steps 100 to 356, weight^2 step^-2", "resumed at step 500",
                     "NaN: weights of out\\x1b[31m are not finite"):  # fmt: skip
        assert expected in text, expected
    assert "\x1b" not in text
    (line,) = (line for line in table if line.startswith("conv1"))
    assert line.split() == ["conv1", "1,234", "2e-08", "▁▅█"]
    (line,) = (line for line in table if line.startswith("out"))
    assert line.split()[2:] == ["NaN", "×××"]
    assert len({cells(line[: line.index("1,234")]) for line in table if "1,234" in line}) == 1, "columns are straight"


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("layers", [0, 1, 3, 40])
def test_it_fits_every_terminal(plain: bool, layers: int) -> None:
    temperatures = {f"layer{'層' * (n % 7)}{n}": 10.0**-n for n in range(layers)}
    view = view_of(temperatures, events=("12:00:00 another run took its place",), store="runs/" + "x" * 50)
    for width in (*range(1, 60), 79, 132, 500):
        for height in (*range(1, 16), 24, 300):
            table = table_of(view, width, height, plain=plain)
            assert 0 < len(table) <= height
            assert max(map(cells, table)) <= width, (width, height)
            if width >= 20 and height >= 15 and layers:
                assert any(line.startswith("layer0 ") and line.split()[-1] != "layer0" for line in table)


def test_sentences_go_on_in_the_next_line_of_a_narrow_terminal() -> None:
    status = "interrupted: the training ended without closing the recorder, or with an exception"
    table = table_of(view_of(status=status), 59, 30)
    assert not any("~" in line for line in table)
    assert "T: newest 256 velocities, lag 1, steps 100 to 356, weight^2 step^-2" in " ".join(table)
    assert f"[{status}]" in " ".join(table)


def test_layers_that_do_not_fit_are_counted() -> None:
    table = table_of(view_of({f"layer{n}": 1.0 for n in range(40)}), 80, 20)
    shown = sum(line.startswith("layer") and line[5].isdigit() for line in table)
    assert f"and {40 - shown} more layers, in a higher terminal" in table
    assert len(table) == 20, "all of the height is used"
    whole = table_of(view_of({f"layer{n}": 1.0 for n in range(40)}), 80)
    assert sum(line.startswith("layer") and line[5].isdigit() for line in whole) == 40


def test_before_the_first_temperatures() -> None:
    view = view_of(recent=None, step=None, rate=None, loss=None, history={}, since=None, waiting=None, scalars={})
    text = "\n".join(table_of(view, 100, 20))
    assert "no frame yet" in text
    assert "No temperature yet" in text
    assert "T " not in line_of(view)


def test_plain_text_is_ascii_but_for_names() -> None:
    temperatures = {"a": 1.0, "b": math.nan, "c": 0.0}
    for text in (
        "\n".join(table_of(view_of(temperatures), 90, plain=True)),
        line_of(view_of(temperatures), plain=True),
    ):
        assert text.isascii()
        assert "rate 0.0001..0.001" in text


def test_a_line_says_what_a_table_does() -> None:
    line = line_of(view_of({"conv1": 2e-8, "out": math.nan}))
    assert line == (
        "12:34:56  step 12,544  48.25 steps/s  train/loss 1.25  η 0.0001..0.001  spool 128 of 3,072 frames  "
        "T conv1 2e-08, out NaN  running"
    )
    assert line_of(view_of({f"l{n}": 1.0 for n in range(25)})).count("l2") == 1, "no line has hundreds of layers"
    assert "and 5 more layers" in line_of(view_of({f"l{n}": 1.0 for n in range(25)}))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), ""),
        ((1.0,), "▄"),
        ((1.0, 1.0, 1.0), "▄▄▄"),
        ((1e-9, 1e-8, 1e-7, 1e-6), "▁▃▆█"),
        ((0.0, 1e-6, 1.0), "▁▁█"),
        ((1.0, math.nan, 2.0, math.inf), "▁×█×"),
        ((0.0, 0.0), "▁▁"),
        (tuple(10.0**n for n in range(300)), BARS),
    ],
)
def test_sparklines(values: tuple[float, ...], expected: str) -> None:
    width = len(expected) if len(values) > 8 else 8
    shown = sparkline(values, width)
    assert shown == expected
    assert sparkline(values, width, plain=True).translate(str.maketrans(ASCII_BARS + "x", BARS + "×")) == shown


def test_text_is_cut_by_places_not_characters() -> None:
    assert cells("層ab") == 4
    assert cells("e\u0301") == 1
    assert cut("層層層", 6) == "層層層"
    assert cut("層層層", 5) == "層層~"
    assert cut("層層層", 4) == "層~"
    assert cut("abc", 1) == "~"
    assert cut("abc", 0) == ""
