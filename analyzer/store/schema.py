"""What a store holds, read once from its root `zarr.json`: plain records, neither zarr nor xarray.

The consolidated metadata in that one file is the only account of how many frames are committed
(`recorder/FORMAT.md`, "Commit"); an array's own `zarr.json` may be older.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

from analyzer.errors import DamagedStoreError, FormatVersionError, NotATrajectoryError
from analyzer.store.documents import damaged, root_text
from analyzer.store.frozen import with_frozen
from analyzer.store.identity import digest_of, settled
from analyzer.store.kept import MOMENTS_FORMAT as MOMENTS_FORMAT
from analyzer.store.kept import place_of
from analyzer.store.names import is_path, scalar_name, user_path, without_halves
from analyzer.store.names import is_url as is_url
from analyzer.store.parameters import Parameter as Parameter
from analyzer.store.parameters import parameter_of as parameter_of

FORMAT = "parameter-trajectory"
FORMAT_VERSION = 1
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""What JSON writes for half of a surrogate pair, and for a character beyond the first 65,536."""
_MOST = 1 << 48
"""Largest number of frames, of weights, or of places along an axis of a chunk."""


@dataclass(frozen=True)
class Segment:
    """An uninterrupted stretch of a run. A velocity leads into it only if it is continuous."""

    first_frame: int
    first_step: int
    continuous: bool
    user_step: int | None = None
    stride: int | None = None


@dataclass(frozen=True)
class Scalar:
    """A logged series: one value for each frame, or a few.

    Attributes
    ----------
    name
        As it was logged. It may hold any character.
    path
        Where it lies in the store.
    """

    name: str
    path: str
    dtype: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Store:
    """One recorded run, as its root metadata describes it."""

    location: str
    run_id: str
    status: str
    frames: int
    chunk_steps: int
    stride: int
    segments: tuple[Segment, ...]
    parameters: tuple[Parameter, ...]
    scalars: tuple[Scalar, ...]
    attrs: Mapping[str, Any] = field(repr=False, hash=False, compare=False, default_factory=dict)

    @property
    def is_trajectory(self) -> bool:
        """Whether the frames are there, or only what was kept of them."""
        return self.attrs.get("format") != MOMENTS_FORMAT

    @cached_property
    def segments_mark(self) -> tuple[int, str]:
        """Number and digest of the segments (`settled`): which continuation of the run it is."""
        listed = self.attrs.get("segments", [])
        return len(listed), digest_of(settled(listed))

    @property
    def weights(self) -> int:
        """Number of recorded weights of one frame."""
        return sum(parameter.weights for parameter in self.parameters)


def read_store(location: str | Path) -> Store:
    """The store at a path or URL, validated from its root metadata alone.

    Where only kept sums are left of it, these are opened instead, with a `KeptSumsWarning`.

    Raises
    ------
    StoreNotFoundError
        Nothing is there.
    NotATrajectoryError
        Something else is there: a file, an empty directory, another Zarr hierarchy.
    FormatVersionError
        The store is of a newer format.
    DamagedStoreError
        The metadata is cut short or contradicts itself.
    """
    location = place_of(user_path(location))
    text = root_text(location)
    try:
        document = json.loads(text)
        # Earlier recorders wrote paths that were not UTF-8 as half surrogate pairs.
        document = without_halves(document) if _ESCAPED_HALF.search(text) else document
    except (ValueError, RecursionError) as error:
        raise DamagedStoreError(
            f"{location}: expected zarr.json to hold JSON, got text that ends or breaks at character "
            f"{getattr(error, 'pos', 0)} of {len(text)}. Without it nobody knows which frames are committed. "
            "Restore zarr.json from a copy of the store, or record the run again.",
            location=location,
        ) from error
    return parse_store(location, document)


def parse_store(location: str, document: object) -> Store:
    """The store that a decoded root `zarr.json` describes."""
    root, attrs = _of_ours(location, document)
    arrays = _arrays(location, root)
    step = arrays.get("step")
    if step is None:
        raise DamagedStoreError(
            f"{location}: expected an array 'step', got none. Frames without their steps have no velocities. "
            f"Restore the store from a copy, or run: recorder recover {location}",
            location=location,
        )
    frames = _length(location, "step", step)
    parameters = []
    scalars = []
    for path, node in arrays.items():
        if path == "step":
            continue
        if not is_path(path):
            raise damaged(location, "paths of arrays", "names that stay within the store", path)
        if _length(location, path, node) != frames:
            raise damaged(location, f"array {path!r}", f"{frames} frames, as 'step' has", _length(location, path, node))
        if path.startswith("parameters/"):
            parameters.append(_parameter(location, path, node))
        elif "/" not in path:
            name = scalar_name(path, node.get("attributes"))
            scalars.append(Scalar(name, path, node["data_type"], tuple(node["dimension_names"]), tuple(node["shape"])))
    return Store(
        location=location,
        run_id=attrs.get("run_id", ""),
        status=str(attrs.get("status", "")),
        frames=frames,
        chunk_steps=_positive(location, attrs, "chunk_steps"),
        stride=_positive(location, attrs, "stride"),
        segments=segments_of(location, attrs.get("segments", [])),
        parameters=with_frozen(parameters, attrs),
        scalars=tuple(scalars),
        attrs=attrs,
    )


