"""Steps of checkpoints: from the files, from their names, and what is refused because it is not certain."""

from __future__ import annotations

import pytest

from recorder.errors import CheckpointError, UsageError
from recorder.imports.steps import steps_of


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["ckpt_10.pt", "ckpt_9.pt"], (10, 9)),
        (["ckpt_0010.pt", "ckpt_0009.pt"], (10, 9)),
        (["run-v2/gcn3-step100.pt", "run-v2/gcn3-step20.pt"], (100, 20)),
        (["epoch=0-step=100.ckpt", "epoch=1-step=200.ckpt"], (100, 200)),
        (["out/checkpoint-500/model.safetensors", "out/checkpoint-1000/model.safetensors"], (500, 1000)),
        (["step_1/model.npz", "step_2/model.npz"], (1, 2)),
        (["step2-100.pt", "step2-200.pt"], (100, 200)),
        (["/step7/a/1.pt", "/step7/a/3.pt"], (1, 3)),
        (["model.h5", "model2.h5"], None),
        (["a.pt", "b.pt"], None),
        (["ckpt_1_a2.pt", "ckpt_2_a3.pt"], None),
    ],
)
def test_numbers_in_names(labels: list[str], expected: tuple[int, ...] | None) -> None:
    if expected is None:
        with pytest.raises(CheckpointError, match="--step-pattern"):
            steps_of(labels, [None] * len(labels))
    else:
        assert steps_of(labels, [None] * len(labels)).numbers == expected


def test_a_pattern_counts_more_than_all_else() -> None:
    labels = ["ckpt_1_a20.pt", "ckpt_2_a30.pt"]
    assert steps_of(labels, [7, 8], r"ckpt_(\d+)").numbers == (1, 2)
    assert steps_of(labels, [None, None], r"a(?P<step>\d+)").numbers == (20, 30)
    with pytest.raises(CheckpointError, match="no match"):
        steps_of(labels, [None, None], r"zzz(\d+)")
    with pytest.raises(UsageError, match="regular expression"):
        steps_of(labels, [None, None], "(")


def test_a_files_own_step_beats_its_name_and_it_is_said() -> None:
    found = steps_of(["step=100.ckpt", "step=200.ckpt", "last.ckpt"], [101, 200, 300])
    assert found.numbers == (101, 200, 300)
    assert found.said == ("steps are those of the files: step=100.ckpt says 101 inside and 100 by its name",)


def test_names_that_count_epochs() -> None:
    labels = ["epoch_0.pt", "epoch_1.pt", "epoch_2.pt"]
    found = steps_of(labels, [None] * 3)
    assert found.numbers == (0, 1, 2)
    assert "--steps-per-epoch" in found.said[0]
    found = steps_of(labels, [None] * 3, steps_per_epoch=50)
    assert found.numbers == (0, 50, 100)
    assert found.said == ()


def test_a_number_that_no_step_can_be() -> None:
    with pytest.raises(CheckpointError):
        steps_of(["9" * 30 + ".pt", "1.pt"], [None, None])
