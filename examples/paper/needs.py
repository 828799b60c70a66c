"""Which branches each claim needs. A claim has no verdict until all of its branches are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from .evidence import Evidence
from .plan import BATCH, RATE, Branch, Scale, batch_sweep, branches, grid, judged_apart, rate_sweep
from .verdict import NOT_YET, Verdict

Runs = Callable[[Scale], Sequence[Branch]]


def _rates(scale: Scale) -> list[Branch]:
    return rate_sweep(scale, "sgd")


def _batches(scale: Scale) -> list[Branch]:
    return batch_sweep(scale, "sgd")


def _all(scale: Scale) -> list[Branch]:
    return list(dict.fromkeys([*_rates(scale), *_batches(scale), *grid(scale)]))


def _one_seed(scale: Scale) -> list[Branch]:
    return [run for run in _rates(scale) if run.seed == 0]


def _own(scale: Scale) -> list[Branch]:
    return [run for run in _rates(scale) if run.learning_rate == RATE]


def _first(scale: Scale) -> list[Branch]:
    return [Branch("sgd", RATE, BATCH, 0)]


def _of_cnn(scale: Scale) -> list[Branch]:
    return [run for run in branches(scale, "cnn") if run in _batches(scale)]


NEEDS: Mapping[str, Mapping[str, Runs]] = {
    "C1": {"gcn": judged_apart, "gat": judged_apart},
    "C2": {"gcn": _first, "gat": _first},
    "C3": {"gcn": _first, "gat": _first},
    "C4": {"gcn": _first},
    "C8": {"gcn": _one_seed, "gat": _one_seed},
    "C9": {"gcn": _rates},
    "C10": {"gcn": _rates},
    "C11": {"gcn": _batches},
    "C12": {"gcn": _all, "gat": _all},
    "C13": {"gcn": _own},
    "C14": {"gat": _rates},
    "C15": {"gat": _rates},
    "C16": {"gat": _batches},
    "C17": {"gcn": _rates, "gat": _rates},
    "C18": {"gcn": _batches, "cnn": _of_cnn},
    "C19": {"gat": _own},
    "C20": {"gcn": _own, "gat": _own},
}
"""By claim and model. C5 takes no run, and C6 and C7 the training alone."""


def complete(verdict: Verdict, models: Mapping[str, Evidence], scale: Scale) -> Verdict:
    """The verdict. If branches are missing, it says so, and what was measured so far."""
    there, wanted = 0, 0
    parts = []
    for kind, runs in NEEDS.get(verdict.claim, {}).items():
        names = {run.name for run in runs(scale)}
        done = len(names & models[kind].finished())
        there, wanted = there + done, wanted + len(names)
        parts.append(f"{kind.upper()} {done} of {len(names)}")
    if there == wanted:
        return verdict
    why = f"not yet: {there} of {wanted} branches" + (f" ({', '.join(parts)})" if len(parts) > 1 else "")
    measured = f"so far: {verdict.measured}" if there else "–"
    return replace(verdict, measured=measured, verdict=NOT_YET, why=why)
