"""`~` is the home in every path that a user gives to either package."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from torch import nn

import analyzer
from analyzer.store.names import user_path as analyzer_path
from recorder import Recorder
from recorder.__main__ import main
from recorder.errors import UsageError
from recorder.names import user_path as recorder_path
from tests.analyzer.shell import invoke
from tests.recorder.runs import Scripted


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that is not the working directory."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def test_both_packages_mean_the_same(home):
    for path in ("~/runs/a.zarr", "~", "runs/~/a.zarr", "a~", "/x/~"):
        meant = Path(path.replace("~", str(home), 1)) if path.startswith("~") else Path(path).absolute()
        assert recorder_path(path) == Path(analyzer_path(path)).absolute() == meant
    assert analyzer_path("s3://bucket/~/a.zarr") == "s3://bucket/~/a.zarr"


@pytest.mark.parametrize("path", ["n" * 300, "a\0b"])
def test_a_path_that_no_file_system_holds_is_refused(path):
    with pytest.raises(UsageError, match="expected one that a file system can hold"):
        Recorder(path, nn.Linear(1, 1))


def test_the_recorder_and_every_command_take_the_home(home):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    with Recorder("~/runs/a.zarr", model, optimizer, spool="~/spools") as recorder:
        recorder.start()
        assert any((home / "spools").iterdir())
        for _ in range(20):
            optimizer.step()
    assert (home / "runs/a.zarr/zarr.json").exists()
    assert analyzer.open_run("~/runs/a.zarr")["step"].size == 21
    assert analyzer.open_run(Path("~/runs/a.zarr"))["step"].size == 21
    assert analyzer.open_sweep("~/runs/*.zarr").sizes["run"] == 1
    analyzer.open_run("~/runs/a.zarr").thermo.temperature(cache="~/python").load()
    for arguments in (
        ("info", "~/runs/a.zarr"),
        ("verify", "~/runs/a.zarr"),
        ("temperature", "~/runs/a.zarr", "--cache=~/kept", "--output=~/t.csv", "--plot=~/t.png"),
        ("cache", "show", "~/runs/a.zarr", "--cache=~/kept"),
        ("rows", "~/runs/a.zarr", "--no-cache", "--masks=~/masks.npz"),
        ("velocity", "~/runs/a.zarr", "--raw", "--output=~/v.nc"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 0, (arguments, result.output, result.stderr)
    made = {path.name for path in home.iterdir()}
    assert made >= {"runs", "kept", "python", "t.csv", "t.png", "v.nc", "masks.npz"}
    assert CliRunner().invoke(main, ["recover", "~/runs/a.zarr"]).exit_code == 0
    plan = ["plan", "--elements", "1", "--steps", "1", "--store", "~/runs"]
    assert CliRunner().invoke(main, plan).exit_code == 0
    assert list(Path().iterdir()) == []
