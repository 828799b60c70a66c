"""Checks of a run against systems whose answers are exact."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import analyzer
from analyzer import errors
from tests import oracles
from tests.stores import edit_root, segment, write_store
from tests.systems import autoregression

ADAM = {"class": "torch.optim.adam.Adam", "defaults": {"lr": 1e-3, "betas": [0.9, 0.999], "amsgrad": False}}
SGD = {"class": "torch.optim.sgd.SGD", "defaults": {"lr": 1e-2, "momentum": 0.0}}
Record = Callable[..., Path]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Writes a run of an optimizer, float64, with its learning rate at every step."""

    def write(parameters: Mapping[str, np.ndarray], optimizer: Any = None, rate: Any = None, **changes: Any) -> Path:
        frames = next(iter(parameters.values())).shape[-1]
        scalars = {}
        if rate is not None:
            scalars["learning_rate"] = np.broadcast_to(np.asarray(rate, dtype=float), (1, frames)).T.copy()
            scalars["learning_rate"][0] = np.nan  # no update made the first frame
        path = write_store(
            tmp_path / f"run{len(list(tmp_path.iterdir()))}.zarr",
            parameters,
            **{"scalars": scalars, "chunk_steps": 512} | changes,
        )
        edit_root(path, lambda root: root["attributes"].update(optimizer=[optimizer] if optimizer else []))
        return path

    return write


def found(answer: xr.Dataset, check: str, group: str | None = None) -> dict[str, Any]:
    """The one finding of a check and a group."""
    here = (answer["check"] == check) & (True if group is None else answer["group"] == group)
    assert int(here.sum()) == 1, (check, group, answer["check"].values, answer["group"].values)
    some = answer.isel(finding=np.flatnonzero(here)[0])
    return {str(name): some[name].item() for name in some.variables}


def checked(path: Path, **options: Any) -> xr.Dataset:
    return analyzer.open_run(path).thermo.check(**options)


def test_norm_drift_is_the_mean_of_products_that_it_telescopes_from(record: Record) -> None:
    """Of plain numpy: −⟨w(t−1)·v(t)⟩/(½⟨v²⟩), summed over every step."""
    rng = np.random.default_rng(1)
    frames = {
        "walk.weight": 3 + oracles.random_walk(rng, 20, 700, 0.1),
        "well.weight": oracles.sgd_on_quadratic(rng, 20, 700, 0.1, 2.0, 1.0),
    }
    answer = checked(record(frames), only="norm")
    assert answer.sizes["finding"] == 2
    for name, w in frames.items():
        v = np.diff(w, axis=1)
        told = found(answer, "norm_drift", name.split(".")[0])
        assert told["measured"] == pytest.approx(-(w[:, :-1] * v).mean() / (0.5 * (v**2).mean()), rel=1e-9)
        assert (told["expected_low"], told["expected_high"], told["verdict"]) == (1, 1, "")


def test_norm_drift_of_a_stationary_and_of_a_diffusing_system(record: Record) -> None:
    """SGD in a well: |w|² is stationary, so the ratio is 1 up to |w|²(1/N): ⟨v²⟩/⟨w²⟩ = 2ηh, deviation ≤ 1/(2ηhN)·few.

    A walk from 0 has ⟨w(t−1) v(t)⟩ = 0: the ratio is 0, with variance Var(Σ w·v)/(½Σσ²)² = 2 N²σ⁴d/(Nσ²d)² = 2/d.
    """
    rng = np.random.default_rng(2)
    frames = {
        "walk.weight": np.cumsum(np.pad(rng.normal(size=(2000, 400)), ((0, 0), (1, 0))), axis=1),
        "well.weight": oracles.sgd_on_quadratic(rng, 200, 401, 0.1, 2.0, 1.0),
    }
    frames["walk.weight"] = frames["walk.weight"][:, :401]
    frames["well.weight"] = frames["well.weight"][:, :401]
    answer = checked(record(frames), only="norm")
    assert found(answer, "norm_drift", "walk")["measured"] == pytest.approx(0, abs=4 * np.sqrt(2 / 2000))
    assert found(answer, "norm_drift", "well")["measured"] == pytest.approx(1, abs=4 / (0.4 * 400))


