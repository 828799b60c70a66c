"""Text that is safe to show or to keep, made from names and paths that may hold any character.

Some readers take certain characters for commands. Each has a function here: a terminal (`printable`), a spreadsheet
(`of_cell`), HDF5 and Arrow (`storable`), netCDF's names (`variable_name`). Figures have `analyzer.plots.style.as_text`;
the template of the report escapes HTML.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories: controls, invisible marks such as those for the direction of writing, surrogates, line breaks."""
_NUMBER = re.compile(r"-\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # of wide characters, too
_UNKEPT = re.compile("[\0\ud800-\udfff]")
_NO_NAME = re.compile("[/\0-\x1f\x7f\ud800-\udfff]|^\\.+$| +$")


def printable(text: str) -> str:
    r"""Return the text in one line, with escapes for characters that a terminal would obey: cursor moves, colours.

    Examples
    --------
    >>> printable("conv\x1b[31m")
    'conv\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _UNPRINTABLE else c for c in text)


def differing(names: Sequence[str]) -> tuple[str, list[str]]:
    """Return the common beginning of dotted names, and the rest of each, which is never empty.

    For example `layers.3.` and `["q.weight", "k.weight"]`.
    """
    parts = [name.split(".") for name in names]
    shared = 0
    while len(names) > 1 and all(len(part) > shared + 1 for part in parts):
        if len({part[shared] for part in parts}) > 1:
            break
        shared += 1
    prefix = "".join(f"{word}." for word in parts[0][:shared]) if parts else ""
    return prefix, [name.removeprefix(prefix) for name in names]


def shortened(names: Sequence[str], width: int) -> list[str]:
    """Return names of at most `width` characters, cut in the middle, with a mark where something is missing.

    Different names stay different: where they would not, all have some characters more. Equal names stay equal.

    Parameters
    ----------
    names
        Any texts.
    width
        Characters, 3 or more.

    Examples
    --------
    >>> shortened(["encoder.layers.0.attn.weight", "bias"], 13)
    ['encode…weight', 'bias']
    """
    different = dict.fromkeys(names)
    longest = max(map(len, different), default=0)
    for most in range(width, longest):
        for head in (most // 2, most - 1, 2 * most // 3, most // 3, 0):  # where the names differ is not known
            short = {name: _cut(name, most, head) for name in different}
            if len(set(short.values())) == len(short):
                return [short[name] for name in names]
    return list(names)


def narrowed(columns: Sequence[Sequence[str]], excess: int, shortest: int = 12) -> list[list[str]]:
    """Return columns of texts, the widest of them cut until all together are `excess` characters narrower.

    No column becomes narrower than `shortest`: a table of many columns stays too wide.

    Examples
    --------
    >>> narrowed([["encoder.attn.weight"], ["encoder"]], 5)
    [['encoder…weight'], ['encoder']]
    """
    widths = [max(map(len, column), default=0) for column in columns]
    while excess > 0 and max(widths, default=0) > shortest:
        widths[widths.index(max(widths))] -= 1
        excess -= 1
    return [shortened(column, width) for column, width in zip(columns, widths, strict=True)]


def _cut(name: str, most: int, head: int) -> str:
    """Keep `head` characters of the beginning, and of the end as many as there is room for."""
    if len(name) <= most:
        return name
    tail = most - 1 - head
    return f"{name[:head]}…{name[len(name) - tail :] if tail > 0 else ''}"


def of_cell(text: str) -> str:
    """Return the text of a csv cell: printable, and with an apostrophe before what a spreadsheet would compute.

    A negative number is its own value: it gets none.

    Examples
    --------
    >>> of_cell("=SUM(A1:A9)"), of_cell("-9223372036854775809")
    ("'=SUM(A1:A9)", '-9223372036854775809')
    """
    shown = printable(text)
    return f"'{shown}" if shown.startswith(_FORMULA) and not _NUMBER.fullmatch(shown) else shown


def storable(text: str) -> str:
    """Return the text with escapes for what files of netCDF and Parquet cannot hold: null and surrogates."""
    return _UNKEPT.sub(lambda found: _escaped(found[0]), text)


def variable_name(name: str) -> str:
    """Return a name that netCDF takes for one name.

    Percent escapes replace a slash, which divides a path; control characters; a name of dots alone, which HDF5 reads
    as the current place; and spaces at the end, which netCDF drops.

    Examples
    --------
    >>> variable_name("block/0.weight_row")
    'block%2F0.weight_row'
    """
    return _NO_NAME.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace")), name)


def size_text(count: float) -> str:
    """Return a number of bytes as text with a unit.

    Examples
    --------
    >>> size_text(3 << 19)
    '1.5 MiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _escaped(character: str) -> str:
    return repr(character)[1:-1]
