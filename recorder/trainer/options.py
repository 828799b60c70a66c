"""The recorder's arguments, checked before anything is touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from operator import index
from pathlib import Path
from typing import Any

from recorder.budget import parse_bytes
from recorder.codecs import CODECS
from recorder.errors import StoreExistsError, StoreMissingError, UsageError
from recorder.names import user_path
from recorder.root import read_root, refuse_half_replaced
from recorder.trainer.values import members_of


@dataclass(frozen=True, slots=True)
class Options:
    """How to record; `Recorder` describes each option.

    Raises
    ------
    UsageError
        A value is not allowed.
    """

    store: Path
    hyperparameters: Mapping[str, Any]
    include: str | Iterable[str] | None
    exclude: str | Iterable[str] | None
    stride: int
    chunk_steps: int | None
    compression: str
    mode: str
    expected_steps: int | None
    on_pressure: str
    on_error: str
    spool: Path | None
    spool_limit: int | None
    compare_every: int | None
    user_step: int | None

    def __post_init__(self) -> None:
        for name, allowed in (
            ("mode", ("w-", "w", "a")),
            ("compression", tuple(CODECS)),
            ("on_pressure", ("wait", "drop")),
            ("on_error", ("raise", "warn")),
        ):
            if (value := getattr(self, name)) not in allowed:
                raise UsageError(f"{name}: expected one of {', '.join(map(repr, allowed))}, got {value!r}.")
        for name, value in (
            ("stride", self.stride),
            ("expected_steps", self.expected_steps),
            ("compare_every", self.compare_every),
        ):
            if value is not None and (number := _whole(name, value)) < 1:
                raise UsageError(f"{name}: expected a positive number of steps, got {number}.")
        for name in ("stride", "expected_steps", "compare_every", "user_step", "chunk_steps"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, _whole(name, value))

    @property
    def expected_frames(self) -> int:
        """Frames that a run of the expected length records after frame 0."""
        return -(-(self.expected_steps or 0) // self.stride)


def options_of(keywords: Mapping[str, Any]) -> Options:
    """Return the options among the `locals()` of `Recorder.__init__` at its beginning, as this module keeps them.

    Raises
    ------
    UsageError
        A value is not allowed.
    """
    given = {field.name: keywords[field.name] for field in fields(Options)}
    given["store"] = user_path(given["store"])
    given["hyperparameters"] = members_of(given["hyperparameters"])
    given["spool"] = None if given["spool"] is None else user_path(given["spool"])
    given["spool_limit"] = None if given["spool_limit"] is None else parse_bytes(given["spool_limit"])
    return Options(**given)


def _whole(name: str, value: Any) -> int:
    """Return a count as an integer of Python: it may be one of numpy or torch."""
    try:
        return index(value)
    except TypeError as error:
        raise UsageError(f"{name}: expected a whole number of steps, got {value!r}.") from error


def check_status(status: object) -> None:
    """Refuse a status that no ended run has.

    Raises
    ------
    UsageError
    """
    if status not in ("complete", "interrupted"):
        raise UsageError(f"close: expected the status 'complete' or 'interrupted', got {status!r}.")


def check_store(options: Options) -> None:
    """Refuse a store that this recording could not write, before the training starts.

    Raises
    ------
    StoreExistsError, StoreMissingError, StoreFormatError
    """
    store = options.store
    refuse_half_replaced(store)
    if options.mode == "a" and not store.exists():
        raise StoreMissingError(f"{store}: expected a store to resume, found none. Record a new one with mode='w-'.")
    if options.mode == "w-" and store.exists():
        raise StoreExistsError(
            f"{store}: expected no store there, but one exists. Its frames are kept: resume it (mode='a'), replace it "
            "(mode='w'), or name another path.",
            store=store,
        )
    if options.mode != "w-" and store.exists() and not (store.is_dir() and not any(store.iterdir())):
        read_root(store)
