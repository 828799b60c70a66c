"""Rows to zero in an experiment: hot, cold, random and of small norm, as plain arrays that a training script loads.

Which of them may be zeroed without harm is the experiment's question, so no kind is preferred here.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import xarray as xr

from analyzer.errors import OptionError

Array = np.ndarray[Any, np.dtype[Any]]

KINDS = ("hot", "cold", "random", "small_norm")


def row_masks(answer: xr.Dataset, fraction: float = 0.2, seed: int = 0) -> dict[str, Array]:
    """Which rows of every parameter are hottest, coldest, drawn at random, and of the smallest norm.

    Parameters
    ----------
    answer
        What `rows` gave, by row.
    fraction
        Of the rows of each parameter, between 0 and 1, rounded to whole rows: at least one, and never all. From one
        half on, hot and cold rows overlap.
    seed
        Of the random rows. Those of a parameter depend on its name, not on which others were selected.

    Returns
    -------
    dict
        "KIND/PARAMETER" to bool (rows,), True for a row of the kind: "hot/conv2.lin.weight", "cold/…", "random/…" and
        "small_norm/…" (smallest L2 norm in the last frame of the window), equally many of each. A parameter of one row
        is left out. Ties go to the row that comes first. Beside them what they come from, as arrays without axes:
        "store", "run_id", "start_step", "stop_step", "lag", "fraction", "seed".

    Raises
    ------
    OptionError
        A fraction outside (0, 1), an answer by something else than rows, or one that is not finite.

    Examples
    --------
    >>> run = analyzer.open_run("runs/gcn.zarr")
    >>> np.savez("masks.npz", **row_masks(analyzer.rows(run), fraction=0.2))

    A training script needs numpy alone to read them, and zeroes the rows so:

    >>> masks = np.load("masks.npz")
    >>> for name, weight in model.named_parameters():
    ...     if f"hot/{name}" in masks:
    ...         weight.data[torch.from_numpy(masks[f"hot/{name}"])] = 0
    """
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
                f"They cannot be ordered. End the window before (--stop), or leave it out: --exclude {name}",
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
            "--masks: expected a parameter of two or more rows, got parameters of one row alone. There is nothing to "
            "choose from. Choose others with --parameter or --layer."
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
    """Refuse a fraction outside (0, 1) and other groups than rows."""
    if not isinstance(fraction, (int, float)) or not 0 < fraction < 1:
        raise OptionError(
            f"--fraction: expected a number between 0 and 1, got {fraction!r}. It is the part of a parameter's rows "
            "that each mask has. Write --fraction 0.2",
            fraction=fraction,
        )
    if by != "row":
        raise OptionError(
            f"--masks: expected rows (--by row), got --by {by}. A mask is over axis 0 of a parameter. Leave --by out.",
            by=by,
        )
