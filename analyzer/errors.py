"""All errors and warnings of the analyzer.

Each message says what was expected, what was found, why it matters and what to do. Each error derives from
`AnalyzerError` and from the builtin that a caller would catch, and has the numbers and names of its message as
attributes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from analyzer.text import printable


def caller_level() -> int:
    """Return the `stacklevel` at which a warning shows the line outside this package that led to it."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "analyzer":
        level, frame = level + 1, frame.f_back
    return level


class AnalyzerError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    message
        What was expected, what was found, why it matters and what to do.
    **facts
        The numbers and names of the message. They become attributes of the error.
    """

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.__dict__.update(facts)

    def __str__(self) -> str:
        return printable(str(self.args[0]))  # a name or a path in it may hold characters that a terminal obeys


class StoreNotFoundError(AnalyzerError, FileNotFoundError):
    """The path does not exist."""


class NotATrajectoryError(AnalyzerError, ValueError):
    """The path exists, but it is not a store that the recorder wrote."""


class FormatVersionError(AnalyzerError, ValueError):
    """The store has a newer format than this version can read."""


class DamagedStoreError(AnalyzerError, ValueError):
    """The store's metadata contradicts the format."""


class CorruptChunkError(AnalyzerError, ValueError):
    """A chunk exists but cannot be decoded to the data that was written."""


class MissingChunkError(AnalyzerError, FileNotFoundError):
    """A committed chunk does not exist. Plain zarr would silently read its fill value."""


class TrajectoryMissingError(AnalyzerError, FileNotFoundError):
    """Only the kept sums of the run exist, and they do not answer this question."""


class StoreChangedError(AnalyzerError, RuntimeError):
    """The path of the run that was opened now holds another run."""


class WorkerVersionError(AnalyzerError, RuntimeError):
    """A worker of a cluster has another version of thermotrace than the process that asks."""


class TooFewFramesError(AnalyzerError, ValueError):
    """The range has too few frames for a velocity."""


class WindowError(AnalyzerError, ValueError):
    """The run is too short for a window, range or lag, or one of them is invalid."""


class EpochError(AnalyzerError, ValueError):
    """The question needs epochs, but the run recorded none, or they cannot be compared."""


class GroupError(AnalyzerError, ValueError):
    """The kind of group is unknown, or no recorded parameter has such groups."""


class SelectionError(AnalyzerError, LookupError):
    """A pattern matches no recorded parameter or layer."""


class OptionError(AnalyzerError, ValueError):
    """An option has an invalid value, such as a convention, a mass, a Boltzmann constant or a file format."""


class FitError(AnalyzerError, ValueError):
    """The points do not determine the coefficients of a model: too few, all at one place, or not positive."""


class MemoryLimitError(AnalyzerError, MemoryError):
    """The computation would need more memory than allowed."""


class TreeError(AnalyzerError, TypeError):
    """The object is not a run, or it lost attributes of its parameters that an analysis needs."""


class SweepError(AnalyzerError, ValueError):
    """The runs do not form a sweep, or did not record a hyperparameter."""


class ReportError(AnalyzerError, ValueError):
    """The report cannot be written as asked."""


class NotInstalledError(AnalyzerError, ModuleNotFoundError):
    """A library is missing: thermotrace was installed without the extra `analyzer`."""


LIBRARIES = frozenset(
    (
        "dask",
        "distributed",
        "xarray",
        "pandas",
        "scipy",
        "numba",
        "matplotlib",
        "rich",
        "h5netcdf",
        "h5py",
        "pyarrow",
        "jinja2",
    )
)
"""What the extra `analyzer` of pyproject.toml installs."""


@contextmanager
def named_if_missing() -> Iterator[None]:
    """Raise `NotInstalledError` where an import fails because a library of the extra is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        if library not in LIBRARIES:
            raise
        raise NotInstalledError(
            f"analyzer: expected the library {library}, got none of that name. Install all that analysis needs: "
            "pip install 'thermotrace[analyzer]'",
            library=library,
        ) from error


class AnalyzerWarning(UserWarning):
    """What every warning of the analyzer derives from."""


class NonFiniteWarning(AnalyzerWarning):
    """Weights are NaN or infinite, so the temperatures of their groups are NaN."""


class SettingsWarning(AnalyzerWarning):
    """A window spans a resume at which hyperparameters, the optimizer or the stride changed."""


class StrideWarning(AnalyzerWarning):
    """Runs of a sweep have different strides, so that the default lag is a multiple of them."""


class BranchWarning(AnalyzerWarning):
    """Runs of a sweep are branches of one run, and a window holds steps that they share."""


class EquilibriumWarning(AnalyzerWarning):
    """A question was asked of the equilibrium of a run that still drifts."""


class FitWarning(AnalyzerWarning):
    """Runs of a sweep were left out of its fit, or are in it although they are not in equilibrium."""


class KeptSumsWarning(AnalyzerWarning):
    """Kept sums answer in place of a run's frames, or they answer only a part of the question."""