def test_norm_drift_across_a_gap_and_without_motion(record: Record) -> None:
    """No velocity crosses the gap, so the jump there counts in no sum."""
    rng = np.random.default_rng(3)
    w = 5 + oracles.random_walk(rng, 10, 600, 0.1)
    w[:, 300:] += 100
    steps = np.arange(600)
    steps[300:] += 7
    still = np.ones((4, 600))
    answer = checked(
        record({"a.weight": w, "b.weight": still}, steps=steps, segments=[segment(0, 0)]), only=["norm", "floor"]
    )
    v, before = np.delete(np.diff(w, axis=1), 299, axis=1), np.delete(w[:, :-1], 299, axis=1)
    assert found(answer, "norm_drift", "a")["measured"] == pytest.approx(
        -2 * (before * v).sum() / (v**2).sum(), rel=1e-9
    )
    told = found(answer, "norm_drift", "b")
    assert np.isnan(told["measured"])
    assert told["note"] == "no velocity"
    assert found(answer, "floor", "b")["verdict"] == "near rounding"


@pytest.fixture(scope="module")
def adam_frames() -> dict[str, np.ndarray]:
    """Two layers in white noise; one with s = 0.5, C = 1; one whose gradients come once in fifty steps."""
    rng = np.random.default_rng(4)

    def layer(gradient: Any) -> np.ndarray:
        return oracles.adam(rng, 32, 3001, 1e-3, gradient).reshape(8, 4, -1)

    return {
        "white.weight": layer(lambda r, n: r.normal(size=n)),
        "white2.weight": layer(lambda r, n: 7 * r.normal(size=n)),
        "signal.weight": layer(lambda r, n: 0.5 + r.normal(size=n)),
    }


def test_adam_lies_in_its_range_and_tells_its_signal_to_noise(
    record: Record, adam_frames: dict[str, np.ndarray]
) -> None:
    path = record(adam_frames, ADAM, 1e-3)
    answer = checked(path, only=["adam", "equipartition"])
    assert answer.attrs["optimizer"] == "Adam"
    assert answer.attrs["learning_rate"] == 1e-3
    for layer, s2 in (("white", 0.0), ("signal", 0.25)):
        told = found(answer, "adam_temperature", layer)
        assert told["verdict"] == "inside"
        assert told["measured"] == pytest.approx(oracles.adam_temperature(1, np.sqrt(s2)), rel=0.05)
        assert told["expected_low"] == pytest.approx(0.05 / 1.9)
        assert told["expected_high"] == 0.5
        ratio = found(answer, "signal_to_noise", layer)
        assert ratio["measured"] == pytest.approx(s2, abs=4 * ratio["standard_error"] + 0.01 * (1 + s2))
        assert ratio["standard_error"] < 0.02
    # The null of equal T: s² differs, and is seen to; without it, not.
    assert found(answer, "equipartition")["verdict"] == "differ"
    assert "Adam's null" in found(answer, "equipartition")["note"]
    same = checked(path, only="equipartition", exclude="signal.*")
    assert found(same, "equipartition")["verdict"] == "equal within error"
    assert found(same, "row_equipartition", "white.weight")["verdict"] == "equal within error"


def test_outside_of_adams_range(record: Record, adam_frames: dict[str, np.ndarray]) -> None:
    """0.8 of the weights' speed is 0.64 of T, below the 12 % of sparse gradients; 0.97 is 0.94, within them."""
    w = adam_frames["white.weight"]
    frames = {"slow.weight": 0.8 * w, "fair.weight": 0.95 * w, "fast.weight": 6 * w}
    answer = checked(record(frames, ADAM, 1e-3), only="adam")
    verdicts = [found(answer, "adam_temperature", name)["verdict"] for name in ("slow", "fair", "fast")]
    assert verdicts == ["below", "inside", "above"]
    assert found(answer, "adam_temperature", "slow")["p_value"] < 1e-4
    assert found(answer, "signal_to_noise", "slow")["note"] == "below white gradients: no such s²"
    assert np.isnan(found(answer, "signal_to_noise", "fast")["measured"])


