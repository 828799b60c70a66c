"""Factors of recorded runs: what was put into the velocities is found again, whatever holds the frames."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import xarray as xr

import analyzer
from analyzer import errors
from analyzer.quantities import factors as module
from tests import systems
from tests.analyzer.unequal_rows import walk

Make = Callable[..., Path]
SHARE = 0.9


def frames_of(rng: np.random.Generator, heat: np.ndarray, steps: int) -> np.ndarray:
    """Frames (*heat.shape, steps + 1) of independent Gaussian steps with ⟨v²⟩ = heat."""
    return walk(rng, heat.ravel(), 1, steps).reshape(*heat.shape, steps + 1)


@pytest.fixture
def heat() -> np.ndarray:
    return np.exp(systems.matrix_of_share(np.random.default_rng(0), (6, 8), SHARE))


@pytest.fixture
def store(make: Make, heat: np.ndarray) -> Path:
    """`a.weight` has a known share; `conv.kernel` is separable, with a row and an element at rest."""
    rng = np.random.default_rng(1)
    kernel = 4.0 ** np.arange(5)[:, np.newaxis] * 2.0 ** np.arange(12)
    kernel[2] = 0
    kernel[4, 7] = 0
    frames = {
        "a.weight": frames_of(rng, heat, 2048),
        "a.bias": walk(rng, np.ones(6), 1, 2048)[:, 0],
        "conv.kernel": frames_of(rng, kernel, 2048).reshape(5, 3, 2, 2, 2049),
        "thin.weight": walk(rng, np.ones(4), 1, 2048),
    }
    axes = {"conv.kernel": {"axes": ["output", "input", "", ""], "heads": None, "head_axis": None}}
    return make(parameters=frames, scalars={}, chunk_steps=256, attributes=axes)


def factor_of(answer: xr.Dataset, name: str, kind: str, end: str = "") -> np.ndarray:
    values: np.ndarray = answer[f"{kind}_factor{end}"].values[answer[f"{kind}_of"].values == name]
    return values


def test_a_known_share_is_found(store: Path, heat: np.ndarray) -> None:
    """⟨v²⟩ of each element is known to √(2/2048) = 3.1 %: the share as measured is lower by about 1e-3."""
    answer = analyzer.open_run(store).thermo.factors()
    assert answer["tested"].values.tolist() == ["a.weight", "conv.kernel", "thin.weight"]
    own = answer.sel(tested="a.weight")
    # Its standard deviation over runs is 0.003. How often the interval holds the truth says the benchmark of coverage.
    assert abs(own["separable_share"] - SHARE) < 0.012
    assert own["separable_share_low"] < own["separable_share"] < own["separable_share_high"]
    assert 0.002 < own["separable_share_high"] - own["separable_share_low"] < 0.03
    assert own["chance_share"] == pytest.approx(12 / 47)
    assert own["separable_share_adjusted"] == pytest.approx((own["separable_share"] - 12 / 47) / (1 - 12 / 47))
    assert own["sampling_error"] == pytest.approx(np.sqrt(2 / 2048), rel=0.15)
    assert own["left_rms"] == pytest.approx(np.sqrt(1 - SHARE), rel=0.1)
    assert own["separable_reason"].item() == ""
    log = np.log(heat)
    for kind, axis in (("row", 1), ("column", 0)):
        truth = np.exp(log.mean(axis=axis) - log.mean())
        np.testing.assert_allclose(factor_of(answer, "a.weight", kind), truth, rtol=0.05)
        low, high = (factor_of(answer, "a.weight", kind, end) for end in ("_low", "_high"))
        assert ((low < truth * 1.02) & (truth < high * 1.02)).all()
    assert answer.attrs["quantity"] == "factors"
    assert (answer.attrs["start_step"], answer.attrs["stop_step"]) == (0, 2048)


def test_factors_times_what_is_left_is_the_mean_squared_velocity(store: Path) -> None:
    run = analyzer.open_run(store)
    answer = run.thermo.factors(start=100)
    squares = run.thermo.velocity_summary(by="element", start=100).compute()
    for name in ("a.weight", "conv.kernel"):
        row, column = (factor_of(answer, name, kind) for kind in ("row", "column"))
        ratio = answer["element_ratio"].values[answer["element_of"].values == name]
        again = ratio.reshape(row.size, column.size) * row[:, np.newaxis] * column
        again *= float(answer["factor_scale"].sel(tested=name))
        truth = squares["mean_squared_velocity"].values[squares["parameter"].values == name, 0]
        np.testing.assert_allclose(np.nan_to_num(again.ravel()), truth, rtol=1e-9)


def test_weights_at_rest_are_counted(store: Path) -> None:
    """Of the kernel a whole row and one element more: 13 of 60 weights; the others are separable."""
    answer = analyzer.open_run(store).thermo.factors(parameter="conv.kernel")
    counts = ("matrix_rows", "matrix_columns", "weights_at_rest", "rows_at_rest", "columns_at_rest")
    assert [answer[name].item() for name in counts] == [5, 12, 13, 1, 0]
    assert answer["separable_share"] > 0.998
    assert answer["separable_share_high"] == 1
    assert answer["weights_near_floor"] == 0
    np.testing.assert_allclose(
        factor_of(answer, "conv.kernel", "row")[[0, 1, 3, 4]] / [1, 4, 64, 256], 1 / 16, rtol=0.05
    )
    assert factor_of(answer, "conv.kernel", "row")[2] == 0


def test_a_matrix_with_one_column_has_a_reason_and_no_share(store: Path) -> None:
    answer = analyzer.open_run(store).thermo.factors(parameter="thin.weight")
    assert answer["separable_reason"].item() == "it has only one column"
    assert np.isnan(answer["separable_share"])
    assert np.isnan(factor_of(answer, "thin.weight", "row")).all()


def test_weights_that_rounding_holds_are_counted_and_left_out(make: Make) -> None:
    """float32 weights near 1.5 move in units of 2⁻²³: with ⟨v²⟩ of a unit² they are below ten floors of m δ²/12."""
    rng = np.random.default_rng(2)
    kicks = rng.choice([-1, 1], size=(4, 4, 640)) * 2.0**-23
    kicks[:2] *= np.array([1000, 4000])[:, np.newaxis, np.newaxis]
    kicks[2, :2] *= 1000
    frames = (1.5 + np.concatenate([np.zeros((4, 4, 1)), kicks], axis=2).cumsum(axis=2)).astype(np.float32)
    answer = analyzer.open_run(make(parameters={"a.weight": frames}, scalars={})).thermo.factors()
    assert (answer["weights_near_floor"].item(), answer["weights_at_rest"].item()) == (6, 0)
    row = factor_of(answer, "a.weight", "row")
    assert np.isnan(row).tolist() == [False, False, False, True]
    assert row[1] / row[0] == pytest.approx(16, rel=0.02)
    assert row[2] / row[0] == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("cut", [{"chunk_steps": 2048}, {"row_cut": 4}, {"compression": "pcodec", "chunk_steps": 100}])
def test_the_answer_does_not_depend_on_chunks(make: Make, heat: np.ndarray, cut: dict[str, object]) -> None:
    frames = {"a.weight": frames_of(np.random.default_rng(3), heat, 1200)}
    one = make(name="one.zarr", parameters=frames, scalars={}, chunk_steps=256)
    other = make(name="other.zarr", parameters=frames, scalars={}, **({"chunk_steps": 256} | cut))
    first, second = (analyzer.open_run(path).thermo.factors() for path in (one, other))
    xr.testing.assert_allclose(first, second, rtol=1e-9)


def test_a_derived_tree_answers_alike(make: Make, heat: np.ndarray) -> None:
    """w → 3w: ⟨v²⟩ is nine times as large, and no share and no factor moves."""
    run = analyzer.open_run(make(parameters={"a.weight": frames_of(np.random.default_rng(4), heat, 1200)}, scalars={}))
    plain, scaled = run.thermo.factors(), (run * 3.0).thermo.factors()
    assert (scaled["factor_scale"] / plain["factor_scale"]).item() == pytest.approx(9)
    for name in ("separable_share", "separable_share_low", "row_factor", "column_factor", "element_ratio"):
        np.testing.assert_allclose(scaled[name], plain[name], rtol=1e-6)


def test_a_matrix_that_is_too_large_is_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WEIGHTS", 48)
    answer = analyzer.open_run(store).thermo.factors()
    large = answer.sel(tested="conv.kernel")
    assert large["separable_reason"].item() == "it has more than 48 weights"
    assert np.isnan([large["separable_share"], large["weights_at_rest"]]).all()
    assert np.isfinite(answer["separable_share"].sel(tested="a.weight"))
    assert set(answer["element_of"].values) == {"a.weight", "thin.weight"}
    monkeypatch.setattr(module, "MOST_WEIGHTS", 1)
    with mock.patch.object(module, "measure", side_effect=AssertionError("nothing is read")):
        none = analyzer.open_run(store).thermo.factors()
    assert none.sizes["element"] == 0
    assert none["separable_reason"].values.tolist() == ["it has more than 1 weights"] * 3


def test_what_cannot_be_factorised_is_refused(store: Path) -> None:
    run = analyzer.open_run(store)
    with pytest.raises(errors.GroupError, match=r"^Factors: .*There is nothing to factorise"):
        run.thermo.factors(parameter="a.bias")
    with pytest.raises(errors.WindowError, match="at least 12 velocities, got 5"):
        run.thermo.factors(stop=5)
    with pytest.raises(errors.SelectionError, match="no match"):
        run.thermo.factors(parameter="nothing")


def test_weights_that_are_not_finite_have_a_reason(make: Make, heat: np.ndarray) -> None:
    frames = frames_of(np.random.default_rng(5), heat, 300)
    frames[2, 3, 100] = np.nan
    run = analyzer.open_run(make(parameters={"a.weight": frames}, scalars={}))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        answer = run.thermo.factors()
    assert [one.category for one in told] == [errors.NonFiniteWarning]
    assert answer["separable_reason"].item() == "a weight is NaN or infinite"
