"""Check whether all sums of a run are kept, so that its trajectory may be deleted."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from analyzer.engine.kept.cache import fault_of
from analyzer.engine.kept.homes import files_of, homes_for
from analyzer.engine.kept.remains import Remains, missing_of, preserve
from analyzer.engine.lookback.pair_plan import plan_pairs
from analyzer.engine.lookback.passage import Passage, ask
from analyzer.engine.measure import base_for, measure
from analyzer.engine.pieces import Bundle
from analyzer.engine.plan import Plan
from analyzer.errors import AnalyzerError, OptionError, SettingsWarning
from analyzer.query.lags import default_lags
from analyzer.query.query import Query
from analyzer.store.kept import root_of, runs_in
from analyzer.store.reading import source_of
from analyzer.store.roots import root_now
from analyzer.tree import trajectory

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Account:
    """What is kept of a run.

    Attributes
    ----------
    home
        The folder of the run's kept sums.
    share
        Share of the sums that are kept, 0 to 1.
    faults
        What is missing or damaged, so that the trajectory cannot be deleted yet; empty where it can.
    others
        Folders at the same place that hold other runs.
    pair_faults
        What is missing or damaged of the sums that answer `analyzer.dynamics`; empty where all are kept.
    """

    home: Path
    share: float
    faults: tuple[str, ...]
    others: tuple[Path, ...]
    pair_faults: tuple[str, ...] = ()


def account_of(run: xr.DataTree, chosen: str | None = None, *, settle: bool = False) -> Account:
    """Read back what is kept of a run, and compare it with the store.

    Parameters
    ----------
    run
        As `open_run` gives it.
    chosen
        The folder of kept sums, where it is not beside the store.
    settle
        Copy metadata and scalars anew, and wait until all kept files have reached the disk.

    Raises
    ------
    OptionError
        The tree was modified, or the store is behind a URL and no folder was chosen.
    """
    opened = trajectory(run).opened
    base = None if opened is None else base_for(opened.store, chosen or True)
    if opened is None or base is None:
        raise OptionError(
            "Kept sums: expected a store at a path, or a folder for its sums, got neither. Sums are kept in files. "
            "Write --cache DIR"
        )
    store = opened.store
    pair_faults = _pair_faults(run, chosen)
    if not store.is_trajectory:
        return Account(base, 1.0, (), tuple(other for other in runs_in(base) if other != base), pair_faults)
    step = source_of(store, "step")
    plan = _plan_of(run, chosen)
    home = (plan.home if plan is not None else None) or next(homes_for(base, root_now(step).document))
    faults = (
        [f"frames are still being written; if nobody does, close it: recorder recover {store.location}"]
        if store.status == "running"
        else []
    )
    faults += _faults_of(plan)
    share = float(plan.kept.mean()) if plan is not None and plan.kept.size else 0.0
    remains = Remains.of(store, step, home)
    assert remains is not None
    if settle:
        preserve(remains, anew=True)
    faults += [f"{home / key}" for key in missing_of(remains)]
    if settle and not faults:
        faults += _unsettled(home)
    others = tuple(other for other in runs_in(base) if other != home)
    return Account(home, share if root_of(home) else 0.0, tuple(faults), others, pair_faults)


def _plan_of(run: xr.DataTree, chosen: str | None) -> Plan | None:
    """The plan of a question that needs all sums of a run; None where it has no velocity."""
    try:
        return measure(run, Query(by="model", cache=chosen or True)).plan
    except AnalyzerError:
        return None


def _pair_faults(run: xr.DataTree, chosen: str | None) -> tuple[str, ...]:
    """The missing or damaged files of pair sums; for a run that can have none, the reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SettingsWarning)  # the plan of the other sums gives this warning already
            asked = ask(run, Query(by="model", cache=chosen or True))
        passage = plan_pairs(asked, default_lags(int(asked.sampling.windows.velocities.max()))).passage
    except AnalyzerError as error:
        return (str(error),)
    if why := why_not_kept(passage):
        return (why,)
    return tuple(_amiss(passage.bundles, [reach.start for reach in passage.reaches], passage.kept))


def why_not_kept(passage: Passage) -> str:
    """Why pair sums of a run cannot be kept; empty where they can."""
    if all(bundle.shelf is not None for bundle in passage.bundles):
        return ""
    return "Sums by lag are kept only of runs whose frames are evenly spaced. For this run each question decodes."


def _faults_of(plan: Plan | None) -> list[str]:
    """The files of sums that are missing, made from other frames, or damaged."""
    if plan is None or not plan.kept.size:
        return ["sums: the run has none"]
    return _amiss(plan.bundles, [span.start for span in plan.spans], plan.kept)


def _amiss(bundles: Sequence[Bundle], starts: Sequence[int], kept: Array) -> list[str]:
    found = []
    for bundle, row in zip(bundles, kept, strict=True):
        for start, there in zip(starts, row, strict=True):
            assert bundle.shelf is not None
            path = bundle.shelf.file(start)
            fault = "" if there else "not kept"
            fault = fault or fault_of(path) or ""
            found += [f"{path}: {fault}"] if fault else []
    return found


def _unsettled(home: Path) -> list[str]:
    """Flush a folder of kept sums to the disk; return the paths for which that failed."""
    files = [home / "zarr.json", *files_of(home), *(path for path in home.glob("*/c/**/*") if path.is_file())]
    faults = []
    for path in [*files, *{parent for file in files for parent in file.parents if home in (parent, *parent.parents)}]:
        try:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            faults.append(f"{path}: {error.strerror}")
    return faults
