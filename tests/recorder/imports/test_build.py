"""Series of checkpoints as a store: bits, temperatures, spacing, and what an import that fails leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner

import analyzer
from analyzer.errors import SweepError, WindowError
from recorder import Recorder
from recorder.__main__ import main
from recorder.errors import CheckpointError, StoreExistsError, StoreLockedError, UsageError
from recorder.imports.build import build, import_checkpoints
from recorder.imports.formats import Notes, Tensor
from recorder.imports.series import common_stride, look, stretches_of
from recorder.writer.store import lock_store
from tests.analyzer.shell import invoke
from tests.recorder.imports.series_files import SAVERS, save_series, temperature

EVEN = range(100, 4100, 100)
UNEVEN = (0, 1, 2, 4, 6, 8, 16, 32, 48, 64)


@pytest.mark.parametrize("kind", SAVERS)
def test_frames_are_those_of_the_files_and_temperatures_those_of_numpy(tmp_path: Path, kind: str) -> None:
    frames = save_series(tmp_path / "files", EVEN, kind)
    made = import_checkpoints([tmp_path / "files"], tmp_path / "run.zarr")
    assert (made.frames, made.weights) == (len(EVEN), 21)
    run = analyzer.open_run(tmp_path / "run.zarr")
    assert run["step"].values.tolist() == list(EVEN)
    for name, values in frames.items():
        stored = run.thermo.parameter(name).values
        assert stored.dtype == values.dtype
        assert stored.tobytes() == np.ascontiguousarray(values).tobytes()
    answer = run.thermo.temperature(by="layer").load()
    assert answer.attrs["lag"] == 100
    assert answer["temperature"].attrs["units"] == "weight^2 lag^-2"
    for layer in ("conv", "out"):
        assert answer["temperature"].sel(group=layer).item() == pytest.approx(temperature(frames, layer), rel=1e-12)
    assert "0 faults" in invoke("verify", tmp_path / "run.zarr").stdout


def test_every_command_works_on_the_result(tmp_path: Path) -> None:
    save_series(tmp_path / "files", range(0, 8000, 10))
    store = tmp_path / "run.zarr"
    import_checkpoints([tmp_path / "files"], store, hyperparameters={"learning_rate": 0.1})
    for command in (
        "info", "verify", "temperature --by row", "velocity", "equilibration", "rows", "check", "distribution",
        "cache fill", "temperature --window 200",
    ):  # fmt: skip
        done = invoke(*command.split(), store)
        assert done.exit_code == 0, (command, done.stderr)
    assert CliRunner().invoke(main, ["annotate", str(store), "seed=1"]).exit_code == 0
    assert CliRunner().invoke(main, ["trim", str(store), "--every", "2", "-o", str(tmp_path / "t.zarr")]).exit_code == 0
    report = invoke("report", store, "-o", tmp_path / "report.html")
    assert report.exit_code == 0, report.stderr


def test_an_uneven_series_has_a_segment_and_a_window_for_each_stretch(tmp_path: Path) -> None:
    frames = save_series(tmp_path / "files", UNEVEN)
    store = tmp_path / "run.zarr"
    import_checkpoints([tmp_path / "files"], store)
    segments = json.loads((store / "zarr.json").read_text())["attributes"]["segments"]
    assert [(one["first_frame"], one["first_step"], one["stride"], one["continuous"]) for one in segments] == [
        (0, 0, 1, False), (3, 4, 2, True), (6, 16, 8, True), (7, 32, 16, True),
    ]  # fmt: skip
    run = analyzer.open_run(store)
    answer = run.thermo.temperature(by="layer").load()
    windows = [(0, 2, 1), (2, 8, 2), (8, 16, 8), (16, 64, 16)]
    columns = zip(*(answer[name].values for name in ("start_step", "stop_step", "steps_per_lag")), strict=True)
    assert [tuple(map(int, row)) for row in columns] == windows
    assert answer.attrs["lag"] == "spacing"
    assert answer["left_out"].values.tolist() == [0, 0, 0, 0]
    for n, (start, stop, _) in enumerate(windows):
        own = {name: v[..., UNEVEN.index(start) : UNEVEN.index(stop) + 1] for name, v in frames.items()}
        assert answer["temperature"].sel(group="conv").values[n] == pytest.approx(temperature(own, "conv"), rel=1e-12)
        alone = run.thermo.temperature(by="layer", start=start, stop=stop).load()
        assert alone["temperature"].sel(group="conv").item() == answer["temperature"].sel(group="conv").values[n]
    with pytest.raises(WindowError, match=r"--window 2.*0 to 2 every 1, 2 to 8 every 2, 8 to 16 every 8.*--start 2"):
        run.thermo.temperature(window=2)
    assert run.thermo.temperature(window=16, start=16).sizes["window"] == 3
    moved = run.thermo.dynamics(by="model", start=2, stop=8).load()
    own = [frames[name][..., [UNEVEN.index(step) for step in (2, 4, 6, 8)]].astype(float) for name in frames]
    squares = np.concatenate([(np.diff(values, axis=-1) ** 2).mean(axis=-1).ravel() for values in own])
    assert moved["lag"].values[:2].tolist() == [0, 2]
    assert moved["mean_squared_displacement"].sel(lag=2).item() == pytest.approx(squares.mean(), rel=1e-12)
    for quantity in (run.thermo.dynamics, run.thermo.spectrum, run.thermo.modes):
        with pytest.raises(WindowError, match="expected frames of equal spacing for .*--start 2 --stop 8"):
            quantity()
    assert invoke("cache", "fill", store).exit_code == 0
    xr.testing.assert_identical(analyzer.open_run(store).thermo.temperature(by="layer").load(), answer)
    kept = analyzer.open_run(f"{store}.moments").thermo.temperature(by="layer").load()
    assert kept["temperature"].equals(answer["temperature"])
    report = invoke("verify", store)
    assert "0 faults" in report.stdout
    assert "gap" not in report.output
    assert "every 1 from step 0, every 2 from step 4" in invoke("info", store).stdout
    table = invoke("temperature", store)
    assert table.exit_code == 0
    assert "steps per lag" in table.stdout
    assert invoke("report", store, "-o", tmp_path / "report.html").exit_code == 0


@pytest.mark.parametrize(
    "command", ["equilibration", "rows", "distribution", "check", "temperature --window 2", "temperature --lag 1,2"]
)
def test_questions_that_take_one_window_list_the_stretches(tmp_path: Path, command: str) -> None:
    save_series(tmp_path / "files", UNEVEN)
    import_checkpoints([tmp_path / "files"], tmp_path / "run.zarr")
    done = invoke(*command.split(), tmp_path / "run.zarr")
    assert done.exit_code == 1
    assert "0 to 2 every 1, 2 to 8 every 2, 8 to 16 every 8, 16 to 64 every 16" in done.stderr
    assert "--start 16 --stop 64" in done.stderr or "--start 2 --stop 8" in done.stderr


def test_a_lag_that_every_stretch_can_fill_is_one_time_in_all(tmp_path: Path) -> None:
    steps = [*range(0, 41, 2), *range(45, 101, 5)]
    frames = save_series(tmp_path / "files", steps)
    import_checkpoints([tmp_path / "files"], tmp_path / "run.zarr")
    answer = analyzer.open_run(tmp_path / "run.zarr").thermo.temperature(lag=10).load()
    assert answer.attrs["steps_per_lag"] == 10
    assert answer["stop_step"].values.tolist() == [40, 100]
    values = np.concatenate(
        [v[..., [steps.index(s) for s in range(40, 101, 10)]].reshape(-1, 7) for v in frames.values()]
    )
    whole = analyzer.open_run(tmp_path / "run.zarr").thermo.temperature(by="model", lag=10).load()
    assert whole["temperature"].values[0, -1] == pytest.approx(
        0.5 * (np.diff(values.astype("f8")) ** 2).mean(), rel=1e-12
    )


def test_a_sweep_over_uneven_runs_asks_for_a_stretch(tmp_path: Path) -> None:
    for n, steps in enumerate((UNEVEN, range(0, 65, 16))):
        save_series(tmp_path / f"files{n}", steps, seed=n)
        import_checkpoints([tmp_path / f"files{n}"], tmp_path / f"{n}.zarr", hyperparameters={"seed": n})
    sweep = analyzer.open_sweep([tmp_path / "0.zarr", tmp_path / "1.zarr"])
    with pytest.raises(SweepError, match="0: Range: expected frames of equal spacing"):
        sweep.thermo.temperature()
    assert sweep.thermo.temperature(start=16)["temperature"].sizes["run"] == 2


def test_stretches() -> None:
    def pairs(steps: list[int]) -> list[tuple[int, int]]:
        return [(one.first_frame, one.stride) for one in stretches_of(steps)]

    assert pairs([5, 15, 25]) == [(0, 10)]
    assert pairs([0, 1, 2, 4, 8]) == [(0, 1), (3, 2), (4, 4)]
    assert pairs([0, 100, 200, 400, 500]) == [(0, 100), (3, 200), (4, 100)]
    assert common_stride([0, 100, 250]) == 50


def test_an_imported_run_is_resumed(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 3)
    for step in (0, 1, 2):
        with torch.no_grad():
            model.weight += 1
        torch.save(model.state_dict(), tmp_path / f"ckpt_{step}.pt")
    import_checkpoints([tmp_path], tmp_path / "run.zarr")
    with Recorder(tmp_path / "run.zarr", model, mode="a", user_step=2) as recorder:
        recorder.start()
        with torch.no_grad():
            model.weight += 1
        recorder.step()
    run = analyzer.open_run(tmp_path / "run.zarr")
    assert run["step"].values.tolist() == [0, 1, 2, 3]
    assert run.thermo.temperature(by="parameter").load().sel(group="weight")["temperature"].item() == pytest.approx(0.5)


def test_bfloat16_is_kept_bit_for_bit(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    frames = [torch.randn(4, 3, generator=rng).bfloat16() for _ in range(5)]
    for kind in ("pt", "safetensors"):
        folder = tmp_path / kind
        folder.mkdir()
        for n, frame in enumerate(frames):
            if kind == "pt":
                torch.save({"a.weight": frame}, folder / f"{n}.pt")
            else:
                import safetensors.torch

                safetensors.torch.save_file({"a.weight": frame}, folder / f"{n}.safetensors")
        import_checkpoints([folder], tmp_path / f"{kind}.zarr")
        run = analyzer.open_run(tmp_path / f"{kind}.zarr")
        stored = run.thermo.parameter("a.weight")
        assert stored.attrs["original_dtype"] == "bfloat16"
        assert np.array_equal(stored.values, torch.stack(frames, -1).float().numpy())


def test_what_differs_between_files_is_said_by_name(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.ones(2), "b.weight": torch.ones(3)}, tmp_path / "1.pt")
    torch.save({"a.weight": torch.ones(4), "c.weight": torch.ones(3)}, tmp_path / "2.pt")
    torch.save({"a.weight": torch.ones(2).half(), "b.weight": torch.ones(3)}, tmp_path / "3.pt")
    with pytest.raises(CheckpointError) as caught:
        import_checkpoints([tmp_path], tmp_path / "run.zarr")
    text = str(caught.value)
    assert "2.pt lacks b.weight, also has c.weight, differs in a.weight float32 [2] → float32 [4]" in text
    assert "3.pt differs in a.weight float32 [2] → float16 [2]" in text
    assert not (tmp_path / "run.zarr").exists()


def test_equal_checkpoints_of_a_step_are_taken_once_and_others_refused(tmp_path: Path) -> None:
    for name, value in {"step=1": 1.0, "step=2": 2.0, "last": 2.0}.items():
        torch.save({"state_dict": {"w": torch.full((2,), value)}, "global_step": int(value)}, tmp_path / f"{name}.ckpt")
    series = look([tmp_path])
    assert series.steps == [1, 2]
    assert any("taken once" in sentence and "step=2" in sentence for sentence in series.said)
    torch.save({"state_dict": {"w": torch.full((2,), 9.0)}, "global_step": 2}, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"one checkpoint at step 2"):
        look([tmp_path])


def test_parameters_that_never_change_are_named(tmp_path: Path) -> None:
    for n in range(4):
        torch.save({"w": torch.full((2,), float(n)), "mask": torch.ones(3)}, tmp_path / f"{n}.pt")
    assert import_checkpoints([tmp_path], tmp_path / "run.zarr").unchanged == ("mask",)


def test_one_file_is_not_enough(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "1.pt")
    with pytest.raises(CheckpointError, match="at least two checkpoints"):
        import_checkpoints([tmp_path], tmp_path / "run.zarr")


def test_a_model_that_does_not_fit_the_memory_is_refused(tmp_path: Path) -> None:
    save_series(tmp_path / "files", range(3))
    with pytest.raises(UsageError, match="memory: expected room for one chunk of 16 frames"):
        import_checkpoints([tmp_path / "files"], tmp_path / "run.zarr", memory_limit=1000)
    assert not (tmp_path / "run.zarr").exists()


def test_a_store_that_is_there_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    save_series(tmp_path / "files", range(20))
    store = tmp_path / "run.zarr"
    import_checkpoints([tmp_path / "files"], store)
    first = analyzer.open_run(store).attrs["run_id"]
    with pytest.raises(StoreExistsError, match="--overwrite"):
        import_checkpoints([tmp_path / "files"], store)
    series = look([tmp_path / "files"])
    (tmp_path / "files/ckpt_19.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match="ckpt_19"):
        build(series, store, overwrite=True)
    assert analyzer.open_run(store).attrs["run_id"] == first
    save_series(tmp_path / "files", range(20))
    import_checkpoints([tmp_path / "files"], store, overwrite=True)
    assert analyzer.open_run(store).attrs["run_id"] != first
    assert sorted(os.listdir(tmp_path)) == ["files", "run.zarr"]


def test_another_folder_is_never_replaced(tmp_path: Path) -> None:
    save_series(tmp_path / "files", range(3))
    (tmp_path / "run.zarr").mkdir()
    (tmp_path / "run.zarr/thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"run\.zarr"):
            import_checkpoints([tmp_path / "files"], tmp_path / "run.zarr", overwrite=overwrite)
    assert (tmp_path / "run.zarr/thesis.tex").read_text() == "years of work"


KILLED = """
import os, signal, sys
from recorder.imports.build import build
from recorder.imports.series import look