def _of_ours(location: str, document: object) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """A root document and its attributes, which a recorder wrote, of a version that we know."""
    attrs = document.get("attributes") if isinstance(document, dict) else None
    if (
        not isinstance(document, dict)
        or not isinstance(attrs, dict)
        or attrs.get("format") not in (FORMAT, MOMENTS_FORMAT)
    ):
        found = attrs.get("format") if isinstance(attrs, dict) else None
        raise NotATrajectoryError(
            f"{location}: expected a store with the attribute format = {FORMAT!r}, got "
            f"{'a Zarr hierarchy without it' if found is None else repr(found)}. It was not written by a recorder. "
            "Give the path that was given to Recorder(...).",
            location=location,
        )
    run_id = attrs.get("run_id", "")
    if not isinstance(run_id, str) or re.fullmatch(r"[\w-]{0,64}", run_id) is None:  # it names files
        raise damaged(location, "run_id", "hexadecimal digits", run_id)
    for key in ("hyperparameters", "model", "recording"):
        if not isinstance(attrs.get(key) or {}, dict):
            raise damaged(location, key, "an object", attrs[key])
    version = attrs.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise damaged(location, "format_version", "a positive integer", version)
    if version > FORMAT_VERSION:
        raise FormatVersionError(
            f"{location}: expected format version {FORMAT_VERSION} or older, got {version}. A newer recorder wrote it, "
            "and reading it by old rules could give wrong temperatures. Upgrade: pip install --upgrade thermotrace",
            location=location,
            version=version,
        )
    return document, attrs


def segments_of(location: str, listed: object) -> tuple[Segment, ...]:
    """The segments of a root attribute."""
    try:
        return tuple(
            Segment(
                first_frame=int(entry["first_frame"]),
                first_step=int(entry["first_step"]),
                continuous=bool(entry.get("continuous", False)),
                user_step=None if entry.get("user_step") is None else int(entry["user_step"]),
                stride=_stride(entry.get("stride")),
            )
            for entry in listed  # type: ignore[attr-defined]
        )
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise damaged(location, "segments", "a list of objects with first_frame and first_step", listed) from error


def _stride(value: Any) -> int | None:
    """The stride of a segment; None where the segment has none of its own."""
    if value is None:
        return None
    if not _is_count(value) or value < 1:
        raise ValueError(value)
    return int(value)


def _arrays(location: str, document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    consolidated = document.get("consolidated_metadata")
    nodes = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    if not isinstance(nodes, dict):
        raise DamagedStoreError(
            f"{location}: expected consolidated metadata in zarr.json, got none. It is what publishes the committed "
            f"length. Rewrite it: recorder recover {location}",
            location=location,
        )
    return {path: node for path, node in nodes.items() if isinstance(node, dict) and node.get("node_type") == "array"}


def _length(location: str, path: str, node: Mapping[str, Any]) -> int:
    """Committed frames of an array; checks that shape, chunks and dimension names agree."""
    shape, names = node.get("shape"), node.get("dimension_names")
    if not (isinstance(shape, list) and shape and all(_is_count(n) for n in shape)):
        raise damaged(location, f"shape of {path!r}", "a list of lengths", shape)
    axis = len(shape) - 1 if path.startswith("parameters/") else 0
    if not isinstance(names, list) or len(names) != len(shape) or names[axis] != "step":
        raise damaged(location, f"dimensions of {path!r}", f"{len(shape)} names with 'step' at {axis}", names)
    if not isinstance(node.get("data_type"), str):
        raise damaged(location, f"data type of {path!r}", "a name", node.get("data_type"))
    if len(_chunks(location, path, node)) != len(shape):
        raise damaged(location, f"chunks of {path!r}", f"{len(shape)} lengths", _chunks(location, path, node))
    return int(shape[axis])


def _chunks(location: str, path: str, node: Mapping[str, Any]) -> tuple[int, ...]:
    try:
        chunks = tuple(int(n) for n in node["chunk_grid"]["configuration"]["chunk_shape"])
    except (KeyError, TypeError, ValueError, OverflowError):
        chunks = ()
    if not chunks or min(chunks) < 1 or max(chunks) > _MOST:
        raise damaged(location, f"chunks of {path!r}", "a regular grid of positive lengths", node.get("chunk_grid"))
    return chunks


def _parameter(location: str, path: str, node: Mapping[str, Any]) -> Parameter:
    chunks = _chunks(location, path, node)
    attrs = node.get("attributes")
    try:
        return parameter_of(
            path, attrs if isinstance(attrs, dict) else {}, node["shape"][:-1], node["data_type"], chunks=chunks
        )
    except KeyError as error:
        raise damaged(location, f"attributes of {path!r}", f"the attribute {error}", attrs) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise damaged(location, f"attributes of {path!r}", "values of the right types", attrs) from error


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


def _positive(location: str, attrs: Mapping[str, Any], key: str) -> int:
    value = attrs.get(key)
    if not _is_count(value) or not value:
        raise damaged(location, key, "a positive integer", value)
    return value
