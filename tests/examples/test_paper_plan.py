"""The plan of the reproduction: what the paper asks for is in it, each run once, the most needed first."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from examples.paper.plan import (
    BATCH,
    RATE,
    SCALES,
    batch_sweep,
    branches,
    epochs_of,
    grid,
    learning_rate,
    rate_sweep,
    schedule_of,
    seed_of,
)
from examples.paper.weights import account


@pytest.mark.parametrize("scale", ["full", "small"])
def test_the_sweeps_are_those_of_the_paper(scale: str) -> None:
    chosen = SCALES[scale]
    rates = Counter(run.learning_rate for run in rate_sweep(chosen, "sgd"))
    assert len(rates) == 7
    assert (min(rates), max(rates)) == (7e-4, 3e-3)
    assert set(rates.values()) == {5}
    batches = Counter(run.batch_size for run in batch_sweep(chosen, "sgd"))
    assert len(batches) == 7
    assert (min(batches), max(batches)) == (8, 128)
    assert set(batches.values()) == {3}
    assert {run.batch_size for run in rate_sweep(chosen, "sgd")} == {BATCH}
    assert {run.learning_rate for run in batch_sweep(chosen, "sgd")} == {RATE}
    assert Counter(run.learning_rate for run in rate_sweep(chosen, "adam")).most_common()[0][1] == 2
    assert len({run.learning_rate for run in rate_sweep(chosen, "adam")}) == 3
    assert len({run.batch_size for run in batch_sweep(chosen, "adam")}) == 3
    assert len({(run.learning_rate, run.batch_size) for run in grid(chosen)}) == 9


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", ["gcn", "gat", "cnn"])
def test_every_run_is_made_once_and_a_cut_plan_has_whole_sweeps_first(scale: str, kind: str) -> None:
    chosen = SCALES[scale]
    runs = branches(chosen, kind)
    assert len({run.name for run in runs}) == len(runs)
    wanted = set(rate_sweep(chosen, "sgd") + batch_sweep(chosen, "sgd"))
    if kind != "cnn":
        wanted |= {*rate_sweep(chosen, "adam"), *batch_sweep(chosen, "adam"), *grid(chosen)}
        assert set(runs) == wanted
    else:
        assert set(runs) == {run for run in wanted if run.seed < 3}
    rates = len(chosen.rates["sgd"])
    assert [run.seed for run in runs[:rates]] == [0] * rates
    assert {run.learning_rate for run in runs[:rates]} == set(chosen.rates["sgd"])


def test_lengths_are_whole_epochs_and_long_enough() -> None:
    small, full = SCALES["small"], SCALES["full"]
    for batch in (8, 12, 20, 32, 50, 80, 128):
        discarded, recorded = epochs_of(small, batch)
        per_epoch = 2_000 // batch
        assert discarded * per_epoch >= 500 > (discarded - 1) * per_epoch
        assert recorded * per_epoch >= 3_000
        assert recorded >= 40
    assert epochs_of(small, 8) == (2, 40)
    assert epochs_of(full, 32) == (1, 100)
    assert epochs_of(full, 128)[0] * (60_000 // 128) >= 1_000


def test_the_training_decays_as_the_paper_says() -> None:
    for name, kind in itertools.product(("full", "trained"), ("gcn", "gat")):
        schedule = schedule_of(SCALES[name], kind)
        assert schedule.epochs == 600
        assert [learning_rate(schedule, epoch) for epoch in (0, 199)] == [1e-3, 1e-3]
        assert learning_rate(schedule, 200) == pytest.approx(1e-4)
        assert learning_rate(schedule, 599) == pytest.approx(1e-5)


def test_the_cnn_ends_before_it_fits_all_graphs() -> None:
    """Its rates are the same three; at scale trained the shipped network has as many epochs."""
    schedule = schedule_of(SCALES["trained"], "cnn")
    rates = [learning_rate(schedule, epoch) for epoch in range(schedule.epochs)]
    assert rates == pytest.approx([1e-3] * 6 + [1e-4] * 6 + [1e-5] * 6)
    told = account("cnn")
    assert told["epochs"] == schedule.epochs
    assert told["curve"][-1]["loss"] > 0.01
    assert told["train_accuracy"] < 1


def test_seeds_of_shuffles_differ() -> None:
    words = [(run.name, epoch) for run in branches(SCALES["small"], "gcn") for epoch in range(20)]
    assert len({seed_of(*word) for word in words}) == len(words)
    assert seed_of("a", 1) == seed_of("a", 1)
    assert 0 <= seed_of("a", 1) < 2**63
