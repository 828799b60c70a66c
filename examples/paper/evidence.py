"""The answers about one model at one scale, as the claims read them. It reads files and computes no physics."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .commands import read
from .stayed import has_left, settings_left

Row = dict[str, Any]


@dataclass(frozen=True)
class Exponent:
    """An exponent of a fit, with its 95 % interval.

    Attributes
    ----------
    runs : int
    seeds : bool
        Whether the interval comes from the scatter between three or more seeds.
    """

    layer: str
    value: float
    low: float
    high: float
    runs: int
    seeds: bool

    def __str__(self) -> str:
        return f"{self.layer} {self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Evidence:
    """The answers about one model, in one folder."""

    kind: str
    folder: Path

    def __bool__(self) -> bool:
        return (self.folder / "accounts.json").exists()

    def answer(self, name: str) -> dict[str, Any]:
        """An answer of the analyzer; empty if there is none, or if it was refused."""
        return read(self.folder / f"{name}.json") or {}

    def content(self, name: str) -> Any:
        """A file that is no answer of the analyzer; None if there is none."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def accounts(self) -> dict[str, Any]:
        """What the runs cost."""
        found: dict[str, Any] = self.content("accounts") or {"planned": 0, "training": None, "branches": []}
        return found

    def finished(self) -> set[str]:
        """Names of the branches that are there."""
        return {run["name"] for run in self.accounts()["branches"]}

    def independent(self) -> list[Row]:
        """Temperatures of some runs by plain numpy."""
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("independent-*.json"))]

    def exponents(self, name: str, coefficient: str, lag: str | None = None) -> list[Exponent]:
        """The exponents of a fit by layer, in the order of the layers; empty where there is no fit."""
        answer = self.answer(name)
        if lag is not None:
            answer = answer.get("lags", {}).get(lag, {})
        return [
            Exponent(row["layer"], row["value"], row["low"], row["high"], row["runs"], row["intervals"] == "per-seed")
            for row in answer.get("records", [])
            if row["coefficient"] == coefficient and None not in (row["value"], row["low"], row["high"])
        ]

    def lags(self, name: str) -> list[str]:
        """The lags of a fit by lag."""
        return list(self.answer(name).get("lags", {}))

    def findings(self, optimizer: str, check: str) -> list[Row]:
        """What `analyzer check` found."""
        return [row for row in self.answer(f"check-{optimizer}").get("records", []) if row["check"] == check]

    def rounded(self, optimizer: str) -> list[str]:
        """The layers whose T is not far above what rounding alone gives, with T over that floor."""
        found = [row for row in self.findings(optimizer, "floor") if row["verdict"] != "persists"]
        return [f"{row['group']} {row['measured']:.1e}" for row in found]

    def tests(self, name: str) -> dict[str, Row]:
        """The tests of `analyzer rows`, by parameter."""
        return {test["parameter"]: test for test in self.answer(name).get("tests", [])}

    def heads(self) -> dict[str, Row]:
        """The tests of attention heads under plain SGD, by parameter; without those that have a head at rest."""
        return {
            name: test for name, test in self.tests("heads-sgd").items() if test["hottest_over_coldest"] is not None
        }

    def left(self, optimizer: str) -> list[Row]:
        """The accounts of the branches that have left the trained network."""
        told = self.accounts()
        return [run for run in told["branches"] if run["optimizer"] == optimizer and has_left(run, told["training"])]

    def equilibria(self, optimizer: str, *, without_left: bool = False) -> list[Row]:
        """All series of `analyzer equilibration` of an optimizer's runs, or where none has left."""
        paths = sorted(self.folder.glob(f"equilibrium-{optimizer}-*.json"))
        if without_left:
            told = self.accounts()
            of = {f"{name}-{rate:g}-{batch}" for name, rate, batch in settings_left(told["branches"], told["training"])}
            paths = [path for path in paths if path.stem.removeprefix("equilibrium-").rpartition("-")[0] not in of]
        return [row for path in paths for row in (read(path) or {}).get("records", [])]

    def drifting_layers(self, run: str) -> set[str]:
        """The layers whose T is not at equilibrium in a run."""
        found = self.answer(f"equilibrium-{run}").get("records", [])
        return {row["of"] for row in found if row["quantity"] == "temperature" and row["verdict"] == "drifting"}

    def heat_of_rows(self, optimizer: str, parameter: str) -> dict[int, np.ndarray[Any, Any]]:
        """Temperatures of the rows of a parameter, by seed."""
        found = {}
        for path in sorted(self.folder.glob(f"rows-{optimizer}-*.json")):
            rows = [r for r in (read(path) or {}).get("records", []) if r["parameter"] == parameter]
            if rows:
                found[int(path.stem.rpartition("-")[2])] = np.array([row["temperature"] for row in rows], np.float64)
        return found


def rank_correlations(heat: dict[int, np.ndarray[Any, Any]]) -> list[float]:
    """Spearman's correlation of the rows' temperatures between every two seeds."""
    ranks = [np.argsort(np.argsort(values)) for _, values in sorted(heat.items())]
    return [float(np.corrcoef(one, other)[0, 1]) for n, one in enumerate(ranks) for other in ranks[n + 1 :]]


def mean_and_error(values: Any) -> tuple[float, float]:
    """Mean over seeds and its standard error (NaN for one)."""
    array = np.asarray(values, np.float64)
    error = float(array.std(ddof=1) / np.sqrt(array.size)) if array.size > 1 else float("nan")
    return float(array.mean()), error
