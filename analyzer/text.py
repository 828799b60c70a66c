"""Names and paths as text that is shown or kept, never obeyed.

Names in a store, patterns and paths of a user may hold any character. There is one function for each reader that takes
some characters for orders: a terminal (`printable`), a spreadsheet (`of_cell`), HDF5 and Arrow (`storable`), and
netCDF's names (`variable_name`). Figures have `analyzer.plots.style.as_text`; the template of the report escapes HTML.
"""

from __future__ import annotations

import re
import unicodedata

_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories: controls, invisible marks (the order of writing among them), half characters, line breaks."""
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # of wide characters, too
_UNKEPT = re.compile("[\0\ud800-\udfff]")
_NO_NAME = re.compile("[/\0-\x1f\x7f\ud800-\udfff]|^\\.+$| +$")


def printable(text: str) -> str:
    r"""Return the text in one line, with escapes for the characters that would move a terminal's cursor or colour it.

    Names in a store and patterns of a user may hold anything: they are shown, never obeyed.

    Examples
    --------
    >>> printable("conv\x1b[31m")
    'conv\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _UNPRINTABLE else c for c in text)


def of_cell(text: str) -> str:
    """Return the text of a csv cell: printable, and with an apostrophe before what a spreadsheet would compute.

    Examples
    --------
    >>> of_cell("=SUM(A1:A9)")
    "'=SUM(A1:A9)"
    """
    shown = printable(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def storable(text: str) -> str:
    """Return the text with escapes for what files of netCDF and Parquet cannot hold: null and half characters."""
    return _UNKEPT.sub(lambda found: _escaped(found[0]), text)


def variable_name(name: str) -> str:
    """Return a name that netCDF takes for one name: a slash, which divides a path, becomes %2F, controls likewise.

    So does a name of dots alone, which HDF5 reads as the place itself, and spaces at the end, which netCDF drops.

    Examples
    --------
    >>> variable_name("block/0.weight_row")
    'block%2F0.weight_row'
    """
    return _NO_NAME.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace")), name)


def _escaped(character: str) -> str:
    return repr(character)[1:-1]
