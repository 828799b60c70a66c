"""A scale: its models, its hardware, and the verdicts on all claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .claims import judge
from .evidence import Evidence
from .place import read_json
from .plan import SCALES
from .verdict import Verdict

MODELS = ("gcn", "gat", "cnn")


@dataclass(frozen=True)
class Judged:
    """A scale, its models and the verdicts on all claims."""

    scale: str
    models: Mapping[str, Evidence]
    hardware: dict[str, Any]
    verdicts: Sequence[Verdict]

    @property
    def known(self) -> list[Evidence]:
        """The models that have answers."""
        return [model for model in self.models.values() if model]


def judged(folder: Path, scale: str) -> Judged:
    """Judge all claims from the answers at one scale."""
    models = {kind: Evidence(kind, folder / scale / kind) for kind in MODELS}
    verdicts = judge(models["gcn"], models["gat"], models["cnn"], SCALES[scale])
    return Judged(scale, models, read_json(folder / scale / "hardware.json"), verdicts)
