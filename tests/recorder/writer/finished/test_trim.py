"""Smaller stores: frames equal the run's, temperatures equal numpy's, and the command says what is lost."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import analyzer
from recorder import Recorder
from recorder.__main__ import main
from recorder.errors import StoreExistsError, StoreFormatError, StoreLockedError, UsageError
from recorder.imports.build import import_checkpoints
from recorder.root import check_continuable
from recorder.writer.finished.thinning import keep
from recorder.writer.finished.trim import plan_trim, write_trim
from tests.analyzer.shell import invoke
from tests.recorder.imports.series_files import save_series


def segment(first_step: int, continuous: bool = False, **rest: object) -> dict[str, object]:
    return {"first_frame": 0, "first_step": first_step, "continuous": continuous, "user_step": None, **rest}


pytestmark = pytest.mark.xdist_group("trim")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 300 steps, resumed at 200 from its last frame, in float32 and bfloat16, with tied and scalar weights."""
    store = tmp_path_factory.mktemp("trim") / "run.zarr"
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2).bfloat16())
    model.scale = torch.nn.Parameter(torch.tensor(1.0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for first, last in ((0, 200), (200, 300)):
        with Recorder(
            store, model, optimizer, mode="a" if first else "w-", hyperparameters={"seed": 1}, chunk_steps=64
        ) as recorder:
            recorder.start()
            for step in range(first + 1, last + 1):
                for parameter in model.parameters():
                    parameter.grad = torch.randn_like(parameter)
                optimizer.step()
                recorder.log(**{"loss": step / 10, "train/acc": step})
                if step % 50 == 0:
                    recorder.log(validation=step)
    return store


@pytest.mark.parametrize(
    ("ranges", "every", "steps"),
    [
        (["50%:"], 10, range(150, 301, 10)),
        ([], 7, range(0, 301, 7)),
        ([":20", "280:"], 1, [*range(21), *range(280, 301)]),
        (["100:250"], 1, range(100, 251)),
    ],
)
def test_frames_scalars_and_temperatures(
    recorded: Path, tmp_path: Path, ranges: list[str], every: int, steps: range
) -> None:
    trim = plan_trim(recorded, ranges, every)
    write_trim(trim, tmp_path / "small.zarr")
    whole, small = analyzer.open_run(recorded), analyzer.open_run(tmp_path / "small.zarr")
    assert small["step"].values.tolist() == list(steps)
    kept = list(steps)
    for name in ("0.weight", "0.bias", "1.weight", "1.bias", "scale"):
        one, other = whole.thermo.parameter(name), small.thermo.parameter(name)
        assert one.values[..., kept].tobytes() == other.values.tobytes()
        assert dict(one.attrs) == dict(other.attrs)
    for name in ("loss", "train%2Facc", "validation", "learning_rate"):
        assert np.array_equal(whole[name].values[kept], small[name].values, equal_nan=True)
    answer = small.thermo.temperature(by="parameter").load()
    frames = whole.thermo.parameter("0.weight").values.astype("f8")[..., kept]
    moved = np.diff(frames, axis=-1)[..., np.diff(kept) == every]
    assert answer["temperature"].sel(group="0.weight").item() == pytest.approx(0.5 * (moved**2).mean(), rel=1e-12)
    assert "0 faults" in invoke("verify", tmp_path / "small.zarr").stdout
    attributes = json.loads((tmp_path / "small.zarr/zarr.json").read_text())["attributes"]
    assert attributes["run_id"] != json.loads((recorded / "zarr.json").read_text())["attributes"]["run_id"]
    assert attributes["hyperparameters"] == {"seed": 1}
    assert attributes["last"]["step"] == kept[-1]


def test_what_is_lost_is_said_before_anything_is_written(recorded: Path, tmp_path: Path) -> None:
    arguments = ["trim", str(recorded), "--keep", "50%:", "--every", "20", "-o", str(tmp_path / "small.zarr")]
    shown = CliRunner().invoke(main, [*arguments, "--dry-run"])
    assert shown.exit_code == 0
    assert os.listdir(tmp_path) == []
    for text in (
        "8 of 301 frames are kept, one every 20 steps",
        "no longer answered: anything between steps 0 and 150, 290 and 300",
        "velocities over 1 step: the shortest lag is 20 steps",
        "292 of 300 values of loss",
        "4 of 6 values of validation",
        "the learning rates of the updates between kept frames",
    ):
        assert text in shown.stderr
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert CliRunner().invoke(main, arguments).exit_code == 1
    assert CliRunner().invoke(main, [*arguments, "--overwrite"]).exit_code == 0


def test_the_smaller_run_is_resumed_at_its_users_step(recorded: Path, tmp_path: Path) -> None:
    write_trim(plan_trim(recorded, ["100:"], 1), tmp_path / "small.zarr")
    segments = json.loads((tmp_path / "small.zarr/zarr.json").read_text())["attributes"]["segments"]
    assert [(one["first_frame"], one["first_step"], one["continuous"]) for one in segments] == [
        (0, 100, False), (101, 201, True),
    ]  # fmt: skip
    assert segments[0]["user_step"] == 100


def test_an_uneven_series_keeps_its_stretches(tmp_path: Path) -> None:
    steps = [*range(0, 9), *range(10, 41, 2)]
    frames = save_series(tmp_path / "files", steps)
    import_checkpoints([tmp_path / "files"], tmp_path / "run.zarr")
    write_trim(plan_trim(tmp_path / "run.zarr", [], 4), tmp_path / "small.zarr")
    run = analyzer.open_run(tmp_path / "small.zarr")
    assert run["step"].values.tolist() == [0, 4, 8, 16, 24, 32, 40]
    answer = run.thermo.temperature(by="model").load()
    assert answer["steps_per_lag"].values.tolist() == [4, 8]
    own = np.concatenate(
        [v[..., [steps.index(s) for s in (8, 16, 24, 32, 40)]].reshape(-1, 5) for v in frames.values()]
    )
    expected = 0.5 * (np.diff(own.astype("f8")) ** 2).mean()
    assert answer["temperature"].values[0, 1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("ranges", "every", "message"),
    [
        ([], 1, "every frame of"),
        (["0:"], 1, "every frame of"),
        (["999:"], 1, "a range of steps from 0 to 300"),
        (["20:10"], 1, "a range of steps"),
        (["50"], 1, "a range of steps"),
        (["x:"], 1, "percentages"),
        (["101%:"], 1, "percentages"),
        (["-5:"], 1, "percentages"),
        ([], 1000, "at least two frames"),
        (["7:7"], 1, "at least two frames"),
    ],
)
def test_what_cannot_be_kept_is_refused(recorded: Path, ranges: list[str], every: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan_trim(recorded, ranges, every)


def test_the_runs_own_path_is_refused(recorded: Path) -> None:
    trim = plan_trim(recorded, ["50%:"])
    with pytest.raises(UsageError, match="another path"):
        write_trim(trim, recorded, overwrite=True)
    (recorded.parent / "other.zarr").mkdir()
    write_trim(trim, recorded.parent / "other.zarr")
    with pytest.raises(StoreExistsError):
        write_trim(trim, recorded.parent / "other.zarr")


def test_a_damaged_run_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    save_series(tmp_path / "files", range(40))
    store = tmp_path / "run.zarr"
    import_checkpoints([tmp_path / "files"], store)
    trim = plan_trim(store, [], 2)
    chunk = next(path for path in (store / "parameters/conv/weight/c").rglob("*") if path.is_file())
    chunk.write_bytes(b"damaged" * 4)
    with pytest.raises(StoreFormatError, match=r"conv/weight/c.*cannot be read"):
        write_trim(trim, tmp_path / "small.zarr")
    assert sorted(os.listdir(tmp_path)) == ["files", "run.zarr"]
    document = json.loads((store / "zarr.json").read_text())
    document["attributes"]["segments"] = [3]
    (store / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(StoreFormatError, match="segments"):
        plan_trim(store, [], 2)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_run_that_is_cut_meanwhile_is_named_and_nothing_is_left(tmp_path: Path, damaged: bool) -> None:
    """A cut replaces chunks, which would mix the frames of two histories. A chunk that it removed is not damaged."""
    save_series(tmp_path / "files", range(40))
    store = tmp_path / "run.zarr"
    import_checkpoints([tmp_path / "files"], store)
    trim = plan_trim(store, [], 2)
    document = json.loads((store / "zarr.json").read_text())
    document["attributes"]["run_id"] = "another"
    (store / "zarr.json").write_text(json.dumps(document))
    if damaged:
        next(path for path in (store / "parameters/conv/weight/c").rglob("*") if path.is_file()).unlink()
    with pytest.raises(StoreLockedError, match="one cut or replaced the run meanwhile"):
        write_trim(trim, tmp_path / "small.zarr")
    assert sorted(os.listdir(tmp_path)) == ["files", "run.zarr"]


def test_memory_that_does_not_suffice_is_said_with_a_remedy_of_this_command(recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"memory: expected room for chunks.*\. Raise --memory-limit, or"):
        write_trim(plan_trim(recorded, [], 2), tmp_path / "small.zarr", memory_limit=1000)


def test_chunks_that_claim_more_than_two_gibibytes_are_refused(tmp_path: Path) -> None:
    save_series(tmp_path / "files", range(3))
    store = tmp_path / "run.zarr"
    import_checkpoints([tmp_path / "files"], store)
    document = json.loads((store / "zarr.json").read_text())
    member = document["consolidated_metadata"]["metadata"]["parameters/conv/weight"]
    chunks = member["chunk_grid"]["configuration"]["chunk_shape"]
    chunks[0] = (1 << 31) // (4 * chunks[1] * chunks[2])  # of float32
    (store / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(StoreFormatError, match="chunks of"):
        plan_trim(store, [], 2)


def test_a_run_that_is_being_written_is_refused(tmp_path: Path) -> None:
    with Recorder(tmp_path / "run.zarr", torch.nn.Linear(2, 2)) as recorder:
        recorder.start()
        for _ in range(5):
            recorder.step()
        with pytest.raises(StoreFormatError, match="its status is running"):
            plan_trim(tmp_path / "run.zarr", [], 2)


@settings(max_examples=50, deadline=None)
@given(
    apart=st.lists(st.sampled_from([1, 1, 1, 2, 3, 5]), min_size=3, max_size=60),
    every=st.integers(1, 6),
    resumed=st.integers(1, 50),
    continuous=st.booleans(),
)
def test_no_kept_velocity_crosses_a_break(apart: list[int], every: int, resumed: int, continuous: bool) -> None:
    """Frames of a stretch are `every` strides apart; segments cover all frames, in order."""
    steps = np.concatenate([[0], np.cumsum(apart)])
    listed = [segment(0)] + ([segment(int(steps[resumed]), continuous)] if resumed < steps.size else [])
    try:
        found = keep(steps, listed, 1, [], every)
    except UsageError:
        return
    left = steps[found.frames]
    firsts = [one["first_frame"] for one in found.segments]
    assert firsts[0] == 0
    assert firsts == sorted(set(firsts))
    assert all(left[one["first_frame"]] == one["first_step"] for one in found.segments)
    assert found.stride == every
    if not continuous and resumed < steps.size and len(found.segments) == 2:
        assert not found.segments[1]["continuous"]
        assert found.segments[1]["first_step"] == steps[resumed]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lost_frames", 3),
        ("lost_frames", [{"least": 1, "most": 2, "after_step": "7", "before_step": None}]),
        ("lost_frames", [{"least": 1}]),
        ("lost_scalars", {"first_step": 1, "last_step": 2}),
        ("lost_scalars", [{"first_step": None, "last_step": 2}]),
    ],
)
def test_damaged_losses_are_one_sentence(recorded: Path, tmp_path: Path, name: str, value: object) -> None:
    """The losses that a store records are taken over into the smaller store, and into a cut."""
    store = tmp_path / "run.zarr"
    shutil.copytree(recorded, store)
    root = json.loads((store / "zarr.json").read_text())
    root["attributes"][name] = value
    (store / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(StoreFormatError, match=f"attribute '{name}': .* is damaged and cannot be trimmed"):
        plan_trim(store, every=2)
    with pytest.raises(StoreFormatError, match=f"attribute '{name}': .* is damaged and cannot be continued"):
        check_continuable(store, root["attributes"])
