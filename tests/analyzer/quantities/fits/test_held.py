"""A fit holds other hyperparameters fixed, takes rates from the frames, and says once what it leaves out."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analyzer
from analyzer import errors
from tests.analyzer.shell import invoke
from tests.stores import segment

RATES = (0.02, 0.05, 0.1, 0.2, 0.4)
Make = Callable[..., Path]


def run_at(make: Make, rate: float, batch: int | None = 16, *, seed: int = 0, named: bool = True, **more: Any) -> Path:
    """T = ½η²·16/β: velocities of variance η²·16/β."""
    rng = np.random.default_rng([int(1e4 * rate), batch or 0, seed])
    scale = rate * np.sqrt(16 / (batch or 16))
    frames = {"a.weight": np.cumsum(scale * rng.standard_normal((6, 6, 401)), axis=-1)}
    known: dict[str, Any] = {"batch_size": batch} if batch else {}
    known |= {"learning_rate": rate} if named else {}
    scalars = {"learning_rate": np.concatenate([[np.nan], np.repeat(rate, 400)])[:, np.newaxis]}
    given: dict[str, Any] = {"parameters": frames, "scalars": scalars, "hyperparameters": known | {"seed": seed}}
    given |= {"chunk_steps": 64, "segments": [segment(0, 0)]}
    return make(f"r{rate}_{batch}_{seed}.zarr", **(given | more))


@pytest.fixture
def uneven(make: Make) -> list[Path]:
    """The sweep of the walk: five rates at batch size 16, four other batch sizes at one rate."""
    return [run_at(make, rate) for rate in RATES] + [run_at(make, 0.1, batch) for batch in (4, 8, 32, 64)]


def test_other_hyperparameters_are_held_fixed_and_what_is_left_out_is_said_once(uneven: list[Path]) -> None:
    sweep = analyzer.open_sweep(uneven)
    with pytest.warns(errors.FitWarning, match="Fit: 4 of 9 runs are left out") as heard:
        answer = analyzer.fit(sweep)
    assert len(heard) == 1
    assert heard[0].filename == __file__, "the line of the caller"
    text = str(heard[0].message)
    assert re.search(r"4 of 9 runs are left out \(r0.1_4_0, r0.1_8_0, r0.1_32_0, r0.1_64_0\)", text), text
    assert "the fit holds batch_size=16 fixed" in text
    assert "--where NAME=VALUE" in text
    assert answer.attrs["held"] == "batch_size=16"
    assert answer["run"].size == 5
    b = answer.isel(group=0).sel(coefficient="b")
    assert b["value"].item() == pytest.approx(2, abs=0.05)
    assert answer["scatter"].item() < 0.05
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = analyzer.fit(sweep, where={"batch_size": 16})
        pooled = analyzer.fit(sweep, pool=["batch_size"])
        against = analyzer.fit(sweep, against="batch_size", model="inverse_power", where={"learning_rate": 0.1})
    assert same["value"].values.tolist() == answer["value"].values.tolist()
    assert pooled["runs"].item() == 9
    assert pooled["scatter"].item() > 0.5, "what batch sizes do shows as scatter"
    assert against.isel(group=0).sel(coefficient="q")["value"].item() == pytest.approx(1, abs=0.1)


def test_one_fit_for_each_value(make: Make, tmp_path: Path) -> None:
    paths = [run_at(make, rate, batch) for batch in (4, 16) for rate in RATES]
    sweep = analyzer.open_sweep(paths)
    answer = sweep.thermo.fit()
    assert answer["value"].dims == ("held", "group", "coefficient")
    assert answer["held"].values.tolist() == ["batch_size=4", "batch_size=16"]
    np.testing.assert_allclose(answer["value"].sel(coefficient="b").values, 2, atol=0.05)
    ratio = answer["value"].sel(coefficient="a").values
    assert ratio[0, 0] / ratio[1, 0] == pytest.approx(4, rel=0.2)
    assert answer["batch_size"].values.tolist() == [4] * 5 + [16] * 5
    assert answer["temperature"].notnull().sum() == 10
    picture = tmp_path / "fits.png"
    table = invoke("fit", *paths, "--plot", picture)
    assert table.exit_code == 0, table.output
    assert "batch_size=4: a: T = " in table.stdout
    assert picture.stat().st_size > 10_000
    csv = tmp_path / "fits.csv"
    assert invoke("fit", *paths, "--output", csv).exit_code == 0
    found = pd.read_csv(csv)
    assert found["held"].tolist() == ["batch_size=4"] * 2 + ["batch_size=16"] * 2
    document = json.loads(invoke("fit", *paths, "--format", "json").stdout)
    assert list(document["held"]) == ["batch_size=4", "batch_size=16"]
    assert len(document["held"]["batch_size=4"]["points"]) == 5
    at_lags = sweep.thermo.fit(lag=[1, 2])
    assert at_lags["value"].dims == ("held", "lag", "group", "coefficient")
    assert invoke("fit", *paths, "--lag", "1,2").exit_code == 0
    chosen = invoke("fit", *paths, "--where", "batch_size=4", "--format", "json")
    assert json.loads(chosen.stdout)["records"][0]["runs"] == 5
    assert invoke("fit", *paths, "--where", "batch_size").exit_code == 2


def test_too_few_runs_of_each_value_are_refused_with_the_remedy(make: Make) -> None:
    paths = [run_at(make, rate, 2**n) for n, rate in enumerate(RATES)]
    with pytest.raises(
        errors.FitError, match=r"expected 5 runs or more with one value of batch_size, got 1 with.*--pool"
    ):
        analyzer.fit(analyzer.open_sweep(paths))
    assert invoke("fit", *paths, "--pool", "batch_size").exit_code == 0


def test_seeds_are_replicates_and_names_are_labels(make: Make) -> None:
    paths = []
    for rate in RATES:
        for seed in (0, 1):
            known = {"learning_rate": rate, "seed": seed, "name": f"{rate}-{seed}"}
            paths.append(run_at(make, rate, seed=seed, hyperparameters=known))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = analyzer.fit(analyzer.open_sweep(paths))
    assert answer["runs"].item() == 10
    assert "held" not in answer.attrs


def test_what_some_runs_did_not_write_down_does_not_vary(make: Make) -> None:
    known = {"learning_rate": 0.02, "batch_size": 16, "seed": 0, "model": "gcn"}
    paths = [run_at(make, 0.02, hyperparameters=known), *(run_at(make, rate) for rate in RATES[1:])]
    assert analyzer.fit(analyzer.open_sweep(paths))["runs"].item() == 5


def test_the_recorded_rate_stands_in_for_one_that_nobody_named(make: Make) -> None:
    paths = [run_at(make, rate, named=False) for rate in RATES]
    answer = analyzer.fit(analyzer.open_sweep(paths))
    assert answer["learning_rate"].values.tolist() == list(RATES)
    assert answer.isel(group=0).sel(coefficient="b")["value"].item() == pytest.approx(2, abs=0.05)
    rates = np.concatenate([[np.nan], np.geomspace(0.1, 0.01, 400)])[:, np.newaxis]
    paths[0] = run_at(make, 0.03, named=False, scalars={"learning_rate": rates})
    with pytest.raises(errors.FitError, match=r"r0.03_16_0: expected one recorded learning rate .*η changes ×10"):
        analyzer.fit(analyzer.open_sweep(paths))
    bare = [run_at(make, rate, seed=3, named=False, scalars={}) for rate in RATES]
    with pytest.raises(errors.FitError, match=r"got none\. Without it, the run cannot be placed"):
        analyzer.fit(analyzer.open_sweep(bare))


def test_start_auto_and_percent_and_runs_that_drift_are_named_in_one_warning(make: Make) -> None:
    paths = [run_at(make, rate) for rate in RATES]
    sweep = analyzer.open_sweep(paths)
    half = analyzer.fit(sweep, start="50%")
    assert half["runs"].item() == 5
    done = invoke("fit", *paths, "--start", "50%")
    assert done.exit_code == 0, done.output
    rng = np.random.default_rng(9)
    growing = 0.1 * np.linspace(1, 2, 400)
    for name in ("x", "y"):
        frames = {"a.weight": np.cumsum(np.append(0, growing) * rng.standard_normal((6, 6, 401)), axis=-1)}
        rate = 0.1 if name == "x" else 0.12
        known = {"learning_rate": rate, "batch_size": 16, "seed": 0}
        paths.append(make(f"{name}.zarr", parameters=frames, scalars={}, hyperparameters=known, chunk_steps=64))
    with pytest.warns(errors.FitWarning, match="runs still drift after their t0") as heard:
        analyzer.fit(analyzer.open_sweep(paths), start="auto")
    assert len(heard) == 1
    assert heard[0].filename == __file__
    assert re.search(
        r"\d of 7 runs still drift after their t0 \(.*x: temperature a \(\+\d+ % of its mean\)", str(heard[0].message)
    )
    told = invoke("fit", *paths, "--start", "auto")
    assert told.exit_code == 0, told.output
    assert told.stderr.count("Warning: ") == 1
