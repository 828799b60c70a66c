"""In a distributed training one rank records. The others do nothing, and raise if its recording is refused."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
import torch

from recorder.trainer.ranks import Ranks, rank
from tests.recorder.runs import open_tree, read_array
from tests.scripts import Scripts

pytestmark = pytest.mark.xdist_group("scripts")

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("ranked.py")
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def environment(**variables: str) -> dict[str, str]:
    known = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    return known | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"} | variables


def both_ranks(scripts: Scripts, *arguments: object) -> list[tuple[int, str]]:
    """Start two processes that no launcher watches; return how each ended, and its stderr."""
    port = str(free_port())
    started = [
        scripts.start(
            SCRIPT,
            *arguments,
            env=environment(RANK=str(r), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port),
        )
        for r in range(2)
    ]
    told = [process.communicate()[1] for process in started]
    return [(process.wait(), text) for process, text in zip(started, told, strict=True)]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, 0),
        ({"RANK": "3", "WORLD_SIZE": "4"}, 3),
        ({"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "NODE_RANK": "1"}, 0),
        ({"RANK": "3"}, 0),
        ({"RANK": "3", "WORLD_SIZE": "1"}, 0),
        ({"RANK": "", "WORLD_SIZE": "many"}, 0),
        ({"LOCAL_RANK": "1"}, 0),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, 1),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0", "WORLD_SIZE": "2"}, 0),
        ({"LOCAL_RANK": "0", "GROUP_RANK": "2"}, 1),
        ({"SLURM_PROCID": "5"}, 0),
    ],
    ids=str,
)
def test_a_launchers_environment_tells_the_rank(monkeypatch, variables, expected):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert rank() == expected
    assert Ranks(print).records == (expected == 0)


@pytest.fixture(scope="module")
def seen(scripts, tmp_path_factory) -> tuple[Path, list[dict]]:
    """What two ranks under torchrun saw of every scenario."""
    folder = tmp_path_factory.mktemp("ranks")
    done = scripts.run(SCRIPT, "launched", folder, free_port(), env=environment())
    assert done.returncode == 0, done.stderr
    return folder, [json.loads((folder / f"{r}.json").read_text()) for r in range(2)]


def assert_rank_0_is_recorded(folder: Path) -> None:
    truth = torch.load(folder / "0.pt")
    assert read_array(folder / "ddp.zarr", "step").tolist() == list(range(len(truth)))
    assert open_tree(folder / "ddp.zarr").attrs["model"]["class"].endswith(".Sequential")
    for name in truth[0]:
        found = read_array(folder / "ddp.zarr", f"parameters/{name.replace('.', '/')}")
        assert found.tobytes() == torch.stack([state[name] for state in truth], -1).numpy().tobytes(), name


def test_rank_0_records_and_the_others_do_nothing_and_say_nothing(seen):
    folder, (first, second) = seen
    assert_rank_0_is_recorded(folder)
    assert "rank 0 of 2 records, the others train without a recorder" in first["recorded"]["told"]
    for scenario in ("recorded", "started", "by_hand", "never_started", "rank_0_alone", "no_room_but_a_warning"):
        assert second[scenario]["told"] == "", scenario
    assert second["recorded"]["hooks after close"] == second["started"]["hooks after start"] == 0
    assert read_array(folder / "started.zarr", "number")[1:].tolist() == [0, 1, 2, 3, 4]
    assert read_array(folder / "hand.zarr", "step").tolist() == [0, 1, 2, 3, 4, 5]
    assert len(read_array(folder / "alone.zarr", "step")) == 6
    assert "nothing was recorded" in first["never_started"]["told"]


def test_what_rank_0_is_refused_every_rank_raises(seen):
    folder, both = seen
    expected = {
        "store_exists": f"StoreExistsError: {{}}{folder}/ddp.zarr: expected no store there",
        "no_room": f"DiskSpaceError: {{}}{folder}/room.zarr: expected room for 1,000,000,000,000,000 frames",
    }
    for scenario, sentence in expected.items():
        for place, prefix in ((0, ""), (1, "rank 0: ")):
            assert both[place][scenario]["refused"].startswith(sentence.format(prefix)), (scenario, place)
    assert "recording stops, training goes on" in both[0]["no_room_but_a_warning"]["told"]


def test_a_recorder_on_another_rank_alone_waits_a_while_and_says_so_once(seen):
    _, (_, second) = seen
    assert second["rank_1_alone"]["told"].startswith("recorder: rank 1: rank 0 has not begun to record in 0 s")
    assert second["rank_1_alone"]["told"].count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "name", "what"),
    [
        ("FSDP2", "0.weight", "FSDP2 or tensor parallelism"),
        ("tensor parallelism", "0.weight", "FSDP2 or tensor parallelism"),
        ("FSDP", "_flat_param", "FullyShardedDataParallel"),
        ("FSDP, original parameters", "weight", "FullyShardedDataParallel"),
    ],
)
def test_shards_are_refused_by_name(seen, kind, name, what):
    for place, prefix in ((0, ""), (1, "rank 0: ")):
        told = seen[1][place]["sharded"][kind]
        assert told.startswith(f"SchemaError: {prefix}parameter {name}: expected all of it in this process"), told
        assert f"under {what}" in told


@pytest.mark.parametrize("how", ["spawn", "fork"])
def test_processes_that_one_process_started(scripts, tmp_path, how):
    done = scripts.run(SCRIPT, how, tmp_path, free_port(), env=environment())
    assert done.returncode == 0, done.stderr
    assert_rank_0_is_recorded(tmp_path)
    assert json.loads((tmp_path / "1.json").read_text())["recorded"]["told"] == ""


@pytest.mark.parametrize(
    ("options", "told"),
    [("{}", "StoreExistsError"), ('{"mode": "w", "expected_steps": 1000000000000000}', "DiskSpace")],
)
def test_a_job_that_no_launcher_watches_ends_with_the_sentence(scripts, tmp_path, options, told):
    if options == "{}":
        (tmp_path / "ddp.zarr").mkdir()
    for place, (status, text) in enumerate(both_ranks(scripts, "end", tmp_path, options)):
        assert status == 1, text
        last = [line for line in text.splitlines() if "Error: " in line][-1]
        assert told in last
        assert last.partition("Error: ")[2].startswith(("", "rank 0: ")[place] + f"{tmp_path}/ddp.zarr: expected ")


def test_a_launchers_environment_is_enough(scripts, tmp_path):
    (first, told), (second, silence) = both_ranks(scripts, "no group", tmp_path)
    assert first == second == 0, told + silence
    assert silence == ""
    assert read_array(tmp_path / "0.zarr", "step").tolist() == [0, 1]
    assert not (tmp_path / "1.zarr").exists()
