"""Names by which readers choose arrays."""

from __future__ import annotations

import pytest

from analyzer.store.names import loss_of


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train/loss", "loss"], "loss"),
        (["epoch", "train/loss", "val/loss"], "train/loss"),
        (["val_loss", "train_loss"], "train_loss"),
        (["Loss/train", "Train Loss"], "Train Loss"),
        (["val_loss", "test/loss", "eval.loss"], None),
        (["a/b/loss", "b/loss"], "b/loss"),
        (["gloss", "loss_scale", "損失", ""], None),
        ([], None),
    ],
)
def test_the_loss_of_the_training(names: list[str], expected: str | None) -> None:
    assert loss_of(names) == expected
