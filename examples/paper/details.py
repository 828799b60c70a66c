"""The page of one scale: its trained models, exponents, what it took, and its figures."""

from __future__ import annotations

from collections.abc import Sequence

from .evidence import Evidence
from .judged import Judged
from .tables import by_lag, costs, hardware_line, heads, left, side_by_side, trained, verdicts_table

TITLES = {
    "sgd-rate": ("Temperature against learning rate, plain SGD", {"gcn": "2", "gat": "6"}),
    "sgd-rate-all": ("Temperature against learning rate, plain SGD, with the runs that leave the trained network", {}),
    "sgd-inverse": ("Temperature against 1/β, plain SGD", {"gcn": "3", "gat": "7"}),
    "sgd-inverse-epoch": ("Temperature at lag epoch against 1/β, plain SGD", {}),
    "sgd-rows": ("Mean squared velocity of the weights of conv2, plain SGD", {"gcn": "4"}),
    "adam-rows": ("Mean squared velocity of the weights of conv2, Adam", {}),
    "adam-rate": ("Temperature against learning rate, Adam", {}),
    "sgd-rate-lags": ("Exponents b(L) of the learning rate, plain SGD", {}),
    "sgd-batch-lags": ("Exponents q(L) of the batch size, plain SGD", {}),
    "adam-rate-lags": ("Exponents b(L) of the learning rate, Adam", {}),
    "prune": ("Accuracy with rows taken out", {}),
}
"""Figures in the order of the page: what they show, and the paper's figure that they redraw."""


def details(own: Judged, beside: Judged | None) -> str:
    """DETAILS.md of one scale. Another scale's exponents stand beside its own; without another, verdicts do."""
    known = own.known
    lines = [
        f"# Scale {own.scale}: the numbers",
        "",
        f"{hardware_line(own.hardware)} `python -m examples.paper.results` wrote this page from the files in this "
        "folder." + (f" Below each row of exponents, in italics, is what scale {beside.scale} gave." if beside else ""),
        "",
        *(() if beside else verdicts_table(own.verdicts)),
        *trained(known),
        *left(known),
        *side_by_side(known, beside),
        *by_lag(known, beside),
        *heads(known),
        *costs(known, own.hardware),
        *_figures(known),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _figures(known: Sequence[Evidence]) -> list[str]:
    lines = ["## Figures", ""]
    for model in known:
        for name, (title, redrawn) in TITLES.items():
            path = model.folder / "figures" / f"{name}.png"
            if path.exists():
                figure = redrawn.get(model.kind)
                whose = f" (figure {figure} of the paper)" if figure else ""
                shown = path.relative_to(model.folder.parent)
                lines += [f"### {model.kind.upper()}: {title}{whose}", "", f"![{title}]({shown})", ""]
    return lines
