"""The T/η² that an optimizer should give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import analyzer
from analyzer.quantities.rates.expectations import expectation
from analyzer.statistics.density import NORMAL
from tests import oracles
from tests.analyzer.scheduled import NOISE, STIFFNESS, Make, recorded, sgd
from tests.stores import edit_root, segment


def test_heavy_ball(make: Make) -> None:
    """T = η²C/((1 − μ)(2(1 + μ) − ηh)), derived in `oracles.heavy_ball`."""
    momentum, rate = 0.9, 0.05
    frames = oracles.heavy_ball(np.random.default_rng(5), 60, 6001, rate, momentum, STIFFNESS, NOISE)
    path = make(
        parameters={"a.weight": frames.reshape(6, 10, -1)},
        scalars={"learning_rate": recorded(np.repeat(rate, 6000))},
        segments=[segment(0, 0, optimizer=sgd(momentum=momentum, weight_decay=0.0), stride=1)],
        chunk_steps=256,
    )
    answer = analyzer.open_run(path).thermo.temperature(per="eta2").compute()
    truth = 1 / ((1 - momentum) * (2 * (1 + momentum) - rate * STIFFNESS))
    assert answer["temperature_per_eta2"].item() == pytest.approx(
        truth, abs=3.5 * answer["temperature_per_eta2_error"].item()
    )
    assert answer["expectation"].item() == "C/((1 − μ)(2(1 + μ) − ηh)) with μ = 0.9: 2.63 C where ηh is small"
    assert np.isnan(answer["expected_low"].item()), "C is not known"


def adamw(rng: np.random.Generator, weights: int, frames: int, rate: float, decay: float, size: float) -> np.ndarray:
    """AdamW in white noise far from its equilibrium with the decay: weights of rms `size` move by −ηλw a step, too."""
    position = oracles.adam(rng, weights, frames, rate, lambda r, n: r.standard_normal(n))
    step = np.diff(position, axis=1)
    answer = np.empty_like(position)
    answer[:, 0] = size
    for t in range(frames - 1):
        answer[:, t + 1] = (1 - rate * decay) * answer[:, t] + step[:, t]
    return answer


@pytest.mark.parametrize(("decay", "size", "expected"), [(0.01, 0.5, True), (1.0, 1.0, False)])
def test_adamw_is_expected_where_its_decay_is_small(make: Make, decay: float, size: float, expected: bool) -> None:
    """The decay adds ½λ²⟨w²⟩ to T/η² = ½(1 − β1)/(1 + β1) = 0.0263; its cross term with white noise is near 0."""
    rate = 1e-4
    frames = adamw(np.random.default_rng(6), 60, 4001, rate, decay, size)
    settings = {"lr": rate, "betas": [0.9, 0.999], "weight_decay": decay, "amsgrad": False}
    path = make(
        parameters={"a.weight": frames.reshape(6, 10, -1)},
        scalars={"learning_rate": recorded(np.repeat(rate, 4000))},
        segments=[segment(0, 0, optimizer=[{"class": "torch.optim.adamw.AdamW", "groups": [settings]}], stride=1)],
        chunk_steps=256,
    )
    answer = analyzer.open_run(path).thermo.temperature(per="eta2").compute()
    same = {"class": "torch.optim.adam.Adam", "groups": [settings | {"decoupled_weight_decay": True}]}
    edit_root(path, lambda root: root["attributes"]["segments"][0].update(optimizer=[same]))
    adam = analyzer.open_run(path).thermo.temperature(per="eta2").compute()["expectation"].item()
    assert adam == answer["expectation"].item().replace("AdamW", "Adam"), "Adam can decouple its decay, too"
    found, error = answer["temperature_per_eta2"].item(), answer["temperature_per_eta2_error"].item()
    truth = 0.5 * 0.1 / 1.9 + 0.5 * decay**2 * (frames**2).mean()
    assert found == pytest.approx(truth, abs=3.5 * np.nan_to_num(error) + 0.02 * truth)
    if expected:
        assert answer["expected_low"].item() == pytest.approx(0.5 * 0.1 / 1.9)
        assert answer["expected_high"].item() == 0.5
        assert answer["expected_low"].item() - NORMAL * error <= found <= answer["expected_high"].item()
    else:
        assert answer["expectation"].item().startswith("no expectation: AdamW's decay moves weights by λ|w| =")
        assert np.isnan(answer["expected_low"].item())


@pytest.mark.parametrize(
    ("kind", "settings", "text"),
    [
        ("SGD", {}, "C/(2 − ηh): 0.5 C where ηh is small"),
        ("SGD", {"weight_decay": 0.1}, "C/(2 − ηh): 0.5 C where ηh is small; h includes the decay 0.1"),
        ("SGD", {"momentum": 0.9, "nesterov": True}, "no expectation: SGD with Nesterov's momentum"),
        ("Adam", {"betas": [0.5, 0.9]}, "0.167 (white gradients) to 0.5 (consistent ones), Adam"),
        ("Adam", {"betas": [0.9, 0.999], "amsgrad": True}, "no expectation: Adam without plain running means"),
        ("Lion", {}, "no expectation: Lion"),
        ("", {}, "no expectation: the optimizer is not recorded"),
    ],
)
def test_expectations(kind: str, settings: dict[str, Any], text: str) -> None:
    assert expectation(kind, settings).text == text