@pytest.mark.parametrize(
    ("optimizer", "rate", "changes", "note"),
    [
        (SGD, 1e-3, {}, "SGD: C/(2 − ηh), no expectation"),
        (None, 1e-3, {}, "the optimizer is not recorded"),
        (ADAM, None, {}, "the learning rate is not recorded"),
        (ADAM, np.r_[np.full(1500, 1e-3), np.full(1501, 1e-4)], {}, "the learning rate changes within the window"),
        (ADAM, np.zeros(3001), {}, "the learning rate is 0"),
        (ADAM, 1e-3, {"steps": np.arange(3001) * 2, "stride": 2}, "velocities over 2 steps: no expectation"),
        ({**ADAM, "class": "torch.optim.nadam.NAdam"}, 1e-3, {}, "NAdam: no expectation"),
        ({**ADAM, "defaults": {"betas": "0.9"}}, 1e-3, {}, "Adam: no expectation"),
        ({**ADAM, "groups": [{"betas": [0.5, 0.999]}, {}]}, 1e-3, {}, "Adam: parameter groups differ in betas, no exp"),
        ({**ADAM, "groups": [{"amsgrad": True}]}, 1e-3, {}, "Adam: no expectation"),
    ],
)
def test_no_verdict_without_what_it_takes(
    record: Record,
    adam_frames: dict[str, np.ndarray],
    optimizer: Any,
    rate: Any,
    changes: dict[str, Any],
    note: str,
) -> None:
    path = record({"white.weight": adam_frames["white.weight"]}, optimizer, rate, **changes)
    answer = checked(path, only="adam")
    told = found(answer, "adam_temperature", "white")
    assert told["note"].startswith(note)
    assert (told["verdict"], answer.sizes["finding"]) == ("", 1)


def test_rates_that_differ_between_groups_and_several_optimizers(
    record: Record, adam_frames: dict[str, np.ndarray]
) -> None:
    path = record(adam_frames, ADAM, scalars={"learning_rate": np.tile([1e-3, 2e-3], (3001, 1))})
    answer = checked(path, only=["adam", "equipartition"])
    assert "differs between parameter groups" in found(answer, "adam_temperature", "white")["note"]
    assert found(answer, "equipartition")["verdict"] == ""
    edit_root(path, lambda root: root["attributes"].update(optimizer=[ADAM, SGD]))
    told = found(checked(path, only="equipartition"), "equipartition")
    assert "2 optimizers, and which one moved a weight is not recorded" in told["note"]


def rows(rng: np.random.Generator, scale: np.ndarray, steps: int) -> np.ndarray:
    """Positions (rows, 5, steps + 1) of AR(1) velocities with ρ = 0.5, one scale for each row."""
    v = autoregression(rng, scale.size * 5, steps, 0.5, 1.0).reshape(scale.size, 5, steps)
    return np.cumsum(np.pad(scale[:, None, None] * v, ((0, 0), (0, 0), (1, 0))), axis=-1)


@pytest.mark.parametrize("steps", [1200, 6000])
def test_rows_that_are_equal_and_that_are_not(record: Record, steps: int) -> None:
    """Short runs by windows of their own, long ones by batches of whole blocks: F as `rows_differ` has it."""
    rng = np.random.default_rng(6)
    frames = {
        "same.weight": rows(rng, np.ones(6), steps),
        "other.weight": rows(rng, np.array([1, 1, 1, 1.3, 1.3, 0.0]), steps),
        "same.bias": rng.normal(size=(6, steps + 1)),
    }
    path = record(frames, ADAM, 1e-3)
    answer = checked(path, only="equipartition", exclude="*.bias")
    same, other = (found(answer, "row_equipartition", name) for name in ("same.weight", "other.weight"))
    assert (same["verdict"], other["verdict"]) == ("equal within error", "differ")
    assert same["measured"] < 3 < other["measured"]
    assert "1 at T = 0 left out" in other["note"]
    sgd = checked(record(frames, SGD, 1e-3), only="equipartition", exclude="*.bias")
    told = found(sgd, "row_equipartition", "other.weight")
    assert (told["verdict"], told["measured"]) == ("", other["measured"])
    assert "SGD: T ∝ η²C, equal T not expected" in told["note"]
    assert checked(path, only="equipartition", parameter="*.bias").sizes["finding"] == 0


def test_velocities_gaussian_or_not(record: Record) -> None:
    rng = np.random.default_rng(7)
    kicks = {
        "normal": rng.normal(size=(100, 3000)) * np.exp(rng.normal(size=(100, 1))),
        "slow": autoregression(rng, 100, 3000, 0.9, 1.0),
        "heavy": rng.standard_t(3, (100, 3000)),
    }
    path = record({f"{name}.weight": np.cumsum(v, axis=1) for name, v in kicks.items()})
    answer = checked(path, only="normality", significance=0.01)
    for check in ("kurtosis", "distance"):
        assert found(answer, check, "heavy")["verdict"] == "not Gaussian"
        for name in ("normal", "slow"):
            assert found(answer, check, name)["verdict"] == "Gaussian within error"
    assert found(answer, "kurtosis", "normal")["note"] == "64 weights × 2,999 steps"
    pieces = checked(path, only="normality", sample_weights=32, sample_steps=1600, significance=0.01)
    assert found(pieces, "kurtosis", "heavy")["note"] == "32 weights × 1,600 steps"
    assert found(pieces, "distance", "heavy")["verdict"] == "not Gaussian"
    assert found(pieces, "distance", "slow")["verdict"] == "Gaussian within error"
    xr.testing.assert_identical(
        pieces, checked(path, only="normality", sample_weights=32, sample_steps=1600, significance=0.01)
    )


