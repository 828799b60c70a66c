"""The recorder's arguments, checked before anything is touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recorder.errors import StoreExistsError, StoreMissingError, UsageError
from recorder.root import COMPRESSIONS, RESERVED, read_root


@dataclass(frozen=True, slots=True)
class Options:
    """How to record; see `Recorder` for the meaning of each.

    Raises
    ------
    UsageError
        A value is none of those allowed.
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
            ("compression", COMPRESSIONS),
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
            if value is not None and (not isinstance(value, int) or value < 1):
                raise UsageError(f"{name}: expected a positive number of steps, got {value!r}.")

    @property
    def expected_frames(self) -> int:
        """Frames that a run of the expected length records after its first."""
        return -(-(self.expected_steps or 0) // self.stride)


def check_store(options: Options) -> None:
    """Refuse, before the training starts, a store that this recording could not write.

    Raises
    ------
    StoreExistsError, StoreMissingError, StoreFormatError
    """
    store = options.store
    if options.mode == "a" and not store.exists():
        raise StoreMissingError(f"{store}: expected a store to resume, there is none. Record a new one with mode='w-'.")
    if options.mode == "w-" and store.exists():
        raise StoreExistsError(
            f"{store}: expected no store there, one exists. Its frames are kept: resume it (mode='a'), replace it "
            "(mode='w'), or name another path.",
            store=store,
        )
    if options.mode != "w-" and store.exists() and not (store.is_dir() and not any(store.iterdir())):
        read_root(store)


def check_scalar_name(name: str) -> None:
    """Refuse a name that the store keeps for itself or cannot hold.

    Raises
    ------
    UsageError
    """
    if (
        name in RESERVED
        or "/" in name
        or "\\" in name
        or name.startswith((".", "__"))
        or name == "zarr.json"
        or not 0 < len(name) <= 200
    ):
        raise UsageError(
            f"log({name}=…): expected a plain name other than {', '.join(RESERVED)} (the recorder writes those), "
            f"without a slash. Log it as {('my_' + name.strip('._').replace('/', '_'))[:40]!r}."
        )
