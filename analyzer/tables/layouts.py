"""How the answer to each kind of question becomes rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import pandas as pd
import xarray as xr

from analyzer.tables import fits
from analyzer.tables.columns import ROWS, frame_of, pieces_of, told
from analyzer.tables.factors import ADDED, with_factors

TESTS = ("verdict", "p_value", "hottest_over_coldest", "rank_stability")
"""Columns of a row that describe the test of its parameter."""
_DISTRIBUTION = ("lower", "upper", "density", "density_error", "density_by_weight", "density_by_weight_error",
                 "maxwell_boltzmann", "rms_velocity")  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """The rows of an answer.

    Attributes
    ----------
    along
        Dimensions of the rows, the slowest first. An answer may be cut into pieces along them; without any, it is one.
    frame
        Makes the rows and columns of an answer, or of a piece.
    """

    along: tuple[str, ...] = ROWS
    frame: Callable[[xr.Dataset], pd.DataFrame] = field(default=frame_of)

    def frames(self, answer: xr.Dataset) -> Iterator[pd.DataFrame]:
        """Yield an answer as frames of a few thousand rows."""
        return map(self.frame, pieces_of(told(answer) if self.along else answer, self.along))


def layout_of(answer: xr.Dataset) -> Layout:
    """Return the layout of an answer, by its quantity."""
    quantity = str(answer.attrs.get("quantity", ""))
    if quantity in _LAYOUTS and set(_NEEDED.get(quantity, ())) <= set(answer.dims):
        return _LAYOUTS[quantity]
    if "group" in answer.dims and quantity not in _NEEDED:
        return Layout()
    return Layout((), _plain)


def _along(*dims: str) -> Layout:
    return Layout(dims, partial(frame_of, along=dims))


def _rows(answer: xr.Dataset) -> pd.DataFrame:
    """One line for each row, with the test of its parameter; with factors, if the answer has them."""
    frame = frame_of(answer.drop_dims(["tested", *ADDED], errors="ignore"))
    tests = answer[list(TESTS)].to_dataframe()[list(TESTS)]
    frame = frame.join(tests, on="parameter")
    return with_factors(frame, answer) if "separable_share" in answer else frame


def _distribution(answer: xr.Dataset) -> pd.DataFrame:
    """One row for each group and bin."""
    columns = [*answer["density"].dims, *_DISTRIBUTION]
    return answer.to_dataframe(dim_order=["group", "bin"]).reset_index()[columns].drop(columns="bin")


def _modes(answer: xr.Dataset) -> pd.DataFrame:
    """One row for each group and mode; the projections of single frames are left out."""
    return frame_of(answer.drop_vars(["projection", "step"]), ("group", "mode"))


def _findings(answer: xr.Dataset) -> pd.DataFrame:
    """One row for each finding."""
    return answer.to_dataframe().reset_index(drop=True)[[*answer.coords, *answer.data_vars]]


def _plain(answer: xr.Dataset) -> pd.DataFrame:
    """One row for each place along all dimensions, for one table of an answer of several."""
    return frame_of(answer, [str(dim) for dim in answer.dims]).rename(columns={"tested": "parameter"})


_LAYOUTS = {
    "rows": Layout(ROWS, _rows),
    "fit": Layout((), fits.frame_of),
    "distribution": Layout(("group", "bin"), _distribution),
    "dynamics": _along("group", "window", "lag"),
    "ageing": _along("group", "waiting", "lag"),
    "spectrum": _along("group", "window", "frequency"),
    "modes": Layout(("group", "mode"), _modes),
    "checks": Layout((), _findings),
}
"""Layouts of the quantities whose rows differ from one for each group, lag and window."""
_NEEDED = {"rows": ("group", "tested"), "fit": ("group", "coefficient"), "modes": ("group", "mode", "frame")}
"""Dimensions that the layout of a quantity needs. An answer without them is one table of an answer of several."""