def test_a_changing_learning_rate_mixes_gaussians(record: Record) -> None:
    rng = np.random.default_rng(8)
    rate = np.r_[np.full(1000, 1e-2), np.full(1001, 1e-3)]
    path = record({"a.weight": np.cumsum(rate * rng.normal(size=(40, 2001)), axis=1)}, SGD, rate)
    told = found(checked(path, only="normality"), "kurtosis", "a")
    assert told["measured"] > 1
    assert told["verdict"] == ""
    assert told["note"].startswith("the learning rate changes within the window")
    assert found(checked(path, only="normality", stop=900), "kurtosis", "a")["verdict"] == "Gaussian within error"


def test_floor_needs_every_twentieth(record: Record) -> None:
    """δ²/12 of float32 near 1 is 1.2e-15: velocities of 1e-3 are far above; those that stop half-way are not."""
    rng = np.random.default_rng(9)
    v = 1e-3 * rng.normal(size=(20, 2000))
    stops = v * (np.arange(2000) < 1000)
    frames = {
        f"{name}.weight": (1 + np.cumsum(values, axis=1)).astype(np.float32)
        for name, values in (("goes", v), ("stops", stops))
    }
    answer = checked(record(frames), only="floor")
    told = found(answer, "floor", "goes")
    assert (told["verdict"], told["expected_low"], told["expected_high"]) == ("persists", 10, np.inf)
    truth = analyzer.open_run(record(frames)).thermo.temperature().compute().isel(group=0, window=0)
    assert told["measured"] == pytest.approx((truth["temperature"] / truth["floor"]).item(), rel=1e-12)
    assert found(answer, "floor", "stops")["verdict"] == "near rounding"
    assert found(answer, "floor", "stops")["measured"] > 1e6


def test_temperatures_that_move_together_and_that_do_not(record: Record) -> None:
    """Amplitudes e^a with a common AR(1) a, ρ = 0.95: 𝒯 of 100 weights ∝ e^(2a) but for 14 %; a third has its own."""
    rng = np.random.default_rng(10)
    common, own = (0.3 * autoregression(rng, 1, 6000, 0.95, 1.0) for _ in range(2))
    scale = {"a": common, "b": common, "c": own}
    frames = {f"{k}.weight": np.cumsum(np.exp(s) * rng.normal(size=(100, 6000)), axis=1) for k, s in scale.items()}
    answer = checked(record(frames), only="correlation", significance=0.01)
    told = found(answer, "correlation", "a × b")
    assert told["verdict"] == "correlated"
    assert told["measured"] == pytest.approx(np.corrcoef(*(np.exp(2 * s[0]) for s in (common, common)))[0, 1], abs=0.1)
    for pair in ("a × c", "b × c"):
        assert found(answer, "correlation", pair)["verdict"] == "none seen"


