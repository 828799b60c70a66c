"""How often equal rows are called different, and how small a difference is found.

    python -m tests.benchmarks.row_coverage

Layers of `tests.rows.layer`: AR(1) velocities, the elements of a row share a signal, neighbouring blocks correlate.
Beside the test stand the analysis of variance of blocks taken as independent, and that of elements taken as independent
(what permuting elements amounts to).
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import scipy.stats

from analyzer.heterogeneity import heterogeneity
from tests.benchmarks.analyzer_workload import table
from tests.rows import layer

CASES: list[dict[str, Any]] = [
    {},
    {"blocks": 40},
    {"rows": 128},
    {"rho": 0.98},
    {"shared": 0.0},
    {"shared": 1.0},
    {"common": 0.5},
    {"spread": 0.02},
    {"spread": 0.05},
    {"spread": 0.1},
]


def rejections(count: int, seed: int = 0, **options: Any) -> dict[str, float]:
    """Shares of `count` layers that each test rejects at 5 %; "undecided" is the share without a p-value."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[bool]] = {}
    for _ in range(count):
        elements = layer(rng, **options)
        rows = elements.mean(axis=1)
        answer = heterogeneity(rows)
        p = {
            "rows": answer.p_value,
            "ranks": answer.rank_p_value,
            "independent blocks": scipy.stats.f_oneway(*np.log(rows)).pvalue,
            "independent elements": scipy.stats.f_oneway(*np.log(elements.mean(axis=2))).pvalue,
        }
        for name, value in p.items():
            found.setdefault(name, []).append(bool(value < 0.05))
        found.setdefault("undecided", []).append(bool(np.isnan(answer.p_value)))
    return {name: float(np.mean(values)) for name, values in found.items()}


def report(count: int) -> str:
    """The table."""
    rows = []
    for options in CASES:
        words = ", ".join(f"{name} {value}" for name, value in options.items()) or "equal rows"
        rows.append((words, *(f"{share:.1%}" for share in rejections(count, **options).values())))
    title = f"Rejected at 5 %, of {count} layers of 32 rows and 100 blocks of 32 steps unless said otherwise"
    header = ("layer", "rows differ", "order lasts", "independent blocks", "independent elements", "undecided")
    return table(title, header, rows)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--layers", type=int, default=1000)
    print(report(options.parse_args().layers))


if __name__ == "__main__":
    main()
