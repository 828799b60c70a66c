"""A new store takes its place whole, or the user is told where it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from recorder import Recorder
from recorder.__main__ import main
from recorder.errors import StoreFormatError
from recorder.imports.build import import_checkpoints
from recorder.writer import fresh
from recorder.writer.recovery import recover
from tests.analyzer.shell import invoke
from tests.recorder.runs import read_array

pytestmark = pytest.mark.xdist_group("fresh")


@pytest.fixture
def half_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place where a process died after it had emptied a store, and before the new one took its place."""
    files = []
    for step in (0, 1, 2):
        files.append(tmp_path / f"step_{step}.npz")
        np.savez(files[-1], weight=np.full(3, float(step)))
    store = tmp_path / "run.zarr"
    import_checkpoints(files[:2], store)

    class Died(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Died

    def emptied(place: Path, levels: frozenset[str]) -> None:
        (place / "zarr.json").unlink()  # the rest still lies there
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(fresh, "empty_store", emptied)
        patch.setattr(fresh.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Died):
            import_checkpoints(files, store, overwrite=True)
    return store


def test_a_half_replaced_store_is_said_with_the_remedy(half_replaced: Path) -> None:
    remedy = f"The new store is whole, in .*run.zarr.new. Put it in its place: recorder recover {half_replaced}"
    model = torch.nn.Linear(1, 3)
    for mode in ("w-", "w", "a"):
        with pytest.raises(StoreFormatError, match=remedy):
            Recorder(half_replaced, model, torch.optim.SGD(model.parameters(), lr=0.1), mode=mode).start()
    for command in ("info", "temperature", "verify"):
        result = invoke(command, half_replaced)
        assert result.exit_code == 1
        assert f"Put it in its place: recorder recover {half_replaced}" in result.stderr


def test_recover_puts_the_new_store_in_its_place(half_replaced: Path) -> None:
    told: list[str] = []
    assert recover(half_replaced, told.append).frames == 3
    assert "the new store is whole and stands here now" in told[0]
    assert read_array(half_replaced, "parameters/weight")[0].tolist() == [0, 1, 2]
    assert not fresh.hidden_folder(half_replaced).exists()
    assert recover(half_replaced, told.append).frames == 3
    assert len(told) == 1


@pytest.mark.parametrize("name", [".", "../run.zarr"])
def test_recover_may_be_asked_from_inside(half_replaced: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(half_replaced)
    result = CliRunner().invoke(main, ["recover", name])
    assert result.exit_code == 0, result.output
    assert "the new store is whole and stands here now" in result.output
    assert read_array(half_replaced, "parameters/weight")[0].tolist() == [0, 1, 2]


def test_recover_removes_nothing_of_the_user(half_replaced: Path) -> None:
    (half_replaced / "thesis.tex").write_text("five years of work")
    with pytest.raises(StoreFormatError, match=r"it also holds 'thesis\.tex'\. Nothing was removed"):
        recover(half_replaced)
    assert (half_replaced / "thesis.tex").exists()
    assert (fresh.hidden_folder(half_replaced) / "zarr.json").exists()


def test_a_link_in_the_new_store_s_place_is_not_followed(half_replaced: Path, tmp_path: Path) -> None:
    hidden = fresh.hidden_folder(half_replaced)
    hidden.rename(tmp_path / "planted")
    hidden.symlink_to(tmp_path / "planted")
    with pytest.raises(StoreFormatError, match=r"expected a trajectory store, but its zarr\.json cannot be read"):
        recover(half_replaced)
