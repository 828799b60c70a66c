"""The tables of RESULTS.md below that of the claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .evidence import Evidence, Exponent
from .judged import Judged
from .plan import BATCH
from .stayed import FALL
from .verdict import FAILS, Verdict

Cells = Mapping[str, Sequence[str]]
NAMES = {"sgd": "SGD", "adam": "Adam"}
EXPECTED = {
    ("sgd", "b"): "2 + ηh/(2 − ηh), from T = η²C/(2 − ηh), gradient noise C, stiffness h; near 2 where ηh is small",
    ("sgd", "q"): "1, because C ∝ 1/β",
    ("adam", "b"): "2, because a step is η times a ratio of gradient means; less where the ratio falls with η",
    ("adam", "q"): "0; below 0 where gradients become consistent as β grows, so that T rises with β",
}
PREDICTED = (
    "Short branches of another small trained GCN gave these predictions before the runs. SGD: b = 2.35, 2.28, 2.14, "
    "2.14 for the GCNConv layers and 2.03 for the linear one, q = 1.01 to 1.03, rows of conv2 224-fold apart. Adam: "
    "b = 1.7 to 2.0, q near 0, rows 1.4 to 2.2-fold apart, T/η² = 0.021 to 0.028."
)


def hardware_line(hardware: dict[str, Any]) -> str:
    """The machine that made the runs."""
    return f"Hardware: {hardware['processor']}, {hardware['cores']} cores, {hardware['device']}; {hardware['note']}"


BRACKETS = (
    "Numbers in brackets are 95 % intervals. ± is one standard error, unless its cell says otherwise. The rules of the "
    "verdicts stand in `claims.py`, `exponents.py` and `needs.py`."
)


def verdicts_table(verdicts: Sequence[Verdict]) -> list[str]:
    """All claims, what was measured, and the verdicts."""
    if not verdicts:
        return []
    rows = [f"| {v.claim} | {cell(v.says)} | {cell(v.measured)} | **{v.verdict}** | {cell(v.why)} |" for v in verdicts]
    head = ["## The claims at this scale", "", "| | claim | measured | verdict | why |", "|---|---|---|---|---|"]
    return [*head, *rows, "", BRACKETS, ""]


def cell(text: str) -> str:
    """A text as it can stand in a table."""
    return text.replace("|", "\\|")


def disagreements(verdicts: Sequence[Verdict]) -> list[str]:
    """The claims that do not hold, and the check that rules out our own mistake."""
    failed = [verdict for verdict in verdicts if verdict.verdict == FAILS]
    if not failed:
        return []
    check = next(verdict for verdict in verdicts if verdict.claim == "C1")
    lines = ["## Where this disagrees with the paper", ""]
    lines += [f"- **{verdict.claim}** ({verdict.says}): {verdict.why}." for verdict in failed]
    lines += ["", f"A check of its own shows that the temperatures themselves are right: {check.measured}.", ""]
    return lines


def trained(known: Sequence[Evidence]) -> list[str]:
    """The trained models and their accuracies, with positions as features where that was tried."""
    lines = [
        "## The trained models",
        "",
        "| model | train graphs | epochs | steps | train accuracy | test accuracy | loss | s |",
    ]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for model in known:
        for name in (model.kind, f"{model.kind}-position", f"{model.kind}-radius"):
            account = Evidence(name, model.folder.with_name(name)).accounts()["training"]
            if account:
                last = account["curve"][-1]
                test = account.get("test_accuracy", last["test_accuracy"])
                error = (test * (1 - test) / account["test_graphs"]) ** 0.5
                on_train = f"{account['train_accuracy']:.1%}" if "train_accuracy" in account else "–"
                lines.append(
                    f"| {name} | {account['train_graphs']:,} | {last['epoch']} | {account['steps']:,} | "
                    f"{on_train} | {test:.1%} ± {error:.1%} | {last['loss']:.3f} | "
                    f"{account['seconds'] + account.get('cpu_seconds', 0):.0f} |"  # the latter where a GPU began
                )
    lines += [
        "",
        "The paper reports 64 % (GCN) and 74 % (GAT) after 600 epochs of 60,000 graphs. Here the graphs differ too: "
        "they have exactly 75 nodes, SLIC's superpixels, and each node has 19 incoming edges. All in-degrees are "
        "therefore equal, and GCNConv's normalisation is a plain mean. The feature is the mean intensity alone, as in "
        "the paper's `GCNConv(1, 32)`. Models named `-position` have the two coordinates as further features; those "
        "named `-radius` saw edges within a radius, whose degrees vary.",
        "",
    ]
    return lines


def side_by_side(known: Sequence[Evidence], beside: Judged | None) -> list[str]:
    """Exponents of SGD and Adam by layer, what another scale gave, and what is expected."""
    lines = ["## Exponents at lag 1, SGD and Adam side by side", "", "Expected:", ""]
    lines += [f"- {name}, {NAMES[optimizer]}: {text}." for (optimizer, name), text in EXPECTED.items()]
    lines += ["", PREDICTED, ""]
    for model in known:
        own = _at_lag_1(model)
        if not own:
            continue
        theirs = _at_lag_1(beside.models[model.kind]) if beside else {}
        lines += [
            f"### {model.kind.upper()}: exponents",
            "",
            "| layer | b, SGD | q, SGD | b, Adam | q, Adam | T/η², SGD | T/η², Adam |",
            "|---|---|---|---|---|---|---|",
            *_with_theirs(own, theirs, beside),
        ]
        for optimizer in ("sgd", "adam"):
            if rounded := model.rounded(optimizer):
                lines += [
                    "",
                    f"**{NAMES[optimizer]}: exponents and T of these layers are of rounding, not of gradients** "
                    f"(T/floor, where 10 would be enough): {', '.join(rounded)}.",
                ]
        lines += [""]
    return lines


def _at_lag_1(model: Evidence) -> dict[str, list[str]]:
    """The cells of each layer's row: exponents at lag 1 and T/η²."""
    found = [
        model.exponents(f"{optimizer}-{file}", name)
        for optimizer in ("sgd", "adam")
        for file, name in (("rate", "b"), ("batch", "q"))
    ]
    ratios = [{row["group"]: row for row in model.findings(o, "adam_temperature")} for o in ("sgd", "adam")]
    layers = dict.fromkeys(e.layer for exponents in found for e in exponents)
    return {
        layer: [*(_exponent(one, layer) for one in found), *(_ratio(one.get(layer)) for one in ratios)]
        for layer in layers
    }


