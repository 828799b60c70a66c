"""Error signals and activities of the paper's networks, against gradients of single graphs; FACTORS.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import analyzer
from examples.data.loader import dense, load
from examples.paper import factor_answers
from examples.paper.dense import KINDS, Inputs, Model, forward, inputs
from examples.paper.factors import batches, record
from examples.paper.signals import Moments, moments
from tests.stores import write_store

PAPER = Path(factor_answers.__file__).parent


def few(kind: str, count: int = 6) -> Inputs:
    train, _ = load()
    return inputs(kind, dense(train)[:count])


def model_of(kind: str) -> Model:
    torch.manual_seed(0)
    return KINDS[kind]() if kind == "cnn" else KINDS[kind](1)  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", ["gcn", "gat", "cnn"])
def test_moments_are_those_of_the_gradients_of_single_graphs(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Σ_n δ_ni a_nj is the gradient that autograd gives for one graph alone; in pieces of any size."""
    monkeypatch.setattr("examples.paper.signals.AT_ONCE", 4)
    data, model = few(kind), model_of(kind)
    found = moments(model, data)
    weights = {name: p for name, p in model.named_parameters() if p.dim() == 2 or (p.dim() == 4)}
    assert set(found) == set(weights)
    each: dict[str, list[np.ndarray]] = {name: [] for name in found}
    for n in range(len(data)):
        one = data.take(slice(n, n + 1))
        model.zero_grad()
        cross_entropy(forward(model, one), one.y).backward()  # type: ignore[no-untyped-call]
        for name in each:
            grad = weights[name].grad
            assert grad is not None
            each[name].append(grad.flatten(1).double().numpy().copy())
    for name, gradients in each.items():
        scale = np.abs(gradients).max()
        np.testing.assert_allclose(found[name].gradient, np.mean(gradients, axis=0), atol=1e-5 * scale)
        squares = np.mean(np.square(gradients), axis=0)
        np.testing.assert_allclose(found[name].squared_gradient, squares, rtol=1e-3, atol=1e-6 * scale**2)
        assert found[name].squared_signal.shape == (len(gradients[0]),)
        assert (found[name].squared_activity >= 0).all()


def test_signals_of_a_dense_layer_are_those_of_a_hand_calculation() -> None:
    """Of the last layer δ = softmax − one-hot, and a is what goes into it."""
    data, model = few("gcn"), model_of("gcn")
    seen = {}
    model.out.register_forward_hook(lambda module, given, out: seen.update(given=given[0].detach(), out=out.detach()))
    found = moments(model, data)["out.weight"]
    signal = torch.softmax(seen["out"], dim=1) - torch.nn.functional.one_hot(data.y, 10)
    np.testing.assert_allclose(found.squared_signal, (signal**2).mean(0), rtol=1e-4)
    np.testing.assert_allclose(found.squared_activity, (seen["given"] ** 2).mean(0), rtol=1e-5)


def test_velocities_are_foretold_from_gradients() -> None:
    """⟨v²⟩ = η² (variance/32 + mean²) for independent graphs."""
    rng = np.random.default_rng(0)
    signal, activity = np.exp(rng.normal(size=5)), np.exp(rng.normal(size=7))
    squared = signal[:, np.newaxis] * activity
    found = Moments(squared, np.zeros((5, 7)), signal, activity)
    np.testing.assert_allclose(found.squared_velocity(1e-3, 32), 1e-6 * squared / 32)
    drift = Moments(squared, np.sqrt(squared), signal, activity)
    np.testing.assert_allclose(drift.squared_velocity(1e-3, 32), 1e-6 * squared)


def test_a_prediction_without_any_miss_explains_all(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    signal, activity = np.exp(rng.normal(size=5)), np.exp(rng.normal(size=7))
    heat = 1e-6 * signal[:, np.newaxis] * activity / 32
    kicks = np.sqrt(heat)[..., np.newaxis] * rng.choice([-1.0, 1.0], size=(5, 7, 640))
    frames = np.concatenate([np.zeros((5, 7, 1)), kicks], axis=2).cumsum(axis=2)
    store = write_store(tmp_path / "run.zarr", {"out.weight": frames}, scalars={})
    answer = analyzer.open_run(store).thermo.factors()
    own = Moments(32 * heat / 1e-6, np.zeros((5, 7)), signal, activity)
    told = factor_answers.of_signals(answer, "out.weight", own)
    assert told["weights"] == 35
    for name in ("gradient_share", "product_share", "gradient_ratio", "row_correlation", "column_slope", "row_slope"):
        assert told[name] == pytest.approx(1, abs=1e-6), name


def test_runs_are_recorded_and_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps of the GCN from its trained weights: the whole way from a run to its row of the table."""
    monkeypatch.setattr("examples.paper.factors.SETTLE", 2)
    train, test = few("gcn", 64), few("gcn", 4)
    record("gcn", "adam", 0, 24, train, test, tmp_path)
    store = tmp_path / "gcn-adam-0.zarr"
    assert analyzer.open_run(store).sizes["step"] == 25
    before = (store / "zarr.json").stat().st_mtime_ns
    record("gcn", "adam", 0, 24, train, test, tmp_path)
    assert (store / "zarr.json").stat().st_mtime_ns == before, "a run that is there is not made again"
    told = factor_answers.of_runs([store], model_of("gcn"), train, lambda text: None)
    factor_answers.save(told, store, tmp_path, "gcn-adam")
    content = factor_answers.read(tmp_path)
    assert content["gcn-adam"]["steps"] == 24
    assert content["gcn-adam"]["hyperparameters"]["optimizer"] == "adam"
    assert "| GCN out | 10 × 128 |" in factor_answers.tables(content)


def test_orders_differ_and_an_epoch_has_every_graph_once() -> None:
    one, other = batches("a", 70), batches("b", 70)
    epoch = torch.cat([next(one), next(one)])
    assert len(set(epoch.tolist())) == 64
    assert not torch.equal(epoch, torch.cat([next(other), next(other)]))


def test_the_tables_of_the_page_are_those_of_the_answers() -> None:
    page = (PAPER / "FACTORS.md").read_text(encoding="utf-8")
    for table in factor_answers.tables(factor_answers.read(PAPER / "results" / "factors")).split("\n\n"):
        assert table.strip() in page
