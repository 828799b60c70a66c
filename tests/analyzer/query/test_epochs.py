"""Lag "epoch" at both phases: the ends of epochs, and their middles."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr

import analyzer
from analyzer import errors
from analyzer.query.timeline import timeline
from analyzer.query.windows import Windows, sample
from tests import oracles
from tests.analyzer.shell import invoke


def without_replacement(
    rng: np.random.Generator, weights: int, epochs: int, minibatches: int, spread: float
) -> np.ndarray:
    """SGD whose gradients depend on the minibatch alone, each minibatch seen once an epoch, in random order.

    With steps x_i, i = 1 … L, Σ x_i = 0 and s² = Σ x_i²/L: an epoch's displacement is Σ x_i = 0, so T at the ends is 0.
    Half an epoch later a displacement is the sum of the second half of one order and the first half of the next, both
    of L/2 draws without replacement: the variance of such a sum is (L/2) s² (1 − (L/2 − 1)/(L − 1)) = s² L²/(4(L − 1)),
    and the orders are independent, so MSD = s² L²/(2(L − 1)) and T = s² L²/(4(L − 1)).
    Steps are multiples of 2⁻²⁰, so every sum is exact.
    """
    steps = np.round(spread * rng.standard_normal((weights, minibatches)) * 2**20)
    excess = steps.sum(axis=1, keepdims=True)
    steps -= excess // minibatches  # of the excess, as many whole units from each as there are,
    steps -= np.arange(minibatches) < excess % minibatches  # and one more from the first few
    orders = [rng.permutation(minibatches) for _ in range(epochs)]
    walk = np.concatenate([steps[:, order] for order in orders], axis=1).cumsum(axis=1) / 2**20
    return np.concatenate([np.zeros((weights, 1)), walk], axis=1)


def test_an_epoch_without_replacement_is_a_bridge(make: Callable[..., Path]) -> None:
    """T is 0 at the ends and s² L²/(4(L − 1)) at the middles, see `without_replacement`.

    The expectation over orders is exact for the steps at hand. Squared displacements of 300 independent weights
    scatter with χ² of one degree, √(2/300), and so do 199 displacements, of which neighbours share an epoch: relative
    error at most √2 √(2/(300·199)) = 0.8 %.
    """
    length, epochs = 20, 200
    walk = without_replacement(np.random.default_rng(5), 300, epochs, length, 0.5)
    epoch = np.maximum(np.ceil(np.arange(walk.shape[1]) / length) - 1, 0)
    path = make(parameters={"lin.weight": walk[:, None]}, scalars={"epoch": epoch}, chunk_steps=64)
    answer = analyzer.open_run(path).thermo.temperature(lag="epoch").compute()
    steps = np.diff(walk[:, : length + 1], axis=1)
    expected = (steps**2).mean() * length**2 / (4 * (length - 1))
    assert answer["temperature"].item() == 0
    assert answer["temperature_half_phase"].item() == pytest.approx(expected, rel=0.03)
    assert answer.attrs["steps_per_lag"] == length
    assert answer.attrs["half_phase_steps"] == length // 2
    assert answer["velocities_half_phase"].item() == answer["velocities"].item() == 300 * (epochs - 1)


@pytest.mark.parametrize("untouched", [True, False])
@pytest.mark.parametrize("remove_drift", [False, True])
def test_middles_of_complete_epochs_equal_the_definition(
    store: Path, frames: dict[str, np.ndarray], untouched: bool, remove_drift: bool
) -> None:
    """The first epoch has 19 steps and is not complete; the others run from frames 19, 39, 59, 79 to 99."""
    run = analyzer.open_run(store)
    run = run if untouched else run * 1.0
    answer = run.thermo.temperature(lag="epoch", by="layer", remove_drift=remove_drift)
    assert answer.chunks, "lazy in, lazy out"
    (answer,) = dask.compute(answer, scheduler="threads")
    for layer, names in {"conv1": ["conv1.lin.weight", "conv1.bias"], "lin": ["lin.weight", "lin.bias"]}.items():
        parts = [frames[name] for name in names]
        group = list(answer["layer"].values).index(layer)
        for name, pairs in (
            ("temperature", [(39, 59), (59, 79), (79, 99)]),
            ("temperature_half_phase", [(29, 49), (49, 69), (69, 89)]),
        ):
            truth = oracles.temperature(parts, pairs)
            wanted = truth["temperature_thermal" if remove_drift else "temperature"]
            np.testing.assert_allclose(answer[name].values[group, 0], wanted, rtol=1e-12)


def test_middles_lie_whole_inside_their_window(store: Path, frames: dict[str, np.ndarray]) -> None:
    run = analyzer.open_run(store)
    by_epoch = run.thermo.temperature(lag="epoch", window="epoch").compute()
    assert np.isnan(by_epoch["temperature_half_phase"]).all()
    assert (by_epoch["velocities_half_phase"] == 0).all()
    assert np.isfinite(by_epoch["temperature"].values[:, 2:]).all()
    cut = run.thermo.temperature(lag="epoch", window=50, by="model").compute()  # steps 0 to 50, and 50 to 99
    for window, pairs in enumerate(([(29, 49)], [(69, 89)])):
        truth = oracles.temperature(list(frames.values()), pairs)["temperature"]
        np.testing.assert_allclose(cut["temperature_half_phase"].values[0, window], truth, rtol=1e-12)


def test_gaps_resumptions_and_strides(make: Callable[..., Path], frames: dict[str, np.ndarray]) -> None:
    """Frames every third step, epochs of 60 steps from step 0; frames 35 to 39 (steps 105 to 117) are missing.

    Middles lie at steps 30, 90, 150, …; the pair 90 to 150 crosses the gap. The pair of ends 60 to 120 does too.
    """
    kept = np.r_[0:35, 40:100]
    steps = np.arange(100)[kept] * 3
    epoch = np.maximum(np.ceil(steps / 60) - 1, 0)
    parts = {name: values[..., kept] for name, values in frames.items()}
    path = make(parameters=parts, steps=steps, stride=3, scalars={"epoch": epoch})
    answer = analyzer.open_run(path).thermo.temperature(lag="epoch", by="model").compute()
    place = {int(step): frame for frame, step in enumerate(steps)}
    for name, pairs in (
        ("temperature", [(120, 180), (180, 240)]),
        ("temperature_half_phase", [(30, 90), (150, 210)]),
    ):
        found = [(place[begin], place[end]) for begin, end in pairs]
        truth = oracles.temperature(list(parts.values()), found)["temperature"]
        np.testing.assert_allclose(answer[name].item(), truth, rtol=1e-12)
    assert answer.attrs["half_phase_steps"] == 30


def test_unequal_epochs_have_middles_where_they_are_allowed(make: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    walk = rng.normal(size=(3, 2, 61)).cumsum(axis=-1)
    epoch = np.repeat([0.0, 1.0, 2.0], [21, 10, 30])
    path = make(parameters={"lin.weight": walk}, scalars={"epoch": epoch})
    answer = analyzer.open_run(path).thermo.temperature(lag="epoch", unequal_epochs=True).compute()
    truth = oracles.temperature([walk], [(10, 25), (25, 45)])["temperature"]
    np.testing.assert_allclose(answer["temperature_half_phase"].item(), truth, rtol=1e-12)


def test_the_shell_shows_it_and_other_lags_have_none(store: Path) -> None:
    document = json.loads(invoke("temperature", store, "--lag", "epoch", "--format", "json").stdout)
    truth = analyzer.open_run(store).thermo.temperature(lag="epoch").compute()
    found = [record["temperature_half_phase"] for record in document["records"]]
    assert found == truth["temperature_half_phase"].values[:, 0].tolist()
    assert document["attrs"]["half_phase_steps"] == 10
    assert "temperature_half_phase" not in analyzer.open_run(store).thermo.temperature(lag=20)
    assert "temperature half phase" in invoke("temperature", store, "--lag", "epoch").stdout


def test_kept_sums_and_a_cold_pass_agree_to_the_bit(store: Path) -> None:
    run = analyzer.open_run(store)
    cold = run.thermo.temperature(lag="epoch", by="row", cache=False).compute()
    run.thermo.temperature(lag="epoch", by="row").compute()
    xr.testing.assert_identical(run.thermo.temperature(lag="epoch", by="row").compute(), cold)


LENGTH = 20


def windows(epoch: np.ndarray, *, segments: tuple[int, ...] = (), **asked: object) -> Windows:
    """The windows by epoch of a run with these values of `epoch`, a frame for every step."""
    steps = np.arange(epoch.size)
    line = timeline(steps, 1, epoch=epoch)
    line.breaks[list(segments)] = True
    return sample(line, **({"window": "epoch"} | asked)).windows


def true_epochs(epochs: int = 4) -> np.ndarray:
    """The epoch of the update that ends at each frame; NaN at the first, which no update ends at."""
    return np.append(np.nan, np.repeat(np.arange(float(epochs)), LENGTH))


def only(epoch: np.ndarray, places: object) -> np.ndarray:
    """The values at some frames alone."""
    logged = np.full(epoch.size, np.nan)
    logged[places] = epoch[places]
    return logged


def test_values_that_are_missing_between_equal_ones_are_theirs() -> None:
    whole = true_epochs()
    edges = np.arange(whole.size) % LENGTH
    both_ends = only(whole, np.flatnonzero((edges == 0) | (edges == 1)))
    for logged in (whole, both_ends):
        found = windows(logged)
        assert found.epoch is not None
        assert found.epoch.tolist() == [0, 1, 2, 3]
        assert found.stop_step.tolist() == [20, 40, 60, 80]
        assert not found.partial.any()


@pytest.mark.parametrize(
    ("places", "between"),
    [
        (np.arange(1, 81, LENGTH), (1, 21)),  # at the first batch of each epoch
        (np.arange(LENGTH, 81, LENGTH), (20, 40)),  # at the last one
        (np.arange(7, 81, 7), (14, 21)),
        (np.arange(3, 81, 3), (18, 21)),
    ],
    ids=["first batch", "last batch", "every 7th", "every 3rd"],
)
def test_a_boundary_that_was_not_logged_is_refused_by_its_steps(places: np.ndarray, between: tuple[int, int]) -> None:
    logged = only(true_epochs(), places)
    text = rf"got none between step {between[0]} \(epoch 0\) and step {between[1]} \(epoch 1\).*--steps-per-epoch N"
    for asked in ({}, {"window": None, "lag": "epoch"}):
        with pytest.raises(errors.EpochError, match=text) as caught:
            windows(logged, **asked)
        assert (caught.value.before, caught.value.after) == between
    assert windows(logged, steps_per_epoch=LENGTH).stop_step.tolist() == [20, 40, 60, 80]


def test_epochs_logged_at_their_top_stand_a_frame_early() -> None:
    top = np.full(81, np.nan)
    top[[0, 20, 40, 60]] = [0, 1, 2, 3]
    with pytest.raises(errors.EpochError, match=r"between step 0 \(epoch 0\) and step 20 \(epoch 1\)"):
        windows(top)
    before_each = np.append(true_epochs()[1:], np.nan)
    with pytest.raises(errors.EpochError, match="It was logged before each update, so every boundary"):
        windows(before_each)
    assert windows(before_each, steps_per_epoch=LENGTH).stop_step.tolist() == [20, 40, 60, 80]


def test_a_range_without_such_a_boundary_is_answered() -> None:
    logged = true_epochs()
    logged[15:27] = np.nan
    found = windows(logged, start=26)
    assert found.epoch is not None
    assert found.epoch.tolist() == [1, 2, 3]
    assert found.partial.tolist() == [True, False, False], "where epoch 1 began is not known"
    assert windows(logged, stop=14).stop_step.tolist() == [14]
    for bad in ({"start": 25}, {"stop": 27}, {"stop": 15}):
        with pytest.raises(errors.EpochError, match="between step 14"):
            windows(logged, **bad)


def test_updates_before_the_first_value_and_after_the_last_are_of_no_known_epoch() -> None:
    logged = true_epochs()
    logged[:5] = logged[70:] = np.nan
    found = windows(logged)
    assert found.epoch is not None
    np.testing.assert_array_equal(found.epoch, [np.nan, 0, 1, 2, 3, np.nan])
    assert found.stop_step.tolist() == [4, 20, 40, 60, 69, 80]
    assert found.partial.tolist() == [True, True, False, False, True, True]
    assert windows(logged, lag="epoch", window=None).velocities.tolist() == [1], "epochs 1 and 2 alone are complete"


def test_the_first_frame_after_a_resume_needs_no_epoch() -> None:
    """It holds the weights that were loaded: no update ends there."""
    logged = true_epochs()
    logged[41] = np.nan
    with pytest.raises(errors.EpochError, match=r"between step 40 \(epoch 1\) and step 42 \(epoch 2\)"):
        windows(logged)
    assert windows(logged, segments=(41,)).stop_step.tolist() == [20, 40, 60, 80]


@pytest.mark.parametrize("epoch", [np.linspace(0, 4, 81), np.where(np.arange(81) == 50, 2.5, 2.0)])
def test_shares_of_epochs_are_no_numbers_of_them(epoch: np.ndarray) -> None:
    with pytest.raises(errors.EpochError, match="expected whole numbers, got epoch"):
        windows(epoch)


def test_infinities_and_a_first_value_alone_are_no_epochs() -> None:
    for epoch in (np.full(81, np.inf), np.append(0.0, np.full(80, np.nan))):
        with pytest.raises(errors.EpochError, match="expected a recorded scalar 'epoch', got none"):
            windows(epoch)


def test_a_given_length_counts_from_step_0_also_in_a_part_of_a_run(store: Path) -> None:
    run = analyzer.open_run(store)
    whole = run.thermo.temperature(window="epoch", steps_per_epoch=25)
    part = run.isel(step=slice(30, None)).thermo.temperature(window="epoch", steps_per_epoch=25)
    assert whole["stop_step"].values.tolist() == [25, 50, 75, 99]
    assert whole["partial"].values.tolist() == [False, False, False, True]
    assert part["stop_step"].values.tolist() == [50, 75, 99]
    assert part["partial"].values.tolist() == [True, False, True]
    for wrong in (0, -1, 2.5, True, "20"):
        with pytest.raises(errors.WindowError, match="--steps-per-epoch: expected a positive number of steps"):
            run.thermo.temperature(window="epoch", steps_per_epoch=wrong)


def test_every_command_that_takes_an_epoch_takes_its_length(make: Callable[..., Path]) -> None:
    store = make(scalars={})
    summary = analyzer.open_run(store).thermo.velocity_summary(window="epoch", steps_per_epoch=33)
    assert summary["stop_step"].values.tolist() == [33, 66, 99]
    for command in ("temperature", "velocity"):
        done = invoke(command, store, "--window", "epoch", "--steps-per-epoch", 33, "--format", "json")
        assert [record["stop_step"] for record in json.loads(done.stdout)["records"]][:3] == [33, 66, 99]
    assert invoke("rows", store, "--lag", "epoch", "--steps-per-epoch", 3, "--format", "csv").exit_code == 0
    assert "--steps-per-epoch N" in invoke("fit", "--help").stdout
