"""T/η²."""

from __future__ import annotations

import numpy as np
import pytest

import analyzer
from analyzer import errors
from tests import oracles
from tests.analyzer.scheduled import COSINE, NOISE, STIFFNESS, Make, scheduled

ONE_CYCLE = np.concatenate([np.linspace(0.004, 0.1, 1800), 1e-5 + 0.05 * (1 + np.cos(np.pi * np.arange(4200) / 4200))])


@pytest.mark.parametrize(("name", "rates"), [("cosine", COSINE), ("one cycle", ONE_CYCLE)])
def test_a_smooth_schedule_has_no_constant_stretch_and_t_over_eta2_its_predicted_mean(
    make: Make, name: str, rates: np.ndarray
) -> None:
    run = analyzer.open_run(scheduled(make, rates))
    equilibrium = run.thermo.equilibration()
    assert set(equilibrium["verdict"].values[:, 0]) == {"undecided"}
    assert np.isnan(equilibrium["equilibrium_step"].values).all()
    factor = rates.max() / rates.min()
    expected = f"η changes ×{factor:.3g}: no stretch of 256 steps has constant settings"
    assert set(equilibrium["reason"].values[:, 0]) == {expected}
    with pytest.raises(errors.WindowError, match=r"--start auto: expected a stretch with constant settings, got none"):
        run.thermo.temperature(start="auto")
    with pytest.raises(errors.WindowError, match=r"--window rate: expected a stretch of at least 256 steps"):
        run.thermo.temperature(window="rate")
    answer = run.thermo.temperature(per="eta2").compute()
    assert answer["remark"].item() == f"η changes ×{factor:.3g} within this window"
    assert np.isnan(answer["learning_rate"].item())
    assert answer["learning_rate_change"].item() == pytest.approx(factor)
    exact = (oracles.scheduled_temperature(rates, STIFFNESS, NOISE) / rates**2).mean()
    found, error = answer["temperature_per_eta2"].item(), answer["temperature_per_eta2_error"].item()
    assert found == pytest.approx(exact, abs=3.5 * error)
    assert error < 0.03 * found
    assert exact == pytest.approx((NOISE / (2 - rates * STIFFNESS)).mean(), rel=0.02), "a slow schedule's bias is small"
    in_parts = run.thermo.temperature(per="eta2", window=1000).compute()
    assert in_parts["unreliable"].all(), "T itself changes all the time"
    assert in_parts["temperature_per_eta2_unreliable"].sum() <= 1, "T/η² does not: one good window in 100 is flagged"
    for n in range(6):
        part = slice(1000 * n, 1000 * (n + 1))
        truth = (oracles.scheduled_temperature(rates, STIFFNESS, NOISE) / rates**2)[part].mean()
        bar = in_parts["temperature_per_eta2_error"].values[0, n]
        assert in_parts["temperature_per_eta2"].values[0, n] == pytest.approx(truth, abs=4 * bar)
    rows = run.thermo.temperature(by="row", per="eta2").compute()
    assert rows["temperature_per_eta2"].isnull().all(), "a row has no series"


def test_without_a_recorded_rate_the_hyperparameter_stands_in(make: Make) -> None:
    frames = {"a.weight": oracles.random_walk(np.random.default_rng(8), 12, 900, 0.1).reshape(3, 4, -1)}
    path = make(parameters=frames, scalars={}, hyperparameters={"learning_rate": 0.1}, chunk_steps=64)
    answer = analyzer.open_run(path).thermo.temperature(per="eta2").compute()
    assert answer["learning_rate"].item() == 0.1
    assert answer["temperature_per_eta2"].item() == pytest.approx(0.5, rel=0.2)
    bare = analyzer.open_run(make("bare.zarr", parameters=frames, scalars={}, chunk_steps=64))
    with pytest.raises(errors.OptionError, match="--per-eta2: expected a learning rate, recorded or among"):
        bare.thermo.temperature(per="eta2")
    assert np.isnan(bare.thermo.temperature()["learning_rate"].item())
    with pytest.raises(errors.OptionError, match="per: expected 'eta2' or None"):
        bare.thermo.temperature(per="eta")
