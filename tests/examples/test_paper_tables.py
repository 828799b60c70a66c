"""The pages of the paper: what another scale gave stands below each row of exponents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from examples.paper.evidence import Evidence
from examples.paper.judged import Judged
from examples.paper.tables import by_lag, side_by_side


def answer(coefficient: str, **values: float) -> dict[str, Any]:
    records = [
        {"layer": layer, "coefficient": coefficient, "value": value, "low": value - 0.1, "high": value + 0.1,
         "runs": 35, "intervals": "per-seed"}
        for layer, value in values.items()
    ]  # fmt: skip
    return {"records": records}


def scale(folder: Path, name: str, shift: float, lags: tuple[str, ...]) -> Judged:
    gcn = folder / name / "gcn"
    gcn.mkdir(parents=True)
    rate = {"lags": {lag: answer("b", conv1=2 + shift, out=2.1 + shift) for lag in lags}}
    contents = {"accounts": {}, "sgd-rate": answer("b", conv1=2 + shift, out=2.1 + shift), "sgd-rate-lags": rate}
    for file, content in contents.items():
        (gcn / f"{file}.json").write_text(json.dumps({"quantity": "fit", **content}))
    models = {kind: Evidence(kind, folder / name / kind) for kind in ("gcn", "gat", "cnn")}
    return Judged(name, models, {}, ())


def test_what_another_scale_gave_stands_below_each_row(tmp_path: Path) -> None:
    own, beside = scale(tmp_path, "large", 0.0, ("1", "100")), scale(tmp_path, "small", 0.5, ("1",))
    assert [model.kind for model in own.known] == ["gcn"]
    lines = by_lag(own.known, beside)
    first = lines.index("| layer | L = 1 | L = 100 |")
    assert lines[first + 2 : first + 6] == [
        "| conv1 | 2.000 [1.900, 2.100] | 2.000 [1.900, 2.100] |",
        "| *small* | *2.500 [2.400, 2.600]* | *–* |",
        "| out | 2.100 [2.000, 2.200] | 2.100 [2.000, 2.200] |",
        "| *small* | *2.600 [2.500, 2.700]* | *–* |",
    ]
    (row,) = [line for line in side_by_side(own.known, beside) if line.startswith("| conv1")]
    assert row.startswith("| conv1 | 2.000 [1.900, 2.100] | – |")
    assert sum("*small*" in line for line in side_by_side(own.known, beside)) == 2


def test_without_another_scale_there_is_one_row_a_layer(tmp_path: Path) -> None:
    own = scale(tmp_path, "small", 0.0, ("1",))
    assert not any("*" in line for line in [*by_lag(own.known, None), *side_by_side(own.known, None)])
