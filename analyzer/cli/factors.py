"""What `analyzer rows --factors` adds to `analyzer rows`: shares, factors, and a line of text for each matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from analyzer.cli.text import printable
from analyzer.errors import OptionError

if TYPE_CHECKING:
    import xarray as xr

_NAMED = 8
"""Most rows or columns at rest that a line of text names."""


def check_by(by: str) -> None:
    """Refuse factors with another kind of group than rows. The factors of columns come with those of rows."""
    if by != "row":
        raise OptionError(
            f"--factors: expected --by row, got --by {by}. Factors of rows and columns come together, beside the "
            "answer for rows. Leave --by out.",
            by=by,
        )


def document(answer: xr.Dataset) -> dict[str, Any]:
    """Return what the object of json has beside rows and tests: a record for each row and each column of a matrix."""
    from analyzer.cli.records import records_of
    from analyzer.tables.factors import factors_table

    return {f"{kind}_factors": records_of(factors_table(answer, kind)) for kind in ("row", "column")}


def lines(answer: xr.Dataset) -> list[str]:
    """Return a line of text for each matrix, and one that explains the shares."""
    told = [printable(_line(answer, name)) for name in answer["tested"].values]
    return [
        *told,
        "",
        "Share of the variance of ln⟨v²⟩, without sampling errors, with its 95 % interval. Json and netcdf have all "
        "factors.",
    ]


def _line(answer: xr.Dataset, name: str) -> str:
    own = answer.sel(tested=name)
    if own["separable_reason"].item():
        return f"{name}: no factors: {own['separable_reason'].item()}{_at_rest(answer, name)}"
    from analyzer.tables.factors import SHARES

    share, low, high, chance = (100 * float(own[column]) for column in SHARES)
    loose = ", unreliable" if own["separable_share_unreliable"].item() else ""
    spans = [f"{kind} factors span {_span(answer, name, kind)}" for kind in ("row", "column")]
    left = math.exp(float(own["left_rms"]))
    return (
        f"{name}: rows × columns explain {share:.4g} % ({low:.4g} to {high:.4g}{loose}), by chance {chance:.2g} %; "
        f"left: a factor {left:.3g} (rms); {'; '.join(spans)}{_at_rest(answer, name)}"
    )


def _span(answer: xr.Dataset, name: str, kind: str) -> str:
    factors = answer[f"{kind}_factor"].values[answer[f"{kind}_of"].values == name]
    alive = factors[factors > 0]
    return f"{alive.max() / alive.min():.3g} ×"


def _at_rest(answer: xr.Dataset, name: str) -> str:
    """The numbers of weights at rest and of weights near the floor; "" if there are none."""
    own = answer.sel(tested=name)
    weights, near = float(own["weights_at_rest"]), float(own["weights_near_floor"])
    parts = []
    if weights > 0:
        whole = [_named(answer, name, kind) for kind in ("row", "column")]
        named = f", with {' and '.join(text for text in whole if text)}" if any(whole) else ""
        parts.append(f"at rest: {weights:,.0f} weight{'s' if weights > 1 else ''}{named}")
    if near > 0:
        parts.append(f"left out, near the floor of rounding: {near:,.0f} weight{'s' if near > 1 else ''}")
    return "".join(f"; {part}" for part in parts)


def _named(answer: xr.Dataset, name: str, kind: str) -> str:
    some = (answer[f"{kind}_of"].values == name) & (answer[f"{kind}_factor"].values == 0)
    numbers = answer[f"{kind}_number"].values[some].tolist()
    if not numbers:
        return ""
    shown = ", ".join(map(str, numbers[:_NAMED])) + (", …" if len(numbers) > _NAMED else "")
    return f"{len(numbers):,} whole {kind}{'s' if len(numbers) > 1 else ''} ({shown})"
