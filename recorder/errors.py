"""Errors of the recorder. Each says what was expected, what was found, why it matters and what to do.

Every public error derives from `RecorderError` and from the builtin that a caller would expect, and carries its
numbers as attributes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from recorder.text import printable


class RecorderError(Exception):
    """Base of all errors that the recorder raises on purpose.

    Parameters
    ----------
    message : str
        What is wrong and what to do.
    **facts
        Numbers and names of the message, which become attributes.
    """

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.__dict__.update(facts)

    def __str__(self) -> str:
        return printable(super().__str__())  # it may hold names and paths with control characters


class StoreExistsError(RecorderError, FileExistsError):
    """The store exists and `mode="w-"` protects it."""


class StoreMissingError(RecorderError, FileNotFoundError):
    """There is no store where one was expected."""


class StoreLockedError(RecorderError, BlockingIOError):
    """Another recorder writes this store."""


class StoreFormatError(RecorderError, ValueError):
    """The folder is not a trajectory store, is damaged, or has a newer format."""


class SchemaError(RecorderError, ValueError):
    """The parameters cannot be recorded, or differ from those in the store."""


class ParameterChangedError(RecorderError, RuntimeError):
    """A parameter changed its shape, type or device, or left the model, while it was recorded."""


class RecordingError(RecorderError, RuntimeError):
    """Something that the recorder did not expect ended the recording; the cause is chained to it."""


class SelectionError(RecorderError, LookupError):
    """A pattern of `include` or `exclude` matches nothing, or leaves nothing to record."""


class UsageError(RecorderError, ValueError):
    """An argument or a call is not valid."""


class SpoolSpaceError(RecorderError, OSError):
    """The spool finds no room in memory or on disk."""


class DiskSpaceError(RecorderError, OSError):
    """The run would not fit on the disk; raised before it starts."""


class CheckpointError(RecorderError, ValueError):
    """A checkpoint file cannot be imported, or the files are not of one model."""


class NotInstalledError(RecorderError, ModuleNotFoundError):
    """torch is missing: thermotrace was installed without the extra `recorder`."""


class WriterError(RecorderError, RuntimeError):
    """The writer process failed. Frames that it committed are kept, the others lie in the spool."""


@contextmanager
def named_if_missing() -> Iterator[None]:
    """Turn a failed import of torch into a `NotInstalledError`; leave other errors as they are."""
    try:
        yield
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] != "torch":
            raise
        raise NotInstalledError(
            "recorder: expected torch, got no package of that name. Install it: pip install 'thermotrace[recorder]'"
        ) from error


def expected(error: Exception, what: str) -> RecorderError:
    """Return an error of the recorder as it is, and any other as the cause of a `RecordingError`.

    Parameters
    ----------
    error : Exception
    what : str
        What the recorder was about to do, after "expected to".
    """
    if isinstance(error, RecorderError):
        return error
    failure = RecordingError(
        f"recording: expected to {what}, got {type(error).__name__}: {error}. Frames before it are kept. Leave out "
        "what the message names (exclude=…), or let the training go on without a recording (on_error='warn')."
    )
    failure.__cause__ = error
    return failure


def error_named(name: str, message: str) -> RecorderError | None:
    """Return the error whose class and text another process wrote down; None for a class not of this module."""
    kind = globals().get(name)
    return kind(message) if isinstance(kind, type) and issubclass(kind, RecorderError) else None