def progress(frames, seen=[0]):
    seen[0] += frames
    if seen[0] == int(sys.argv[3]):
        os.kill(os.getpid(), getattr(signal, sys.argv[4]))

from pathlib import Path
build(look([sys.argv[1]]), Path(sys.argv[2]), progress=progress)
"""


@pytest.mark.parametrize(("frames", "sent"), [(1, "SIGKILL"), (40, "SIGKILL"), (99, "SIGKILL"), (50, "SIGINT")])
def test_an_import_that_is_killed_leaves_nothing_that_looks_finished(tmp_path: Path, frames: int, sent: str) -> None:
    expected = save_series(tmp_path / "files", range(100))
    store = tmp_path / "run.zarr"
    arguments = [str(tmp_path / "files"), str(store), str(frames), sent]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, check=False)
    assert killed.returncode != 0
    assert not store.exists()
    if sent == "SIGINT":
        assert os.listdir(tmp_path) == ["files"]
    for overwrite in (False, True):
        import_checkpoints([tmp_path / "files"], store, overwrite=overwrite)
        assert np.array_equal(analyzer.open_run(store).thermo.parameter("conv.weight"), expected["conv.weight"])
    assert sorted(os.listdir(tmp_path)) == ["files", "run.zarr"]


def test_two_imports_into_one_store_do_not_meet(tmp_path: Path) -> None:
    save_series(tmp_path / "files", range(3))
    (tmp_path / ".run.zarr.new").mkdir()
    lock = lock_store(tmp_path / ".run.zarr.new")
    try:
        with pytest.raises(StoreLockedError):
            import_checkpoints([tmp_path / "files"], tmp_path / "run.zarr")
    finally:
        os.close(lock)


def test_another_format_is_one_function(tmp_path: Path) -> None:
    class Text:
        def __init__(self, path: Path) -> None:
            self.values = np.loadtxt(path)
            self.tensors, self.notes = {"w": Tensor(self.values.shape, "float64")}, Notes(step=int(path.stem))

        def read(self, name: str) -> np.ndarray:
            return self.values

        def close(self) -> None:
            pass

    for step in (0, 5, 10):
        np.savetxt(tmp_path / f"{step}.txt", [step, -step])
    import_checkpoints([tmp_path], tmp_path / "run.zarr", formats={".txt": lambda path, key: Text(path)})
    run = analyzer.open_run(tmp_path / "run.zarr")
    assert run["step"].values.tolist() == [0, 5, 10]
    assert run.thermo.parameter("w").values.tolist() == [[0, 5, 10], [0, -5, -10]]


def test_the_command_shows_the_steps_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_series(tmp_path / "files", [900, 1000, 1100])
    shown = CliRunner().invoke(main, ["import", "files/*.safetensors", "-o", "run.zarr", "--dry-run"])
    assert shown.exit_code == 0
    lines = shown.stderr.splitlines()
    assert lines[0] == "recorder: 3 checkpoints, steps 900 to 1,100, every 100"
    assert lines[2:] == [f"  step {step:>5,}  files/ckpt_{step}.safetensors" for step in (900, 1000, 1100)]
    assert not Path("run.zarr").exists()
    done = CliRunner().invoke(main, ["import", "files", "-o", "run.zarr", "--exclude", "out*"])
    assert done.exit_code == 0
    assert "3 frames of 15 weights" in done.stdout
    again = CliRunner().invoke(main, ["import", "files", "-o", "run.zarr"])
    assert again.exit_code == 1


def test_a_wrong_import_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recorder", "import", str(tmp_path / "no"), "-o", str(tmp_path / "run.zarr")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("CheckpointError: ")
    assert len(ended.stderr.splitlines()) == 1
