"""Files of torch: where the weights lie, and what is never run, allocated or guessed."""

from __future__ import annotations

import argparse
import os
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from recorder.errors import CheckpointError
from recorder.imports.torch_files import open_file

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


class Boom:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before 1.6"])
def test_code_in_a_file_is_named_and_never_run(tmp_path: Path, new: bool) -> None:
    path, mark = tmp_path / "1.pt", tmp_path / "ran"
    torch.save({"state_dict": STATE, "x": Boom(mark)}, path, _use_new_zipfile_serialization=new)
    with pytest.raises(CheckpointError, match=r"needs (posix|os)\.system, and reading that could run any code"):
        open_file(path, None)
    path.write_bytes(pickle.dumps(Boom(mark)))
    with pytest.raises(CheckpointError):
        open_file(path, None)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Path("x"), "pathlib.PosixPath"),
        (argparse.Namespace(a=1), "argparse.Namespace"),
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
    ],
)
def test_what_a_file_needs_is_named_with_the_remedy(tmp_path: Path, value: object, name: str) -> None:
    torch.save({"state_dict": STATE, "extra": value}, tmp_path / "1.pt")
    with pytest.raises(CheckpointError) as caught:
        open_file(tmp_path / "1.pt", None)
    assert name in caught.value.globals
    assert name in str(caught.value)
    assert "save the weights alone" in str(caught.value)


def test_programs_junk_and_cut_files_are_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.trace(torch.nn.Linear(1, 1), torch.ones(1)).save(str(tmp_path / "program.pt"))
    with pytest.raises(CheckpointError, match="TorchScript"):
        open_file(tmp_path / "program.pt", None)
    torch.save(STATE, tmp_path / "whole.pt")
    data = (tmp_path / "whole.pt").read_bytes()
    for cut in (b"junk" * 100, b"", data[:50], data[: len(data) // 2], data[:-30]):
        (tmp_path / "cut.pt").write_bytes(cut)
        with pytest.raises(CheckpointError, match=r"cut\.pt"):
            open_file(tmp_path / "cut.pt", None)


def test_claims_of_sizes_are_checked_before_anything_is_allocated(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1).expand(1 << 40)}, tmp_path / "wide.pt")
    checkpoint = open_file(tmp_path / "wide.pt", None)
    assert checkpoint.tensors["w"].shape == (1 << 40,)
    with pytest.raises(CheckpointError, match=r"4 bytes that the file holds .* claims 4,398,046,511,104"):
        checkpoint.read("w")
    torch.save(STATE, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for member in plain.infolist():
            bomb.writestr(member.filename, plain.read(member) + bytes(1 << 22))
    with pytest.raises(CheckpointError, match="somebody made this file to fill memory"):
        open_file(tmp_path / "bomb.pt", None)


def shared(depth: int) -> list[object]:
    """Lists of lists that stand for 10^depth values and take a few bytes."""
    value: list[object] = [0.0]
    for _ in range(depth):
        value = [value] * 10
    return value


def test_settings_that_stand_for_endless_values_are_left_out(tmp_path: Path) -> None:
    content = {
        "state_dict": STATE,
        "hyper_parameters": {"a": shared(12)},
        "optimizer": {"param_groups": [{"x": shared(9)}]},
    }
    torch.save(content, tmp_path / "1.pt")
    notes = open_file(tmp_path / "1.pt", None).notes
    assert (notes.hyperparameters, notes.optimizer) == ({}, ())
    assert "'hyper_parameters' holds more than 10,000 values" in notes.said[0]


@pytest.mark.parametrize(
    ("content", "key", "expected"),
    [
        (STATE, None, "a.weight"),
        ({"state_dict": STATE}, None, "a.weight"),
        ({"model": STATE, "ema": STATE, "epoch": 1}, None, "a.weight"),
        ({"weights_of_mine": STATE, "epoch": 1}, None, "a.weight"),
        ({"deep": {"er": STATE}}, "deep.er", "a.weight"),
        ({"with.dot": STATE}, "with.dot", "a.weight"),
        ({"generator": STATE, "critic": STATE}, None, "weights at 'generator', 'critic'"),
        ({"generator": STATE, "critic": STATE}, "critic", "a.weight"),
        ({"state_dict": STATE}, "model", "weights at --key model, got nothing"),
        ({"epoch": 1}, None, "'epoch'"),
        ([1, 2], None, "a dictionary of weights, got list"),
    ],
)
def test_the_key_is_found_or_asked_for(tmp_path: Path, content: object, key: str | None, expected: str) -> None:
    torch.save(content, tmp_path / "1.pt")
    if expected == "a.weight":
        found = open_file(tmp_path / "1.pt", key)
        assert list(found.tensors) == list(STATE)
        assert np.array_equal(found.read("a.weight"), STATE["a.weight"].numpy())
        said = ("read from 'model'; weights lie at 'ema', too. To read those: --key NAME",)
        assert found.notes.said == (said if isinstance(content, dict) and "ema" in content else ())
    else:
        with pytest.raises(CheckpointError, match=expected):
            open_file(tmp_path / "1.pt", key)


def test_what_lightning_and_loops_save_is_found(tmp_path: Path) -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], lr=0.01)
    content = {
        "epoch": 3, "global_step": 70, "state_dict": STATE, "optimizer_states": [optimizer.state_dict()],
        "hyper_parameters": {"lr": 0.01, "width": 8}, "loss": torch.tensor(0.25), "callbacks": {"a": 1},
    }  # fmt: skip
    torch.save(content, tmp_path / "1.ckpt")
    notes = open_file(tmp_path / "1.ckpt", None).notes
    assert notes.step == 70
    assert notes.scalars == {"epoch": 3.0, "loss": 0.25}
    assert notes.hyperparameters == {"lr": 0.01, "width": 8}
    assert notes.optimizer[0]["groups"][0]["lr"] == 0.01
    assert "params" not in notes.optimizer[0]["groups"][0]


def test_tensors_that_are_no_plain_arrays_are_refused_by_name(tmp_path: Path) -> None:
    torch.save(
        {"s": torch.eye(3).to_sparse(), "m": torch.empty(2, device="meta"), "w": torch.ones(2)}, tmp_path / "1.pt"
    )
    checkpoint = open_file(tmp_path / "1.pt", None)
    for name in ("s", "m"):
        with pytest.raises(CheckpointError, match=rf"{name}: expected a plain array"):
            checkpoint.read(name)
