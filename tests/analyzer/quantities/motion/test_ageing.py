"""The two-time displacement: one origin a waiting time, exact, and what it says of walks and of motion that slows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import analyzer
from analyzer import errors
from analyzer.engine import plan
from analyzer.engine.lookback import two_times
from tests.analyzer.shell import invoke
from tests.stores import write_store


def test_equal_to_the_definition(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    steps = np.arange(300) * 2
    steps[200:] += 2
    parameters = {
        "conv1.lin.weight": np.cumsum(rng.standard_normal((4, 3, 300)), axis=-1).astype(np.float32),
        "lin.weight": np.cumsum(rng.standard_normal((2, 2, 300)), axis=-1).astype(np.float32),
    }
    path = write_store(tmp_path / "run.zarr", parameters, steps=steps, stride=2)
    times, lags = [0, 10, 100, 350], [2, 20, 100]
    with mock.patch.multiple(plan, SPAN_FRAMES=1, KEPT_FRAMES=32), mock.patch.object(two_times, "_TILE", 5):
        run = analyzer.open_run(path)
        answer = run.thermo.ageing(waiting=times, lags=lags).compute()
        tree = run.map_over_datasets(lambda dataset: dataset * 1)
        modified = tree.thermo.ageing(waiting=times, lags=lags).compute()
    for n, values in enumerate(parameters.values()):
        for i, time in enumerate(times):
            for j, lag in enumerate(lags):
                a, b = np.searchsorted(steps, [time, time + lag])
                truth = ((values[..., b].astype(float) - values[..., a]) ** 2).mean()
                truth = np.nan if a < 200 <= b else truth
                for one in (answer, modified):
                    found = one["two_time_displacement"].values[n, i, j]
                    np.testing.assert_allclose(found, truth, rtol=1e-12)
    assert np.isnan(answer["two_time_displacement"].values[:, 3, 2]).all(), "a gap lies between"
    late = run.thermo.ageing(waiting=[10], lags=[20], start=100).compute()
    moved = parameters["lin.weight"][..., 65].astype(float) - parameters["lin.weight"][..., 55]
    assert late["two_time_displacement"].values[1, 0, 0] == pytest.approx((moved**2).mean(), rel=1e-12)
    assert "after step 100" in late["waiting"].attrs["long_name"]
    with pytest.raises(errors.WindowError, match=r"--waiting: expected multiples of the stride \(2 steps\), got 3"):
        analyzer.open_run(path).thermo.ageing(waiting=3)
    with pytest.raises(errors.WindowError, match="--waiting and --lags: expected at most 20,000 pairs"):
        analyzer.open_run(path).thermo.ageing(waiting=10_000)


def test_a_walk_does_not_age_and_slowing_motion_does(tmp_path: Path) -> None:
    """Independent steps of variance s²(t): Δ(t_w, t_w + τ) = Σ s² from t_w to t_w + τ: τ s² for a walk, whatever t_w.

    With s² = 1/(1 + t): Δ = ln((1 + t_w + τ)/(1 + t_w)) nearly, less for longer t_w.
    """
    rng = np.random.default_rng(1)
    steps = rng.standard_normal((4000, 1024))
    slowing = steps / np.sqrt(1 + np.arange(1024))
    w = {"a.weight": np.cumsum(steps, axis=1)[:, None], "b.weight": np.cumsum(slowing, axis=1)[:, None]}
    path = write_store(tmp_path / "run.zarr", w, chunk_steps=256)
    answer = analyzer.open_run(path).thermo.ageing(waiting=[8, 64, 512], lags=[64, 256]).compute()
    walk, ages = answer["two_time_displacement"].values
    np.testing.assert_allclose(walk, np.tile([64, 256], (3, 1)), rtol=0.12)  # 1/√2000 a number, six numbers
    waited = np.array([8, 64, 512])[:, None]
    np.testing.assert_allclose(ages, np.log((1 + waited + np.array([64, 256])) / (1 + waited)), rtol=0.2)
    assert (np.diff(ages, axis=0) < 0).all()


def test_the_command(tmp_path: Path) -> None:
    w = np.cumsum(np.random.default_rng(2).standard_normal((4, 3, 600)), axis=-1)
    path = write_store(tmp_path / "run.zarr", {"conv1.lin.weight": w, "lin.bias": w[0]})
    options = ("dynamics", path, "--waiting", "1:400:log", "--lags", "1:100:log")
    done = invoke(*options, "--format", "json", "--plot", tmp_path / "figure.png")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["quantity"] == "ageing"
    assert {record["waiting"] for record in document["records"]} >= {1, 2, 4, 362, 400}
    assert set(document["records"][0]) >= {"layer", "waiting", "lag", "two_time_displacement"}
    table = invoke(*options).stdout
    lines = [line for line in table.splitlines() if line.startswith((" conv1", " lin"))]
    assert len(lines) == 2 * 5, "five waiting times of each layer"
    assert max(map(len, table.splitlines()[:13])) <= 100
    layer, waiting, *values = lines[1].split()
    known = {(r["layer"], r["waiting"], r["lag"]): r["two_time_displacement"] for r in document["records"]}
    lags = [int(lag) for lag in re.findall(r"τ = ([\d,]+)", table)]
    assert [lags[0], lags[-1], len(lags)] == [1, 100, 6]
    assert [float(value) for value in values] == pytest.approx(
        [known[layer, int(waiting), lag] for lag in lags], rel=1e-3
    )
    assert "5 of 31 waiting times and 6 of 23 lags; all: --wide" in table
    every = invoke(*options, "--wide").stdout
    assert len(re.findall("^ conv1", every, flags=re.MULTILINE)) == 31
    assert every.count("τ = ") == 23
    assert invoke(*options, "--window", 100).exit_code == 2