def test_kept_sums_answer_all_but_the_distribution(record: Record, tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    frames = {"a.weight": rows(rng, np.ones(4), 6000), "b.weight": rows(rng, np.ones(4), 6000)}
    path = record(frames, ADAM, 1e-3)
    whole = checked(path)
    shutil.rmtree(path)
    kept = checked(Path(f"{path}.moments"))
    sums = ~np.isin(whole["check"], ["kurtosis", "distance"])
    for name in ("check", "group", "measured", "standard_error", "p_value", "verdict", "note"):
        np.testing.assert_array_equal(kept[name].values[sums], whole[name].values[sums])
    assert set(kept["note"].values[~sums]) == {"only sums were kept: the frames are needed"}
    part = checked(Path(f"{path}.moments"), start=100, stop=5000)
    assert found(part, "norm_drift", "a")["note"] == "only sums were kept: the frames are needed"
    assert found(part, "row_equipartition")["note"] == "only sums were kept: the frames are needed"
    assert found(part, "floor", "a")["note"].startswith("no floor")
    assert found(part, "correlation", "a × b")["verdict"] == "none seen"


def test_a_changed_tree_and_another_chunking_say_the_same(record: Record) -> None:
    rng = np.random.default_rng(12)
    frames = {"a.weight": rows(rng, np.ones(4), 1500), "b.weight": rows(rng, np.ones(4), 1500)}
    run = analyzer.open_run(record(frames, ADAM, 1e-3))
    truth = run.thermo.check(by="parameter")
    other = analyzer.open_run(record(frames, ADAM, 1e-3, chunk_steps=64, row_cut=3))
    for tree in (run.isel(step=slice(None)).load(), other):
        answer = tree.thermo.check(by="parameter")
        np.testing.assert_array_equal(answer["verdict"], truth["verdict"])
        some = truth["check"].values != "kurtosis" if tree is other else slice(None)
        some = some & (truth["check"].values != "distance") if tree is other else some
        np.testing.assert_allclose(answer["measured"].values[some], truth["measured"].values[some], rtol=1e-9)


def test_weights_that_are_not_finite_have_no_verdict(record: Record) -> None:
    frames = {"a.weight": rows(np.random.default_rng(13), np.ones(4), 1500)}
    frames["b.weight"] = frames["a.weight"].copy()
    frames["b.weight"][1, 2, 700:] = np.nan
    with pytest.warns(analyzer.NonFiniteWarning):
        answer = checked(record(frames, ADAM, 1e-3))
    bad = answer.isel(finding=np.flatnonzero(["b" in g or g == "all groups" for g in answer["group"].values]))
    assert np.isnan(bad["measured"]).all()
    assert set(bad["verdict"].values) == {""}
    assert found(answer, "kurtosis", "a")["verdict"] == "Gaussian within error"


def test_rows_that_all_diverge_are_not_compared_over_the_time_before(record: Record) -> None:
    frames = {"a.weight": rows(np.random.default_rng(14), np.ones(4), 1500)}
    frames["b.weight"] = frames["a.weight"].copy()
    frames["b.weight"][..., 700:] = np.nan
    path = record(frames, ADAM, 1e-3)
    with pytest.warns(analyzer.NonFiniteWarning):
        told = found(checked(path, only="equipartition"), "row_equipartition", "b.weight")
    assert np.isnan(told["measured"])
    assert told["note"] == "4 of 4 rows with NaN or infinite weights"
    with pytest.warns(analyzer.NonFiniteWarning):
        verdicts = analyzer.open_run(path).thermo.rows()["verdict"].values.tolist()
    assert verdicts == ["no difference found", "undecided"]


def test_short_runs_and_wrong_options(store: Path, record: Record) -> None:
    run = analyzer.open_run(store)
    short = run.thermo.check(stop=8)
    assert set(short["verdict"].values) <= {"", "persists"}
    for options, error, text in (
        ({"only": "nothing"}, errors.OptionError, "expected some of norm, equipartition"),
        ({"significance": 1.5}, errors.OptionError, "--significance: expected a number between 0 and 1, got 1.5"),
        ({"sample_weights": 3}, errors.OptionError, "--sample-weights: expected a whole number of at least 16, got 3"),
        ({"sample_steps": 0}, errors.OptionError, "--sample-steps: expected a whole number of at least 16, got 0"),
        ({"by": "row"}, errors.GroupError, "expected groups of whole parameters"),
        ({"layer": "x"}, errors.SelectionError, "--layer 'x': expected a pattern"),
    ):
        with pytest.raises(error, match=text):
            run.thermo.check(**options)
    wide = analyzer.open_run(record({"a.weight": np.zeros((4096, 4097))}))
    with pytest.raises(errors.MemoryLimitError, match="a sample of"):
        wide.thermo.check(only="normality", sample_weights=4096, memory_limit=250 << 20)


@pytest.mark.parametrize("frames", [2, 3])
def test_a_run_too_short_to_judge_is_measured_without_a_verdict(tmp_path: Path, frames: int) -> None:
    rng = np.random.default_rng(3)
    weights = {f"{name}.weight": np.cumsum(rng.normal(size=(4, 3, frames)), axis=-1) for name in ("a", "b")}
    run = analyzer.open_run(write_store(tmp_path / "short.zarr", weights, scalars={}, chunk_steps=64))
    answer = analyzer.check(run)
    assert not [
        v for v, name in zip(answer["verdict"].values, answer["check"].values, strict=True) if v and name != "floor"
    ]
    assert np.isfinite(answer["measured"].values[answer["check"].values == "norm_drift"]).all()
