"""How far the mean squared velocity of a matrix factorises into rows × columns: shares of variance, factors, the rest.

ln⟨v²⟩_ij of the elements with ⟨v²⟩ > 0 is fitted by m + a_i + b_j (`analyzer.statistics.two_way`). The sum of squares
of ln⟨v²⟩ about its mean is the sum of squares of the fit plus that of the residuals. In a finite window, sampling
errors make both too large: each element has an error, and errors of elements are correlated. Their contribution is
estimated from the projections on slow cosines that also give error bars (`analyzer.statistics.uncertainty`). The
relative deviations of the batches of every element are projected, and each projection is fitted like the table itself.
The mean sums of squares of these fits, divided by the number of samples, are subtracted. So a long window and a short
one have the same expected share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.statistics.density import NORMAL, PROJECTIONS, cosines
from analyzer.statistics.two_way import Fits, Layout, fits, layout
from analyzer.statistics.uncertainty import error_of_batches

Array = np.ndarray[Any, np.dtype[Any]]

LEAST_BATCHES = 12
"""Fewest batches for an answer, as for the test of rows: eleven projections."""
_ROUGH = 0.5
"""Relative error of an element's ⟨v²⟩ (root mean square over elements) above which a share is flagged: its logarithm is
then too far from linear for these estimates."""
_AT_ONCE = 1 << 23
"""Most numbers in one piece of the fits of batches (64 MiB)."""


@dataclass(frozen=True)
class Separability:
    """How well rows × columns describes the ⟨v²⟩ of a matrix.

    Attributes
    ----------
    share, low, high
        Share of the variance of ln⟨v²⟩ that rows and columns explain, without sampling errors, and its 95 % interval;
        all within 0 to 1. NaN where there is no answer.
    measured
        The same share of ln⟨v²⟩ as measured, with its sampling errors: 1 − left/total of plain least squares.
    chance, chance_high
        The mean share of matrices without structure, and the share that 5 % of them exceed. See `chance`.
    adjusted
        (share − chance)/(1 − chance): 0 on average without structure, 1 if nothing is left.
    sampling_error
        Relative standard error of the ⟨v²⟩ of an element, root mean square over elements.
    left
        Root mean square of the residuals of ln⟨v²⟩, without sampling errors.
    unreliable
        The interval cannot be trusted: the window changes slowly, or elements are known too roughly.
    scale
        Geometric mean of the fit, exp(m).
    row, row_low, row_high
        (rows,) factor of each row, exp(a), and its 95 % interval. Their geometric mean is 1. 0 for a row at rest, NaN
        for one whose elements were all left out.
    column, column_low, column_high
        The same for columns.
    ratio
        (rows, columns) ⟨v²⟩ divided by the fit. 0 for an element at rest, NaN for one that was left out or whose row or
        column has no factor.
    reason
        Why there is no answer, else empty.
    """

    share: float
    low: float
    high: float
    measured: float
    chance: float
    chance_high: float
    adjusted: float
    sampling_error: float
    left: float
    unreliable: bool
    scale: float
    row: Array
    row_low: Array
    row_high: Array
    column: Array
    column_low: Array
    column_high: Array
    ratio: Array
    reason: str


def chance(cells: Layout) -> tuple[float, float]:
    """Return the mean and the 95 % quantile of the share that rows and columns explain in a matrix without structure.

    If elements are independent and have one distribution, the fit explains on average the share of the degrees of
    freedom that it has: (rows + columns − 2)/(rows·columns − 1). If their logarithms are Gaussian, the share has the
    distribution Beta((rows + columns − 2)/2, (rows − 1)(columns − 1)/2).
    """
    from scipy.special import betaincinv  # imported late: a question without factors does not need it

    total, explained = cells.cells - 1, cells.freedom
    return explained / total, float(betaincinv(explained / 2, (total - explained) / 2, 0.95))


def separability(counts: Array, means: Array, least: Array | None = None) -> Separability:
    """Fit ln⟨v²⟩ of a matrix by rows and columns, and return the share of its variance that they explain.

    Parameters
    ----------
    counts
        (batches,) number of samples in each batch, at least one, in order of time.
    means
        (rows, columns, batches) mean of v² over each batch.
    least
        (rows, columns) ⟨v²⟩ below which an element is left out, since it is mostly rounding.

    Returns
    -------
    Separability

    Notes
    -----
    The interval is for the share of this matrix in an endless window at the same weights; it does not hold for other
    matrices. To first order the share is a mean over time: its derivative with respect to ln⟨v²⟩ of each element, times
    the relative deviations of the batches, gives a series, and the series gives the error. If rows and columns explain
    everything, the interval is too wide rather than too narrow (tests/benchmarks/COVERAGE_FACTORS.md). Elements are
    never resampled: those of one row share the error signal of their unit.
    """
    lengths = np.asarray(counts, dtype=np.float64)
    heat = np.asarray(means @ lengths / lengths.sum())
    moved = heat > 0 if least is None else (heat > 0) & (heat >= least)
    rows, columns = np.asarray(moved.any(axis=1)), np.asarray(moved.any(axis=0))
    reason = _refused(heat, rows, columns, lengths.size)
    cells = None if reason else layout(moved[np.ix_(rows, columns)])
    if cells is not None and cells.blocks.max() > 0:
        reason = f"the weights that moved fall into {cells.blocks.max() + 1} blocks that share no row and no column"
    if cells is not None and not reason and cells.cells - 1 <= cells.freedom:
        reason = "rows and columns have as many factors as there are weights that moved"
    if reason or cells is None:
        return unanswered(heat.shape, reason)
    alive = np.ix_(rows, columns)
    known = np.where(cells.there, heat[alive], 1.0)
    relative = means[alive]  # a copy; the only one, since it may be large
    relative /= known[..., np.newaxis]
    relative -= 1
    relative *= lengths
    relative[~cells.there] = 0
    deviations = np.moveaxis(relative, -1, 0)
    log = np.log(known)
    fit = fits(log, cells)
    found = _share_of(lengths, deviations, cells, log, fit)
    expected, seldom = chance(cells)
    row_error, column_error = _errors_of_factors(lengths, deviations, cells)
    row = _factors(fit.row, row_error, rows, np.asarray(heat.any(axis=1)))
    column = _factors(fit.column, column_error, columns, np.asarray(heat.any(axis=0)))
    ratio = np.full(heat.shape, np.nan)
    ratio[alive] = np.where(cells.there, np.exp(fit.left), np.where(heat[alive] == 0, 0.0, np.nan))
    return Separability(
        share=found.share,
        low=found.low,
        high=found.high,
        measured=found.measured,
        chance=expected,
        chance_high=seldom,
        adjusted=(found.share - expected) / (1 - expected),
        sampling_error=found.sampling_error,
        left=found.left,
        unreliable=found.unreliable,
        scale=float(np.exp(fit.mean)),
        row=row[0],
        row_low=row[1],
        row_high=row[2],
        column=column[0],
        column_low=column[1],
        column_high=column[2],
        ratio=ratio,
        reason=found.reason,
    )


def _refused(heat: Array, rows: Array, columns: Array, batches: int) -> str:
    """Return a reason to give no answer without a fit; empty if there is none."""
    if not np.isfinite(heat).all():
        return "a weight is NaN or infinite"
    if batches < LEAST_BATCHES:
        return f"{LEAST_BATCHES} batches are needed, and there are {batches}; take a longer window"
    if min(heat.shape) < 2:
        return f"it has only one {'row' if heat.shape[0] < 2 else 'column'}"
    if rows.sum() < 2 or columns.sum() < 2:
        return "weights of fewer than two rows or two columns moved by more than rounding"
    return ""


def unanswered(shape: tuple[int, ...], reason: str) -> Separability:
    """Return an answer of NaN, with the reason."""
    none = float("nan")
    row, column = (np.full(length, np.nan) for length in shape)
    ratio = np.broadcast_to(np.float64(np.nan), shape)  # takes no memory, however large the matrix
    return Separability(
        none, none, none, none, none, none, none, none, none, True, none, row, row, row, column, column, column, ratio,
        reason,
    )  # fmt: skip


@dataclass(frozen=True)
class _Share:
    """The share that a fit explains; attributes as in `Separability`."""

    share: float
    low: float
    high: float
    measured: float
    sampling_error: float
    left: float
    unreliable: bool
    reason: str


def _share_of(lengths: Array, deviations: Array, cells: Layout, log: Array, fit: Fits) -> _Share:
    """The share and its interval, from the fit of ln⟨v²⟩ and relative deviations of batches, (batches, rows, columns).

    A deviation is a sum over the samples of a batch.
    """
    samples, most = lengths.sum(), min(PROJECTIONS, lengths.size - 1)
    projected = np.sqrt(2 / samples) * np.einsum("brc,bj->jrc", deviations, cosines(lengths, most))
    noise = fits(projected, cells)
    explained, left = (
        max(float(own) - float(added.mean()) / samples, 0.0)
        for own, added in ((fit.explained, noise.explained), (fit.unexplained, noise.unexplained))
    )
    sampling_error = float(np.sqrt(np.einsum("jrc,jrc->", projected, projected) / most / samples / cells.cells))
    rest = float(np.sqrt(left / cells.cells))
    total, as_measured = explained + left, float(fit.explained + fit.unexplained)
    measured = float(fit.explained) / as_measured if as_measured else float("nan")

    def error_of(slope: Array) -> tuple[float, bool]:
        # The error of a number with this derivative with respect to ln⟨v²⟩ of each element.
        error, unreliable = error_of_batches(lengths, np.einsum("rc,brc->b", slope, deviations)[np.newaxis])
        return float(error[0]), bool(unreliable[0])

    if total <= max(NORMAL * error_of(2 * (fit.about + fit.left))[0], 1e-24 * float((log**2).sum())):
        reason = "its elements may differ by sampling errors alone; take a longer window"
        return _Share(np.nan, np.nan, np.nan, measured, sampling_error, rest, True, reason)
    share = explained / total
    error, unreliable = error_of(2 / total * ((1 - share) * fit.about - share * fit.left))
    low, high = np.clip([share - NORMAL * error, share + NORMAL * error], 0, 1).tolist()
    return _Share(share, low, high, measured, sampling_error, rest, unreliable or sampling_error > _ROUGH, "")


def _errors_of_factors(lengths: Array, deviations: Array, cells: Layout) -> tuple[Array, Array]:
    """Standard errors of ln factors, (rows,) and (columns,): to first order, from fits of the batches' deviations."""
    step = max(_AT_ONCE // cells.there.size, 1)
    parts = [fits(deviations[begin : begin + step], cells) for begin in range(0, lengths.size, step)]
    row, column = (np.concatenate([getattr(part, name) for part in parts]).T for name in ("row", "column"))
    return error_of_batches(lengths, row)[0], error_of_batches(lengths, column)[0]


def _factors(log: Array, error: Array, alive: Array, moved: Array) -> Array:
    """Factors and the ends of their intervals, (3, rows or columns); 0 at rest, NaN if all elements were left out."""
    answer = np.tile(np.where(moved, np.nan, 0.0), (3, 1))
    answer[:, alive] = np.exp([log, log - NORMAL * error, log + NORMAL * error])
    return answer
