"""Which branches stay at the network that they begin from.

At a high rate plain SGD can throw a network out of its minimum. Its temperatures are then those of another network, and
no curve joins them to the others. A setting is left out whole, with the seeds that stayed there: those that stay by
chance are no fair sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .plan import Branch

FALL = 0.1
"""A branch has left if its test accuracy at the end is lower than that of the trained network by more than this, beyond
what chance does in so many test graphs."""

Account = Mapping[str, Any]


def has_left(account: Account, training: Account | None) -> bool:
    """Whether the branch of an account has left the trained network, as far as the same test graphs can tell."""
    if training is None or "test_accuracy" not in training:
        return False
    before, graphs = float(training["test_accuracy"]), int(training["test_graphs"])
    if account.get("test_graphs", graphs) != graphs:
        return False
    chance = 3 * math.sqrt(2 * before * (1 - before) / graphs)  # three standard errors of a difference
    return float(account["test_accuracy"]) < before - FALL - chance


def settings_left(accounts: Sequence[Account], training: Account | None) -> set[tuple[str, float, int]]:
    """Optimizer, learning rate and batch size of every branch that has left."""
    return {
        (one["optimizer"], float(one["learning_rate"]), int(one["batch_size"]))
        for one in accounts
        if has_left(one, training)
    }


def stayed(runs: Sequence[Branch], accounts: Sequence[Account], training: Account | None) -> list[Branch]:
    """The branches at settings where none has left."""
    left = settings_left(accounts, training)
    return [run for run in runs if (run.optimizer, run.learning_rate, run.batch_size) not in left]
