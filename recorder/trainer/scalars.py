"""Logged values on their way to the frames. A name or a value that cannot be stored never ends the training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import torch

from recorder.errors import RecorderError
from recorder.names import check_encodable
from recorder.root import check_scalar_name
from recorder.trainer.feeds.device_feed import DeviceFeed
from recorder.trainer.feeds.host_feed import HostFeed
from recorder.trainer.feeds.ring import as_number
from recorder.trainer.feeds.spool import NoColumnError, Spool


class Scalars:
    """Stores logged values with frames, or keeps them for the next frame.

    Lifetime: one recording. What cannot be stored is named once on stderr and left out. `None` is left out silently.
    When all columns are taken, every further name is left out, and the user is told at the first one.

    Attributes
    ----------
    pending : dict
        Values for the next frame, by column.
    calls : int
        Calls of `store` since the last frame. The recorder sets it to 0 at each frame.
    """

    def __init__(self, spool: Spool, feed: HostFeed | DeviceFeed, tell: Callable[[str], None]) -> None:
        self._spool, self._feed, self._tell = spool, feed, tell
        self._columns = spool.names
        self._refused: set[str] = set()
        self._told: set[str] = set()
        self._is_full = self._has_told_mapping = False
        self.pending: dict[int, Any] = {}
        self.calls = 0

    def joined(self, mappings: Iterable[object], scalars: dict[str, Any]) -> dict[str, Any]:
        """Return mappings and keywords as one mapping. What is no mapping is left out, and named once."""
        found: dict[str, Any] = {}
        for mapping in mappings:
            try:
                if not isinstance(mapping, Mapping):
                    raise TypeError("no mapping")
                found.update(mapping)
            except Exception as error:  # a foreign object may raise anything when it is asked for its members
                if not self._has_told_mapping:
                    self._has_told_mapping = True
                    self._tell(
                        f"log(…): expected names with their values, as in log(loss=loss) or "
                        f'log({{"train/loss": loss}}), got {_kind(mapping)} ({_reason(error)}). Not recorded.'
                    )
        return found | scalars

    def store(self, scalars: Mapping[str, Any]) -> None:
        """Store values with the newest frame."""
        self.calls += 1
        columns, feed = self._columns, self._feed
        for name, value in scalars.items():
            if value is None:
                continue
            try:
                column = columns.get(name)
                if column is None and (column := self._admit(name, value)) is None:
                    continue
                feed.log(column, value)
            except Exception as error:  # a foreign object may raise anything when it is asked for its number
                self._refuse_value(name, value, error)

    def keep(self, scalars: Mapping[str, Any]) -> None:
        """Keep values for the next frame, as they are now: the caller may change them in place later."""
        for name, value in scalars.items():
            if value is None:
                continue
            try:
                column = self._columns.get(name)
                if column is None and (column := self._admit(name, value)) is None:
                    continue
                self.pending[column] = _kept(value)
            except Exception as error:
                self._refuse_value(name, value, error)

    def store_pending(self) -> None:
        """Store what was kept with the newest frame."""
        pending, self.pending = self.pending, {}
        for column, value in pending.items():
            self._feed.log(column, value)

    def _admit(self, name: str, value: Any) -> int | None:
        """Return the column of a new name. If the store cannot hold it, tell the user once and return None."""
        if name in self._refused or self._is_full:
            return None
        _kept(value)  # a value that cannot be stored takes no column
        try:
            check_scalar_name(name)
            check_encodable(name)
            return self._spool.column(name)
        except NoColumnError as error:
            self._is_full = True
            self._tell(f"{error} Not recorded, nor is any further name.")
        except Exception as error:
            self._refused.add(name)
            told = isinstance(error, RecorderError)
            plain = f"log({_shown(name)}=…): expected a name in plain text ({_reason(error)})."
            self._tell(f"{error if told else plain} Not recorded.")
        return None

    def _refuse_value(self, name: str, value: Any, error: Exception) -> None:
        if (shown := _shown(name)) not in self._told:
            self._told.add(shown)
            self._tell(
                f"log({shown}=…): expected a number or an array or tensor of one element, got {_kind(value)} "
                f"({_reason(error)}). Such values are not recorded."
            )


def _shown(name: object) -> str:
    """Return a name as a message shows it; the class of an object that cannot be printed."""
    with suppress(Exception):
        return str(name)
    return f"<{_kind(name)}>"


def _kind(value: object) -> str:
    return str(type(value).__name__)


def _reason(error: Exception) -> str:
    """Return the first line of an error's text; its class if there is no text."""
    with suppress(Exception):
        if reason := str(error).partition("\n")[0]:
            return reason
    return _kind(error)


def _kept(value: Any) -> Any:
    """Return a value that nobody else can change: a number, or a copy on the device. It waits for nothing."""
    if isinstance(value, torch.Tensor) and value.device.type == "cuda" and not value.is_complex():
        return value.detach().clone().reshape(())
    return as_number(value)