def by_lag(known: Sequence[Evidence], beside: Judged | None) -> list[str]:
    """Exponents b(L) and q(L), one table for each model, optimizer and coefficient; what another scale gave below."""
    tables = [line for model in known for table in BY_LAG for line in _by_lag(model, *table, beside)]
    if not tables:
        return []
    return [
        "## Exponents by lag",
        "",
        "At half phase a displacement runs from the middle of one epoch to the middle of the next. Minibatches are "
        "drawn without replacement, which makes displacements between the ends of epochs smaller than those of "
        "independent steps (a bridge); between middles the effect is weaker. A velocity over one epoch of N graphs "
        "spans N/β steps. At lag epoch the exponent q is therefore one more than at lag 1 if steps are "
        "independent, and two more if they drift steadily.",
        "",
        *tables,
    ]


BY_LAG = (
    ("sgd-rate-lags", "b", "b(L), plain SGD"),
    ("sgd-batch-lags", "q", "q(L), plain SGD"),
    ("adam-rate-lags", "b", "b(L), Adam"),
    ("adam-batch-lags", "q", "q(L), Adam"),
)
"""The tables of exponents by lag: the answer, its coefficient, and what it shows."""


def _by_lag(model: Evidence, name: str, coefficient: str, title: str, beside: Judged | None) -> list[str]:
    lags = model.lags(name)
    if not lags:
        return []
    own = _at_lags(model, name, coefficient, lags)
    theirs = _at_lags(beside.models[model.kind], name, coefficient, lags) if beside else {}
    return [
        f"### {model.kind.upper()}: {title}",
        "",
        f"| layer | {' | '.join(f'L = {lag}' for lag in lags)} |",
        "|---" * (len(lags) + 1) + "|",
        *_with_theirs(own, theirs, beside),
        "",
    ]


def _at_lags(model: Evidence, name: str, coefficient: str, lags: Sequence[str]) -> dict[str, list[str]]:
    """The cells of each layer's row: one exponent at each lag."""
    found = [model.exponents(name, coefficient, lag) for lag in lags]
    layers = dict.fromkeys(e.layer for exponents in found for e in exponents)
    return {layer: [_exponent(one, layer) for one in found] for layer in layers}


def _with_theirs(own: Cells, theirs: Cells, beside: Judged | None) -> list[str]:
    """A row for each layer, and below it that of the other scale."""
    lines = []
    for layer, cells in own.items():
        lines.append(f"| {layer} | {' | '.join(cells)} |")
        if beside and layer in theirs:
            lines.append(f"| *{beside.scale}* | {' | '.join(f'*{cell}*' for cell in theirs[layer])} |")
    return lines


