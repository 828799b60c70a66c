"""Errors of the recorder: each says what was expected, what was found, why it matters, and what to do.

Every public error derives from `RecorderError` and from the builtin that a caller would expect, and carries its
numbers as attributes.
"""

from __future__ import annotations


class RecorderError(Exception):
    """Base of all errors that the recorder raises on purpose.

    Parameters
    ----------
    message : str
        One sentence or two: what is wrong and what to do.
    **facts
        The numbers and names of the message, kept as attributes.
    """

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.__dict__.update(facts)


class StoreExistsError(RecorderError, FileExistsError):
    """The store exists and `mode="w-"` protects it."""


class StoreMissingError(RecorderError, FileNotFoundError):
    """There is no store where one was expected."""


class StoreLockedError(RecorderError, BlockingIOError):
    """Another recorder writes this store."""


class StoreFormatError(RecorderError, ValueError):
    """The store is not one of ours, is damaged, or is of a newer format."""


class SchemaError(RecorderError, ValueError):
    """The parameters cannot be recorded, or are not the ones that the store holds."""


class ParameterChangedError(RecorderError, RuntimeError):
    """A parameter changed its shape, type or device, or left the model, while it was being recorded."""


class SelectionError(RecorderError, LookupError):
    """A pattern of `include` or `exclude` leaves nothing to record."""


class UsageError(RecorderError, ValueError):
    """An argument or a call has no meaning here."""


class SpoolSpaceError(RecorderError, OSError):
    """The spool finds no room, in memory or on disk."""


class DiskSpaceError(RecorderError, OSError):
    """The run would not fit on the disk (preflight)."""


class WriterError(RecorderError, RuntimeError):
    """The writer process failed; what it had committed is kept, what it had not lies in the spool."""
