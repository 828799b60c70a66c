"""The whole reproduction at toy scale: train, branch, record, analyse, prune, figures, RESULTS.md."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from pathlib import Path

import pytest

from examples.paper import analyse, prune, results, run
from examples.paper.place import Place
from examples.paper.plan import SCALES, branches, judged_apart

pytestmark = [pytest.mark.xdist_group("paper chain"), pytest.mark.reproduction]

HARDWARE = {
    "processor": "a processor",
    "cores": 2,
    "device": "no GPU",
    "note": "a test.",
    "sharing": "not",
    "speeds": [],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("paper")
    runs, answers = root / "runs", root / "results"
    scale = ["--scale", "toy"]
    assert run.main([*scale, "--model", "gcn", "--output", str(runs), "--keep-trajectories"]) == 0
    assert analyse.main([*scale, "--output", str(runs), "--results", str(answers)]) == 0
    few = ["--draws", "1", "--test", "100"]
    assert prune.main([*scale, *few, "--output", str(runs), "--results", str(answers)]) == 0
    (answers / "toy" / "hardware.json").write_text(json.dumps(HARDWARE))
    assert results.main([*scale, "--results", str(answers)]) == 0
    return root


def test_every_claim_has_a_verdict_and_numbers(made: Path) -> None:
    page = (made / "RESULTS.md").read_text()
    rows = re.findall(r"^\| (C\d+) \| (.+) \| (.+) \| \*\*(.+)\*\* \| (.+) \|$", page, flags=re.MULTILINE)
    assert [row[0] for row in rows] == [f"C{n}" for n in range(1, 21)]
    verdicts = {row[0]: row[3] for row in rows}
    assert set(verdicts.values()) <= {"holds", "does not hold", "not decidable", "not yet"}
    assert verdicts["C4"] == "holds"
    assert verdicts["C5"] == "not decidable"  # nothing there to judge it by
    whys = {row[0]: row[4] for row in rows}
    assert verdicts["C1"] == verdicts["C2"] == verdicts["C3"] == verdicts["C14"] == verdicts["C18"] == "not yet"
    assert whys["C14"] == "not yet: 0 of 6 branches"
    assert whys["C2"] == whys["C3"] == "not yet: 1 of 2 branches (GCN 1 of 1, GAT 0 of 1)"
    assert whys["C18"] == "not yet: 6 of 12 branches (GCN 6 of 6, CNN 0 of 6)"
    assert verdicts["C6"] == "not decidable"  # 18 steps of training are not the paper's
    assert verdicts["C10"] == "not decidable"  # two seeds
    assert "nan" not in page.lower().replace("finance", "")
    assert "Finished branches: GCN 15 of 15, GAT 0 of 15, CNN 0 of 10." in page
    assert "- **C14** (GAT: T(η) parabolic for the final linear layer): not yet: 0 of 6 branches." in page


def test_figures_of_the_details_are_there(made: Path) -> None:
    assert "results/toy/DETAILS.md" in (made / "RESULTS.md").read_text()
    page = (made / "results/toy/DETAILS.md").read_text()
    assert "| initial_conv |" in page
    assert "nan" not in page.lower().replace("finance", "")
    shown = re.findall(r"!\[.*?\]\((.+?)\)", page)
    assert {Path(path).stem for path in shown} >= {"sgd-rate", "sgd-inverse", "sgd-rows", "sgd-rate-lags", "prune"}
    for path in shown:
        assert (made / "results/toy" / path).stat().st_size > 5_000


def test_no_answer_names_this_machine(made: Path) -> None:
    for path in (made / "results").rglob("*.json"):
        assert str(made) not in path.read_text(), path


def test_temperatures_agree_with_plain_numpy(made: Path) -> None:
    checks = [json.loads(path.read_text()) for path in (made / "results/toy/gcn").glob("independent-*.json")]
    assert {check["run"] for check in checks} == {run.name for run in judged_apart(SCALES["toy"])}
    for check in checks:
        assert len(check["layers"]) == 5
        assert check["windows"] == 10
        assert max(check["largest_relative_difference"].values()) < 1e-12


def test_what_is_finished_is_skipped(made: Path) -> None:
    place = Place(made / "runs" / "toy" / "gcn")
    accounts = [place.account(branch.name) for branch in branches(SCALES["toy"], "gcn")]
    before = [path.stat().st_mtime_ns for path in accounts]
    assert run.main(["--scale", "toy", "--model", "gcn", "--output", str(made / "runs"), "--keep-trajectories"]) == 0
    assert [path.stat().st_mtime_ns for path in accounts] == before


def test_sums_suffice_for_what_they_can_answer(made: Path, tmp_path: Path, undrawn: None) -> None:
    """Runs whose trajectories were deleted: fits at lag 1 and one epoch are there, others refuse in a sentence."""
    gone = tmp_path / "runs" / "toy" / "gcn"
    source = made / "runs" / "toy" / "gcn"
    (gone / "runs").mkdir(parents=True)
    for path in (source / "runs").iterdir():
        if path.suffix in (".json", ".moments"):
            (gone / "runs" / path.name).symlink_to(path)
    answers = tmp_path / "results"
    assert analyse.main(["--scale", "toy", "--output", str(tmp_path / "runs"), "--results", str(answers)]) == 0
    both = [json.loads((root / "toy/gcn/sgd-rate.json").read_text()) for root in (made / "results", answers)]
    assert both[0]["records"] == both[1]["records"]
    assert json.loads((answers / "toy/gcn/sgd-inverse-epoch.json").read_text())["records"]
    assert "refused" in json.loads((answers / "toy/gcn/sgd-batch-lags.json").read_text())


def test_a_signal_stops_between_two_epochs(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    ended = threading.Event()

    def terminate() -> None:
        while signal.getsignal(signal.SIGTERM) is before:  # earlier, it would end the tests
            if ended.wait(0.01):
                return
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=terminate)
    sender.start()
    try:
        assert run.main(["--scale", "small", "--model", "gcn", "--only-training", "--output", str(tmp_path)]) == 3
    finally:
        ended.set()
        sender.join()
    assert signal.getsignal(signal.SIGTERM) is before