def heads(known: Sequence[Evidence]) -> list[str]:
    """How far attention heads differ in temperature."""
    lines = []
    for model in known:
        found = model.heads()
        if found:
            lines += [f"## {model.kind.upper()}: temperatures of its heads, plain SGD", ""]
            lines += ["| parameter | hottest ÷ coldest head | difference |", "|---|---|---|"]
            lines += [
                f"| {name} | {test['hottest_over_coldest']:.2f} | {test['verdict']} |" for name, test in found.items()
            ]
            lines += [""]
    return lines


def left(known: Sequence[Evidence]) -> list[str]:
    """The branches that have left the trained network."""
    rows = []
    for model in known:
        before = model.accounts()["training"]
        for optimizer, name in NAMES.items():
            gone = Counter(map(_setting, model.left(optimizer)))
            runs = [run for run in model.accounts()["branches"] if run["optimizer"] == optimizer]
            for rate, batch in sorted(gone):
                ends = [run["test_accuracy"] for run in runs if _setting(run) == (rate, batch)]
                rows.append(
                    f"| {model.kind} | {name} | {rate:g} | {batch} | {gone[rate, batch]} of {len(ends)} | "
                    f"{before['test_accuracy']:.1%} | {min(ends):.1%} to {max(ends):.1%} |"
                )
    if not rows:
        return []
    return [
        "## Branches that leave the trained network",
        "",
        f"Their test accuracy at the end is more than {100 * FALL:.0f} points below that of the network they began "
        "from. Their temperatures are those of another network. So the fits have no runs at these settings; only those "
        "over all rates do.",
        "",
        "| model | optimizer | η | β | branches that leave | accuracy before | accuracy of all at the end |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def _setting(run: Mapping[str, Any]) -> tuple[float, int]:
    return run["learning_rate"], run["batch_size"]


def costs(known: Sequence[Evidence], hardware: dict[str, Any]) -> list[str]:
    """Seconds, steps a second, bytes and the cost of recording."""
    lines = ["## What it took", ""]
    lines += [
        "| model | branches | steps | wall h | CPU h | raw GB | stored GB | ratio | recording, µs/step | "
        "steps per CPU s, β = 32 |"
    ]
    lines += ["|---|---|---|---|---|---|---|---|---|---|"]
    for model in known:
        runs = model.accounts()["branches"]
        if not runs:
            continue
        total = {key: sum(run[key] for run in runs) for key in
                 ("steps", "seconds", "cpu_seconds", "raw_bytes", "stored_bytes", "recorder_seconds")}  # fmt: skip
        lines.append(
            f"| {model.kind} | {len(runs)} | {total['steps']:,} | {total['seconds'] / 3600:.2f} | "
            f"{total['cpu_seconds'] / 3600:.2f} | {total['raw_bytes'] / 1e9:.2f} | {total['stored_bytes'] / 1e9:.2f} | "
            f"{total['raw_bytes'] / total['stored_bytes']:.2f} | "
            f"{1e6 * total['recorder_seconds'] / total['steps']:.0f} | {_rate(runs)} |"
        )
    lines += [
        "",
        f"The machine was shared with other work ({hardware['sharing']}), which the wall time includes. CPU time says "
        "what the runs themselves take.",
        "",
    ]
    speeds = hardware.get("speeds", [])
    if not speeds:
        lines += ["Steps a second with nothing else running, and the paired slowdown by recording: not measured.", ""]
    if speeds:
        lines += ["| model | threads | steps/s at batch size 32, nothing else running |", "|---|---|---|"]
        lines += [f"| {row['model']} | {row['threads']} | {row['steps_per_second']:.0f} |" for row in speeds]
        lines += [""]
    for row in hardware.get("overhead", []):
        lines.append(
            f"- {row['model']}: training with recording took {row['slowdown'][0]:.4f}× the time without it "
            f"(quartiles {row['slowdown'][1]:.4f} to {row['slowdown'][2]:.4f}, {row['pairs']} pairs of "
            "stretches of one run)."
        )
    return [*lines, ""] if hardware.get("overhead") else lines


def _rate(runs: Sequence[dict[str, Any]]) -> str:
    """Steps in a second of CPU time, recording included, over the runs at batch size 32."""
    some = [run for run in runs if run["batch_size"] == BATCH]
    seconds = sum(run["cpu_seconds"] for run in some)
    return f"{sum(run['steps'] for run in some) / seconds:.0f}" if seconds else "–"


def _exponent(exponents: Sequence[Exponent], layer: str) -> str:
    for one in exponents:
        if one.layer == layer:
            return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]" if np.isfinite(one.value) else "–"
    return "–"


def _ratio(row: dict[str, Any] | None) -> str:
    if row is None or row["measured"] is None:
        return "–"
    error = row["standard_error"]
    return f"{row['measured']:.3g}" + (f" ± {error:.1g}" if error is not None else "")
