"""The overview of a run: its metadata and the state of its training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from analyzer.errors import AnalyzerError
from analyzer.query.timeline import Timeline
from analyzer.report.content import Content, Facts, Note, Table
from analyzer.report.subject import Asked, Subject
from analyzer.report.text import NONE, number, plural, value_text
from analyzer.store.describe import describe, mapping
from analyzer.store.names import loss_of
from analyzer.text import size_text
from analyzer.tree import trajectory

_MOST_PARAMETERS = 200
_MOST_GAPS = 10


def overview(subject: Subject, asked: Asked) -> list[Content]:
    """Return status, steps, epochs, gaps, sizes, hyperparameters, optimizer and last loss, and parameters by layer."""
    known = describe(subject.store)
    contents: list[Content] = []
    if subject.problem:
        contents.append(Note(subject.problem, problem=True))
    if known["status"] != "complete":
        by = f", written by {known['written_by']}" if known["written_by"] else ""
        status = known["status"] or "unknown"
        contents.append(Note(f"The status is {status}{by}. The run may be shorter than planned."))
    contents.append(Facts([*_account(subject, known), *_training(subject)]))
    for title, pairs in (("Hyperparameters", _hyperparameters(known)), *_optimizers(subject.store.attrs)):
        if pairs:
            contents.append(Facts(pairs, title))
    contents.append(_parameters(known["parameters"]))
    if len(known["parameters"]) > _MOST_PARAMETERS:
        listed = f"{_MOST_PARAMETERS} of {len(known['parameters']):,} parameters"
        contents.append(Note(f"The table shows the first {listed}."))
    return contents


def _account(subject: Subject, known: dict[str, Any]) -> list[tuple[str, str]]:
    pairs = [
        ("status", known["status"] or NONE),
        ("frames", f"{known['frames']:,}, every {'step' if known['stride'] == 1 else plural(known['stride'], 'step')}"),
    ]
    if known["model"]:
        pairs.append(("model", str(known["model"])))
    pairs.append(("weights", f"{known['weights']:,} in {plural(len(known['parameters']), 'parameter')}"))
    raw, disk = known["raw_bytes"], known["disk_bytes"]
    pairs.append(("size of the frames", size_text(raw)))
    if disk:
        ratio = f", {raw / disk:.2f} times smaller" if raw > disk else ""
        pairs.append(("size on disk", f"{size_text(disk)} ({known['compression']}{ratio})"))
    if not known["trajectory"]:
        pairs.append(("trajectory", "not here: only its sums were kept, which answer whole runs and epochs"))
    pairs.append(("created", str(known["created"] or NONE)))
    software = mapping(subject.store.attrs.get("software"))
    if software:
        pairs.append(("software", ", ".join(f"{name} {value_text(v)}" for name, v in software.items())))
    pairs.append(("run id", known["run_id"] or NONE))
    return pairs


def _training(subject: Subject) -> list[tuple[str, str]]:
    """Return steps, epochs, segments, gaps and the last loss. They are read from chunks, which may be damaged."""
    segments = plural(len(subject.store.segments), "segment")
    if subject.tree is None:
        return [("segments", segments)]
    line = trajectory(subject.tree).line
    steps = line.steps
    if not steps.size:
        return [("steps", "none yet"), ("segments", segments)]
    pairs = [("steps", f"{steps[0]:,} to {steps[-1]:,}")]
    if line.epoch is not None and np.isfinite(line.epoch).any():
        first, last = np.nanmin(line.epoch), np.nanmax(line.epoch)
        pairs.append(("epochs", f"{first:g} to {last:g}"))
    gaps = [f"{before:,} to {after:,}" for before, after in gaps_of(line)]
    pairs.append(("segments", segments))
    if gaps:
        more = f" and {len(gaps) - _MOST_GAPS:,} more" if len(gaps) > _MOST_GAPS else ""
        pairs.append(("gaps, no frame between", f"steps {', '.join(gaps[:_MOST_GAPS])}{more}"))
    else:
        pairs.append(("gaps", "none"))
    loss = last_loss(subject)
    if loss is not None:
        pairs.append(("last loss", f"{number(loss[1])} at step {loss[0]:,}"))
    return pairs


def gaps_of(line: Timeline) -> list[tuple[int, int]]:
    """Return the steps of the frames before and after each gap."""
    return [(int(line.steps[n - 1]), int(line.steps[n])) for n in line.gaps]


def last_loss(subject: Subject) -> tuple[int, float] | None:
    """Return the step and value of the last finite loss; None if there is none or it cannot be read."""
    try:
        values = subject.scalars.get(loss_of(subject.scalars) or "")
    except AnalyzerError:
        return None
    if values is None or not np.isfinite(values).any():
        return None
    place = int(np.flatnonzero(np.isfinite(values))[-1])
    return int(trajectory(subject.run).line.steps[place]), float(values[place])


def _hyperparameters(known: dict[str, Any]) -> list[tuple[str, str]]:
    return [(str(name), value_text(value)) for name, value in known["hyperparameters"].items()]


def _optimizers(attrs: Any) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the settings of each optimizer; empty if the attribute does not have the recorder's form."""
    listed = attrs.get("optimizer")
    tables = []
    for one in listed if isinstance(listed, list) else []:
        name = str(mapping(one).get("class", "Optimizer")).rpartition(".")[2]
        settings = mapping(mapping(one).get("defaults"))
        pairs = [(str(key), value_text(value)) for key, value in settings.items() if value is not None]
        tables.append((f"Optimizer {name}", pairs))
    return tables


def _parameters(listed: Sequence[dict[str, Any]]) -> Table:
    """Return a table of parameters, grouped by layer."""
    rows = []
    for _, members in groupby(listed[:_MOST_PARAMETERS], key=lambda p: p["layer"]):
        for n, p in enumerate(members):
            shape = " × ".join(map(str, p["shape"])) or "scalar"
            layer, kind = (p["layer"], p["layer_class"]) if n == 0 else ("", "")
            rows.append((layer, kind, p["parameter"], shape, p["dtype"], f"{p['weights']:,}"))
    columns = ("layer", "class", "parameter", "shape", "dtype", "weights")
    return Table(columns, rows, numeric=frozenset({"shape", "weights"}), caption="Parameters by layer.")
