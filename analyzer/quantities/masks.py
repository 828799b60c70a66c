"""Masks of rows for pruning experiments: hot, cold, random and small-norm rows, as arrays that a training script loads.

All kinds have equally many rows, so that an experiment can compare which of them can be zeroed without harm.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import OptionError
from analyzer.quantities.answers import Tables, whole_of

Array = np.ndarray[Any, np.dtype[Any]]

KINDS = ("hot", "cold", "random", "small_norm")


def row_masks(answer: xr.Dataset | Tables, fraction: float = 0.2, seed: int = 0) -> dict[str, Array]:
    """Masks of each parameter's hottest and coldest rows, of random rows, and of rows with the smallest norm.

    Parameters
    ----------
    answer
        An answer of `rows`, by row.
    fraction
        Fraction of each parameter's rows in a mask, between 0 and 1. It is rounded to whole rows: at least one, never
        all. Above one half, hot and cold rows overlap.
    seed
        Seed of the random rows. The rows drawn from a parameter depend on its name, not on the other parameters.

    Returns
    -------
    dict
        Keys "KIND/PARAMETER" with values bool (rows,), True for a row of that kind: "hot/conv2.lin.weight", "cold/…",
        "random/…" and "small_norm/…" (smallest L2 norm in the last frame of the window). All kinds have equally many
        rows. Of equal rows, the first is taken. Parameters with one row are left out. Further keys say where the masks
        come from, as arrays of shape (): "store", "run_id", "start_step", "stop_step", "lag", "fraction", "seed".

    Raises
    ------
    OptionError
        The fraction is not between 0 and 1, or the answer is not by row or not finite.

    Examples
    --------
    >>> run = analyzer.open_run("runs/gcn.zarr")
    >>> np.savez("masks.npz", **row_masks(analyzer.rows(run), fraction=0.2))

    A training script reads them with numpy alone and sets the rows to zero:

    >>> with np.load("masks.npz") as masks:
    ...     for name, weight in model.named_parameters():
    ...         if f"hot/{name}" in masks:
    ...             weight.data[torch.from_numpy(masks[f"hot/{name}"])] = 0
    """
    answer = whole_of(answer)
    check(fraction, str(answer.attrs.get("by")))
    masks: dict[str, Array] = {}
    temperature, norm = answer["temperature"].values[:, 0], answer["rms_weight"].values[:, 0]
    owners = answer["parameter"].values
    for name in dict.fromkeys(owners.tolist()):
        some = owners == name
        rows = int(some.sum())
        if rows < 2:
            continue
        heat, size = temperature[some], norm[some]
        if not (np.isfinite(heat).all() and np.isfinite(size).all()):
            raise OptionError(
                f"--masks: expected finite temperatures and norms of all rows of {name}, got NaN or infinite ones. "
                f"They cannot be ranked. End the window earlier (--stop), or leave the parameter out: --exclude {name}",
                parameter=name,
            )
        count = min(max(int(fraction * rows + 0.5), 1), rows - 1)
        draw = np.random.default_rng([seed, zlib.crc32(name.encode())])
        chosen = {
            "hot": np.argsort(-heat, kind="stable")[:count],
            "cold": np.argsort(heat, kind="stable")[:count],
            "random": draw.choice(rows, count, replace=False),
            "small_norm": np.argsort(size, kind="stable")[:count],
        }
        for kind in KINDS:
            masks[f"{kind}/{name}"] = np.isin(np.arange(rows), chosen[kind])
    if not masks:
        raise OptionError(
            "--masks: expected a parameter of two or more rows, got only parameters of one row. There is nothing to "
            "choose from. Select others with --parameter or --layer."
        )
    facts = {
        "store": str(answer.attrs.get("store", "")),
        "run_id": str(answer.attrs.get("run_id", "")),
        "start_step": int(answer["start_step"].values[0]),
        "stop_step": int(answer["stop_step"].values[-1]),
        "lag": answer.attrs["lag"],
        "fraction": float(fraction),
        "seed": int(seed),
    }
    return masks | {name: np.array(value) for name, value in facts.items()}


def check(fraction: float, by: str) -> None:
    """Refuse a fraction that is not between 0 and 1, and groups other than rows."""
    if not isinstance(fraction, (int, float)) or not 0 < fraction < 1:
        raise OptionError(
            f"--fraction: expected a number between 0 and 1, got {fraction!r}. It is the fraction of a parameter's "
            "rows in each mask. Write --fraction 0.2",
            fraction=fraction,
        )
    if by != "row":
        raise OptionError(
            f"--masks: expected rows (--by row), got --by {by}. A mask selects along axis 0 of a parameter. Leave --by "
            "out.",
            by=by,
        )
