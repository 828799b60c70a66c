"""Every way in which an analysis can be refused.

Each error says what was expected, what was found, why it matters and what to do; it derives from
`AnalyzerError` and from the builtin that a caller would catch, and carries its facts as attributes.
"""

from __future__ import annotations

from typing import Any


class AnalyzerError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    message
        What was expected, what was found, why it matters and what to do, in a sentence each.
    **facts
        The numbers and names of the message: they become attributes.
    """

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.__dict__.update(facts)

    def __str__(self) -> str:
        return str(self.args[0])


class StoreNotFoundError(AnalyzerError, FileNotFoundError):
    """There is nothing at the given path."""


class NotATrajectoryError(AnalyzerError, ValueError):
    """Something is there, but no run that a recorder wrote."""


class FormatVersionError(AnalyzerError, ValueError):
    """The store was written in a newer format than this version reads."""


class DamagedStoreError(AnalyzerError, ValueError):
    """The store's metadata contradicts the format."""


class CorruptChunkError(AnalyzerError, ValueError):
    """A chunk exists but does not decode to what was written."""


class MissingChunkError(AnalyzerError, FileNotFoundError):
    """A committed chunk does not exist; zarr alone would read it as fill, silently."""


class TrajectoryMissingError(AnalyzerError, FileNotFoundError):
    """Only a run's sums were kept, and they do not answer the question."""


class StoreChangedError(AnalyzerError, RuntimeError):
    """Another run stands at the path of the run that was opened."""


class TooFewFramesError(AnalyzerError, ValueError):
    """No velocity can be formed from the frames in the range."""


class WindowError(AnalyzerError, ValueError):
    """A window, range or lag that the run cannot fill."""


class EpochError(AnalyzerError, ValueError):
    """Epochs were asked for, but the run records none, or none that can be compared."""


class GroupError(AnalyzerError, ValueError):
    """An unknown kind of group, or one that no recorded parameter has."""


class SelectionError(AnalyzerError, LookupError):
    """A pattern that matches no recorded parameter or layer."""


class OptionError(AnalyzerError, ValueError):
    """An option outside its domain: a convention, a mass, a Boltzmann constant, a file format."""


class FitError(AnalyzerError, ValueError):
    """Points that cannot decide the coefficients of a model: too few, all at one place, or not positive."""


class MemoryLimitError(AnalyzerError, MemoryError):
    """The answer, or the way to it, is projected to need more memory than allowed."""


class TreeError(AnalyzerError, TypeError):
    """The object is not a run, or it lost what an analysis needs to know about its parameters."""


class SweepError(AnalyzerError, ValueError):
    """Runs that make no sweep, or a hyperparameter that they did not record."""


class ReportError(AnalyzerError, ValueError):
    """A report that cannot be written as asked."""


class NonFiniteWarning(UserWarning):
    """Weights are NaN or infinite; the temperatures of their groups are NaN."""


class EquilibriumWarning(UserWarning):
    """A run that was asked for its equilibrium still drifts."""
