"""Write RESULTS.md from the answers of analyse.py, prune.py and speed.py: no number in it is written by hand.

python -m examples.paper.results                   # scale trained, beside scale small
python -m examples.paper.results --scale small     # one scale alone
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .details import details
from .figures import prune_curves
from .judged import MODELS, Judged, judged
from .plan import SCALES, branches
from .tables import BRACKETS, cell, disagreements, hardware_line
from .verdict import NOT_YET, OPEN, Verdict

HERE = Path(__file__).parent
BESIDE = {"trained": "small"}
"""The scale whose verdicts stand beside those of another."""


def page(own: Judged, beside: Judged | None, folder: str) -> str:
    """RESULTS.md: the claims at one scale, beside the verdicts of another scale. `folder` holds the answers."""
    theirs = {verdict.claim: verdict for verdict in beside.verdicts} if beside else {}
    last = f" at scale {beside.scale} |" if beside else ""
    lines = [
        "# The paper's claims, judged",
        "",
        f"Scale: **{own.scale}**. {hardware_line(own.hardware)} {_branches(own)} `python -m examples.paper.results` "
        "wrote this page. [README.md](README.md) says how to make what it is made from.",
        "",
        f"| | claim | measured | verdict | why |{last}",
        "|---|---|---|---|---|" + ("---|" if beside else ""),
        *(_row(verdict, theirs.get(verdict.claim)) for verdict in own.verdicts),
        "",
        BRACKETS,
        "",
        *disagreements(own.verdicts),
        *(_changed(own, beside) if beside else []),
        *_open(own.verdicts),
        "## The numbers",
        "",
        *(_link(one.scale, folder) for one in (own, beside) if one),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _link(scale: str, folder: str) -> str:
    what = "exponents by layer and lag, trained models, what it took, figures"
    return f"- [Scale {scale}]({folder}/{scale}/DETAILS.md): {what}."


def _row(verdict: Verdict, beside: Verdict | None) -> str:
    texts = (verdict.claim, verdict.says, verdict.measured, f"**{verdict.verdict}**", verdict.why)
    return f"| {' | '.join(map(cell, texts))} |" + (f" {beside.verdict} |" if beside else "")


def _branches(own: Judged) -> str:
    """Which branches are there."""
    scale, parts = SCALES[own.scale], []
    for kind, model in own.models.items():
        planned = {run.name for run in branches(scale, kind)}
        parts.append(f"{kind.upper()} {len(planned & model.finished())} of {len(planned)}")
    return f"Finished branches: {', '.join(parts)}."


def _changed(own: Judged, beside: Judged) -> list[str]:
    """Claims whose verdict the scale changed."""
    lines = [f"## What changed from scale {beside.scale} to scale {own.scale}", ""]
    changed = [
        f"- **{ours.claim}** ({ours.says}): {theirs.verdict} → {ours.verdict}: {_sentence(ours.why)}"
        for ours, theirs in zip(own.verdicts, beside.verdicts, strict=True)
        if ours.verdict not in (theirs.verdict, NOT_YET)
    ]
    return [*lines, *(changed or ["No verdict that can be given so far."]), ""]


def _open(verdicts: Sequence[Verdict]) -> list[str]:
    """Claims without a verdict, and why."""
    lines = [f"- **{v.claim}** ({v.says}): {_sentence(v.why)}" for v in verdicts if v.verdict in (NOT_YET, OPEN)]
    return ["## What is open", "", *lines, ""] if lines else []


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="trained")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where analyse.py put the answers")
    parser.add_argument("--page", type=Path, help="the file to write (default: RESULTS.md beside the answers)")
    options = parser.parse_args(argv)
    folder = options.results.resolve()
    own = judged(folder, options.scale)
    other = BESIDE.get(options.scale)
    beside = judged(folder, other) if other and (folder / other / "hardware.json").exists() else None
    for one in (own, beside):
        if one:
            for kind in MODELS:
                prune_curves(folder / one.scale / kind)
            target = folder / one.scale / "DETAILS.md"
            target.write_text(details(one, beside if one is own else None))
    target = options.page or folder.parent / "RESULTS.md"
    target.write_text(page(own, beside, folder.name))
    print(f"Wrote {target}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
