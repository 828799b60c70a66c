"""Write RESULTS.md from the answers of analyse.py, prune.py and speed.py: no number in it is written by hand.

python -m examples.paper.results --scale small
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .claims import judge
from .evidence import Evidence
from .figures import prune_curves
from .place import read_json
from .plan import SCALES
from .tables import by_lag, costs, disagreements, hardware_line, side_by_side, trained

HERE = Path(__file__).parent
MODELS = ("gcn", "gat", "cnn")
TITLES = {
    "sgd-rate": ("Temperature against learning rate, plain SGD", {"gcn": "2", "gat": "6"}),
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


def page(folder: Path, scale: str, hardware: dict[str, Any]) -> str:
    """RESULTS.md of one scale."""
    models = {kind: Evidence(kind, folder / scale / kind) for kind in MODELS}
    known = [model for model in models.values() if model]
    verdicts = judge(models["gcn"], models["gat"], models["cnn"])
    lines = [
        "# The paper's claims, judged",
        "",
        f"Scale: **{scale}**. {hardware_line(hardware)} `python -m examples.paper.results` wrote this page from the "
        f"files in `examples/paper/results/{scale}`. [README.md](README.md) says how to make them.",
        "",
        _planned(known, scale),
        "",
        "| | claim | measured | verdict | why |",
        "|---|---|---|---|---|",
        *(
            f"| {v.claim} | {_cell(v.says)} | {_cell(v.measured)} | **{v.verdict}** | {_cell(v.why)} |"
            for v in verdicts
        ),
        "",
        "Numbers in brackets are 95 % intervals. ± is one standard error, unless its cell says otherwise. The rules of "
        "the verdicts stand in `claims.py` and `exponents.py`.",
        "",
        *disagreements(verdicts),
        *trained(known),
        *(line for model in known for line in side_by_side(model)),
        *(line for model in known for line in by_lag(model)),
        *costs(known, hardware),
        *_figures(known, folder.parent),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _planned(known: Sequence[Evidence], scale: str) -> str:
    parts = [
        f"{model.kind.upper()} {len(model.accounts()['branches'])} of {model.accounts()['planned']}" for model in known
    ]
    said = f"Finished branches: {', '.join(parts)}."
    if scale != "full":
        full = " and ".join(
            f"`python -m examples.paper.run --scale full --model {kind} --device cuda --data mnist-75sp.npz`"
            for kind in ("gcn", "gat")
        )
        said += f" The full scale is **not run**: it takes a GPU, and nothing was measured on one. Commands: {full}."
    return said


def _figures(known: Sequence[Evidence], root: Path) -> list[str]:
    lines = ["## Figures", ""]
    for model in known:
        for name, (title, redrawn) in TITLES.items():
            path = model.folder / "figures" / f"{name}.png"
            if path.exists():
                figure = redrawn.get(model.kind)
                whose = f" (figure {figure} of the paper)" if figure else ""
                lines += [f"### {model.kind.upper()}: {title}{whose}", "", f"![{title}]({path.relative_to(root)})", ""]
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where analyse.py put the answers")
    parser.add_argument("--page", type=Path, help="the file to write (default: RESULTS.md beside the answers)")
    options = parser.parse_args(argv)
    folder = options.results.resolve()
    for kind in MODELS:
        prune_curves(folder / options.scale / kind)
    target = options.page or folder.parent / "RESULTS.md"
    target.write_text(page(folder, options.scale, read_json(folder / options.scale / "hardware.json")))
    print(f"Wrote {target}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
