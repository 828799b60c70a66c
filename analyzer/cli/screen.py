"""`analyzer watch` as text: a table that fits a terminal, or without one, a line for each commit."""

from __future__ import annotations

import math
import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from textwrap import wrap

from analyzer.cli.text import printable, say
from analyzer.cli.watched import View

BARS, ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-:=+*#"
"""Heights of a sparkline, from low to high."""
NOT_FINITE, ASCII_NOT_FINITE = "×", "x"
FEWEST_BARS = 4
MOST_LAYERS = 20
"""Most layers in the line of a commit."""
_SMALLEST, _BETWEEN = 8, "  "
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


def sparkline(values: Sequence[float], width: int, *, plain: bool = False) -> str:
    """The newest `width` values as bars between their smallest and their largest, on a logarithmic scale.

    Examples
    --------
    >>> sparkline([1e-8, 2e-8, 1.28e-6], 8)
    '▁▂█'
    """
    bars, broken = (ASCII_BARS, ASCII_NOT_FINITE) if plain else (BARS, NOT_FINITE)
    shown = [math.log(v) if 0 < v < math.inf else (-math.inf if v == 0 else math.nan) for v in values[-width:]]
    finite = [v for v in shown if math.isfinite(v)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)

    def bar(value: float) -> str:
        if math.isnan(value):
            return broken
        if value == -math.inf:  # a temperature of 0
            return bars[0]
        return bars[round((value - low) / (high - low) * (len(bars) - 1)) if high > low else len(bars) // 2 - 1]

    return "".join(map(bar, shown))


def facts_of(view: View, *, plain: bool = False) -> list[str]:
    """Facts on the run as a whole, a few words each."""
    rates = sorted(set(view.learning_rates))
    shown = "–" if not plain else "-"
    facts = [
        "no frame yet" if view.step is None else f"step {view.step:,}",
        f"{shown if view.rate is None else _short(view.rate)} steps/s",
    ]
    facts += [f"{view.loss[0]} {_short(view.loss[1])}"] if view.loss else []
    facts += (
        [f"{'rate' if plain else 'η'} {'..'.join(map(_short, (rates[0], rates[-1])[: len(rates)]))}"] if rates else []
    )
    facts += [f"spool {view.waiting[0]:,} of {view.waiting[1]:,} frames"] if view.waiting else []
    return facts


def table_of(view: View, width: int, height: int | None = None, *, plain: bool = False) -> list[str]:
    """The table: at most `height` lines of at most `width` places.

    Parameters
    ----------
    view
        What is shown.
    width, height
        Of the terminal; without a height, all layers are shown.
    plain
        Use ASCII only, except in names.
    """
    head = _filled([view.store, f"[{view.status}]", f"committed {view.committed}"], width)
    head += _filled(facts_of(view, plain=plain), width)
    others = ["   ".join(f"{name} {_short(value)}" for name, value in view.scalars.items())] if view.scalars else []
    body = [] if view.recent is None else ["", *_layers(view, width, plain)]
    feet = ["", *(line for note in _notes(view) for line in _folded(printable(note), width))]
    if height is not None:  # the least important lines are left out first
        others = others if len([*head, *others, *body, *feet]) <= height else []
        feet = feet if len([*head, *body, *feet]) <= height else []
        if len(head) + len(body) > height:
            room = height - len(head) - 3  # an empty line, the heading, the line on layers that are left out
            hidden = len(body) - 2 - room
            more = f"and {hidden:,} more layers, in a higher terminal"
            body = [*body[: 2 + room], more] if room > 0 else []
    return [cut(printable(line), width) for line in (*head, *others, *body, *feet)][:height]


def _notes(view: View) -> list[str]:
    """The lines below the table."""
    notes = list(view.events)
    if view.not_finite:
        notes.append(f"NaN: weights of {', '.join(view.not_finite)} are not finite")
    if view.recent is None:
        return [*notes, "No temperature yet: the first comes with the first commit of two frames one stride apart"]
    recent = view.recent
    steps = f"steps {recent.first_step:,} to {recent.last_step:,}"
    return [*notes, f"T: newest {recent.velocities:,} velocities, lag {recent.stride:,}, {steps}, {recent.units}"]


def line_of(view: View, *, plain: bool = False) -> str:
    """The line of a commit, for output that is no terminal."""
    parts = [view.committed, *facts_of(view, plain=plain)]
    if view.recent is not None:
        named = [f"{layer} {_short(T)}" for layer, T in view.recent.temperatures.items()]
        hidden = len(named) - MOST_LAYERS
        parts.append("T " + ", ".join(named[:MOST_LAYERS] + [f"and {hidden:,} more layers"] * (hidden > 0)))
    parts.append(view.status)
    return printable("  ".join(parts))


def _layers(view: View, width: int, plain: bool) -> list[str]:
    """A heading and a line for each layer; columns that do not fit are left out, the sparkline first."""
    assert view.recent is not None
    temperatures = view.recent.temperatures
    names = {layer: printable(layer) for layer in temperatures}
    numbers = {layer: _short(T) for layer, T in temperatures.items()}
    weights = {layer: f"{view.recent.weights[layer]:,}" for layer in temperatures}
    of_number = max(map(len, ["T", *numbers.values()]))
    of_weights = max(map(len, ["weights", *weights.values()]))
    of_name = max(map(cells, ["layer", *names.values()]))
    of_name = max(min(of_name, width - of_number - len(_BETWEEN)), min(_SMALLEST, of_name))
    left = width - of_name - of_number - len(_BETWEEN)
    has_weights = left >= of_weights + FEWEST_BARS + 2 * len(_BETWEEN)
    left -= of_weights + len(_BETWEEN) if has_weights else 0
    bars = left - len(_BETWEEN)
    history = view.history if bars >= FEWEST_BARS else {}
    title = f"since step {view.since:,}" if view.since is not None else ""
    title = title if len(title) <= bars else ""

    def line(name: str, weight: str, number: str, last: str) -> str:
        columns = [_padded(cut(name, of_name), of_name)]
        columns += [weight.rjust(of_weights)] if has_weights else []
        columns += [number.rjust(of_number), last]
        return _BETWEEN.join(columns).rstrip()

    lines = [line("layer", "weights", "T", title)]
    for layer, name in names.items():
        spark = sparkline(history.get(layer, ()), bars, plain=plain)
        lines.append(line(name, weights[layer], numbers[layer], spark))
    return lines


def _filled(parts: Sequence[str], width: int) -> list[str]:
    """Parts side by side, as many in a line as fit. One that is longer than a line goes on in the next."""
    lines: list[str] = []
    for part in (piece for one in map(printable, parts) for piece in _folded(one, width)):
        if lines and cells(lines[-1]) + 3 + cells(part) <= width:
            lines[-1] += "   " + part
        else:
            lines.append(part)
    return lines


def _folded(text: str, width: int) -> list[str]:
    """A text in lines that fit, where it has spaces to break at."""
    return [text] if cells(text) <= width else wrap(text, max(width, 1), break_long_words=False, break_on_hyphens=False)


def _short(value: float) -> str:
    return "NaN" if not math.isfinite(value) else f"{value:.4g}"


def cells(text: str) -> int:
    """Places that a text takes on a terminal: two for the wide characters of Asia, none for marks that combine."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def cut(text: str, width: int) -> str:
    """The text, or as much of its beginning as fits, followed by ~."""
    if cells(text) <= width:
        return text
    kept = text[:width]
    while cells(kept) > max(width - 1, 0):
        kept = kept[:-1]
    return kept + "~" if width > 0 else ""


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cells(text))


class Lines:
    """One line for each commit that has something new. Lifetime: the command."""

    def __init__(self) -> None:
        self._plain = _is_plain()
        self._said: tuple[object, ...] = ()

    def show(self, view: View) -> None:
        """Say what is new."""
        for event in view.events:
            if event not in self._said:
                say(printable(event))
        news = (view.step, view.status)
        if news != self._said[:2]:
            say(line_of(view, plain=self._plain))
        self._said = (*news, *view.events)

    def close(self) -> None:
        """Leave what was printed."""


class Screen:
    """The terminal, drawn anew for each commit and each change of its size. Lifetime: until `close`."""

    def __init__(self) -> None:
        self._plain = _is_plain()
        self._size: os.terminal_size | None = None
        self._view: View | None = None
        self._write(_ENTER)

    def show(self, view: View) -> None:
        """Draw what is new."""
        size = shutil.get_terminal_size()
        if (view, size) == (self._view, self._size):
            return
        self._view, self._size = view, size
        table = table_of(view, size.columns - 1, size.lines, plain=self._plain)
        self._write(_HOME + "\n".join(line + _END_OF_LINE for line in table) + _BELOW)

    def close(self) -> None:
        """Restore the terminal, and print the whole last table below its old content."""
        self._write(_LEAVE)
        if self._view is not None:
            say("\n".join(table_of(self._view, shutil.get_terminal_size().columns - 1, plain=self._plain)))

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def make_display() -> Lines | Screen:
    """A `Screen` on a terminal that can draw one, else `Lines`."""
    if sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb", "unknown"):
        return Screen()
    return Lines()


def _is_plain() -> bool:
    """Whether the encoding of stdout lacks bars and Greek letters."""
    try:
        (BARS + NOT_FINITE + "η").encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return True
    return False
