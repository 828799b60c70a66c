"""The root of a store, as far as it can be read and judged without any codec: the training process imports this,
never the codecs.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recorder.errors import StoreFormatError

FORMAT = "parameter-trajectory"
FORMAT_VERSION = 1
COMPRESSIONS = ("pcodec", "lz4", "none")
RESERVED = ("step", "parameters", "learning_rate")


def now() -> str:
    """Return the time as the store holds it: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_root(store: Path) -> dict[str, Any]:
    """Return the root attributes of a store.

    Raises
    ------
    StoreFormatError
        It is not a store of ours, or its root document is damaged, or it is newer than this version.
    """
    path = store / "zarr.json"
    try:
        attributes = json.loads(path.read_text())["attributes"]
        found, version = attributes.get("format"), attributes.get("format_version")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreFormatError(
            f"{store}: expected a trajectory store, its zarr.json cannot be read ({error}). Name the folder that a "
            "Recorder wrote."
        ) from error
    if found != FORMAT:
        raise StoreFormatError(
            f"{store}: expected a trajectory store, its zarr.json says format {found!r}. It is left untouched: name "
            "another path."
        )
    if version != FORMAT_VERSION:
        raise StoreFormatError(
            f"{store}: expected format version {FORMAT_VERSION}, got {version}. Upgrade thermotrace to write to this "
            "store."
        )
    return dict(attributes)
