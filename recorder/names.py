"""Names and paths that users choose, in the form in which a store holds them. `FORMAT.md` is normative."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sys
from pathlib import Path
from urllib.parse import quote

from recorder.errors import UsageError
from recorder.root import PARAMETERS, RESERVED

LONGEST_NAME = 1000  # bytes of UTF-8 of a logged name: its place in the spool holds no more
LONGEST_SCALAR_PATH = 200  # bytes; caches and copies of a store add to it, and most file systems end at 255
LONGEST_PART = 255  # bytes of one level in the path of a parameter

_KEPT = (*RESERVED, "zarr.json", "attempts")  # other names at the root
_DIGEST = 16
_ESCAPE = re.compile("%(?=[0-9A-Fa-f]{2})")
_CUT_ESCAPE = re.compile("%[0-9A-F]?$")


def as_text(value: str) -> str:
    r"""Return a text that UTF-8 can hold: lone surrogates, as in paths that are not UTF-8, become escapes.

    >>> as_text("data/\udce9t\udce9")
    'data/\\udce9t\\udce9'
    """
    return value.encode("utf-8", "backslashreplace").decode()


def recorded_name(name: str) -> str:
    """Return the name under which a logged value is recorded: the name itself, but with escapes and cut if too long."""
    text = as_text(name)
    return _shortened(text, text, LONGEST_NAME)


def scalar_path(name: str) -> str:
    """Return the path of a logged scalar at the root of a store. The path of a plain name is the name.

    >>> scalar_path("loss"), scalar_path("train/loss"), scalar_path("step")
    ('loss', 'train%2Floss', '%73tep')
    """
    name = recorded_name(name)
    is_kept = name in _KEPT or name.startswith((".", "__"))
    escapes = {match.start() for match in _ESCAPE.finditer(name)}
    path = "".join(
        _encoded(character)
        if character in "/\\" or not character.isprintable() or place in escapes or (is_kept and place == 0)
        else character
        for place, character in enumerate(name)
    )
    return _shortened(path, name, LONGEST_SCALAR_PATH)


def check_encodable(name: str) -> None:
    """Refuse a name for a logged value that this system's encoding of file names, such as ISO-8859-1, cannot hold.

    Raises
    ------
    UsageError
    """
    encoding = sys.getfilesystemencoding()
    if encoding == "ascii":
        return  # the writer uses UTF-8 then
    try:
        scalar_path(name).encode(encoding, "surrogateescape")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"log({name}=…): expected a name that file names in {encoding} can hold. Take another, or set PYTHONUTF8=1."
        ) from error


def parameter_path(name: str) -> str:
    """Return the path of a parameter in a store.

    >>> parameter_path("conv1.lin.weight")
    'parameters/conv1/lin/weight'
    """
    return "/".join([PARAMETERS, *(_encoded_part(part) for part in as_text(name).split("."))])


def _encoded_part(part: str) -> str:
    path = quote(part, safe="").replace("~", "%7E")
    # A group named `step` would hide the root's coordinate from every reader of the tree. zarr reserves `__`.
    if part == "step" or part.startswith("__"):
        path = _encoded(part[0]) + path[1:]
    return _shortened(path, part, LONGEST_PART)


def _encoded(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def _shortened(text: str, name: str, most: int) -> str:
    """Cut a text of more than `most` bytes. It then ends in a digest of the whole name, which keeps it unique."""
    data = text.encode()
    if len(data) <= most:
        return text
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
    kept = data[: most - _DIGEST - 1].decode(errors="ignore")
    return f"{_CUT_ESCAPE.sub('', kept)}~{digest}"


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path that a user means; `~` is the home folder. Links are not resolved.

    Raises
    ------
    UsageError
        No file system can hold the path.
    """
    expanded = os.path.abspath(os.path.expanduser(os.fspath(path)))  # noqa: PTH100, PTH111 - resolve() follows links
    try:
        os.lstat(expanded)
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.ENAMETOOLONG:
            return Path(expanded)  # whoever uses the path will report any other fault
        raise UsageError(
            f"path {as_text(expanded)[:80]!r}: expected one that a file system can hold, got: "
            f"{getattr(error, 'strerror', None) or error}. Name another path."
        ) from error
    return Path(expanded)
