"""Records and digests that distinguish one continuation of a run from another."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def settled(segments: Any) -> list[Any]:
    """Segment records without `end_step`: the writer adds it when a session ends, and changes nothing else in them."""
    return [
        {name: value for name, value in one.items() if name != "end_step"} if isinstance(one, dict) else one
        for one in segments
    ]


def digest_of(document: object) -> str:
    """A digest of a JSON document that does not depend on the order of its names."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]
