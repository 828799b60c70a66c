"""The check of a GPU, without one: its parts on the CPU, small; what becomes of parts that fail or take too long."""

from __future__ import annotations

import ast
import json
import math
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement

from examples.paper import updates
from examples.paper.updates import loss_of
from tests.benchmarks import gpu_check, gpu_parts, gpu_trainings
from tests.benchmarks.gpu_check import PARTS, ROOT, SECONDS, WHEELS, Part, main, run
from tests.benchmarks.gpu_trainings import Size
from tests.patience import wait_until

SMALL = Size("cpu", steps=8, seconds=0.05, width=40, recorders=2, together=(2,))


def python(code: str, seconds: float = 60.0, name: str = "part") -> Part:
    return Part(name, seconds, ("-c", code))


def test_without_a_gpu_it_says_so_and_all_is_well(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_check, "gpu", lambda: None)
    assert main(["--output", str(tmp_path / "found.txt")]) == 0
    assert capsys.readouterr().out == "gpu-check: there is no GPU that torch can use, so nothing was checked.\n"
    assert not (tmp_path / "found.txt").exists()


@pytest.mark.parametrize(("absent", "status"), [("zarr", 1), ("torch", 1)])
def test_packages_that_are_missing_are_named(tmp_path, monkeypatch, capsys, absent, status):
    monkeypatch.setattr(gpu_check, "gpu", lambda: "a GPU")
    monkeypatch.setattr(gpu_check, "missing", lambda: [absent])
    assert main(["--output", str(tmp_path / "found.txt")]) == status
    assert f"expected the packages that it needs, {absent} are missing" in capsys.readouterr().err


def test_what_is_found_is_in_the_file_and_a_table_comes_last(tmp_path, monkeypatch, capsys):
    parts = (
        python("import json; print(json.dumps({'model': 'GCN', 'steps/s': 1234.5}), flush=True)", name="good"),
        python("print('so far so good'); raise SystemExit('a byte differs')", name="bad"),
    )
    monkeypatch.setattr(gpu_check, "gpu", lambda: "a GPU")
    monkeypatch.setattr(gpu_check, "missing", lambda: [])
    monkeypatch.setattr(gpu_check, "PARTS", parts)
    assert main(["--output", str(tmp_path / "new" / "found.txt")]) == 1
    text = (tmp_path / "new" / "found.txt").read_text()
    assert text == capsys.readouterr().out
    assert text.startswith("a GPU\ngood: {")
    last = text[text.index("## good: passed") :]
    assert "| model | steps/s |\n| --- | --- |\n| GCN | 1,234 |" in last
    assert "## bad: failed, exit status 1" in last
    assert last.endswith("a byte differs\n")


def test_a_part_that_takes_too_long_ends_with_its_children_and_the_next_one_runs(monkeypatch):
    """Its time is up once it has told of its child."""
    timers: list[Any] = []

    class Timer:
        def __init__(self, seconds: float, act: Any) -> None:
            self.act = act
            timers.append(self)

        def start(self) -> None: ...

        def cancel(self) -> None: ...

    written: list[str] = []

    def write(line: str) -> None:
        written.append(line)
        if line.startswith("slow: {"):
            timers[-1].act()

    code = "import json, subprocess, sys, time\n"
    code += "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'])\n"
    code += "print(json.dumps({'child': child.pid}), flush=True)\ntime.sleep(3600)"
    monkeypatch.setattr(gpu_check.threading, "Timer", Timer)
    assert run((python(code, 20.0, "slow"), python("print('here')", name="next")), 1e6, write) == 1
    assert "## slow: cut off after 20 s" in written[-1]
    assert "| child |" in written[-1]
    assert "next: here" in written
    child = json.loads(next(line for line in written if line.startswith("slow: {")).removeprefix("slow: "))["child"]
    wait_until(lambda: is_over(child), "the child of a part outlives it")


def is_over(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"  # killed, and nobody has asked how it ended


def test_a_part_for_which_no_time_is_left_is_left_out():
    written: list[str] = []
    assert run((python("print('never')"),), 0.5, written.append) == 1
    assert "left out: no time" in written[-1]
    assert not any("never" in line for line in written)


def test_all_parts_fit_into_eight_minutes():
    assert sum(part.seconds for part in PARTS) <= SECONDS == 480
    named = [part.command[-1] for part in PARTS if "tests.benchmarks.gpu_parts" in part.command]
    assert sorted(named) == sorted(gpu_parts.PARTS)
    files = [word for word in gpu_check.STAGING if word.startswith("tests/")]
    assert len(files) == 4
    for name in files:
        assert (ROOT / name.partition("::")[0]).is_file()


@pytest.mark.parametrize("name", ["exactness", "speed", "many", "large"])
def test_each_part_runs_on_the_cpu(name, monkeypatch):
    """Compiling takes minutes where it is done for the first time."""
    monkeypatch.setattr(gpu_trainings, "compiled_loss", lambda: loss_of)
    monkeypatch.setattr(updates, "compiled_loss", lambda: loss_of)
    rows = list(gpu_parts.PARTS[name](SMALL))
    assert rows
    for row in rows:
        assert all(isinstance(value, str) or math.isfinite(value) for value in row.values())
        assert row.get("differing bytes", 0) == 0
    if name == "exactness":
        assert len(rows) == len(gpu_trainings.EXACT) + 2
        assert [row["frames"] for row in rows] == [9, 9, 8, *[9] * 6]


def test_slowdown_asks_the_benchmark_for_each_way(monkeypatch):
    asked = []

    def measure(*options):
        asked.append(options)
        return [{"model": options[3][0]}]

    monkeypatch.setattr(gpu_parts.recorder_gpu, "measure", measure)
    assert list(gpu_parts.slowdown(Size("cuda"))) == [{"model": "CUDA graph"}, {"model": "eager"}]
    assert asked == [("cuda", 10**6, 50, (way,), 12.0) for way in ("CUDA graph", "eager")]


def test_a_byte_that_differs_is_counted_and_ends_the_part(monkeypatch):
    def other(size, task, model, store):
        truth = gpu_trainings.eager(size, task, model, store)
        truth._frames[3][0] = truth._frames[3][0] + 1.0
        return truth

    def short(size, task, model, store):
        truth = gpu_trainings.eager(size, task, model, store)
        truth._frames.pop()
        return truth

    for wrong in (other, short):
        monkeypatch.setattr(gpu_parts, "EXACT", {"eager": wrong})
        with pytest.raises(AssertionError, match="bytes of the store differ from the parameters"):
            list(gpu_parts.exactness(SMALL))


# -- packages ---------------------------------------------------------------------------------------


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed_by(roots: set[str]) -> set[str]:
    """Return distributions with all that they need, extras that a requirement names included."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(root) for root in roots]
    while waiting:
        one = waiting.pop()
        extras = frozenset(one.extras)
        if (canonical(one.name), extras) in found:
            continue
        found.add((canonical(one.name), extras))
        try:
            requires = distribution(one.name).requires or []
        except PackageNotFoundError:  # of another platform
            continue
        waiting += [
            requirement
            for requirement in map(Requirement, requires)
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in {"", *extras})
        ]
    return {name for name, _ in found}


def test_the_wheels_need_nothing_that_is_not_listed():
    torchs = needed_by({"torch"})
    assert needed_by(set(WHEELS)) - torchs == set(WHEELS)


def test_every_wheel_is_pinned(capsys):
    assert main(["--wheels"]) == 0
    lines = capsys.readouterr().out.splitlines()
    pinned = set((ROOT / "constraints.txt").read_text().splitlines())
    assert [canonical(line.partition("==")[0]) for line in lines] == list(WHEELS)
    assert set(lines) <= pinned


_OWN = """
import sys, warnings
warnings.simplefilter("ignore")
import tests.conftest, tests.examples.conftest, tests.benchmarks.gpu_parts, recorder.writer.__main__
import tests.recorder.trainer.feeds.test_device_feed, tests.recorder.trainer.feeds.test_device_streams
import tests.examples.test_paper_driver, tests.examples.test_paper_train
for module in list(sys.modules.values()):
    print(getattr(module, "__file__", None))
"""


def test_the_modules_of_a_check_import_nothing_that_is_not_listed():
    """Modules of this project that the parts load, the writer's too, and what these import as they are loaded."""
    done = subprocess.run(
        [sys.executable, "-c", _OWN],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    own = [Path(line) for line in done.stdout.splitlines() if line.startswith(f"{ROOT}{os.sep}")]
    own = [path for path in own if path.relative_to(ROOT).parts[0] in ("recorder", "analyzer", "examples", "tests")]
    assert len(own) > 50
    allowed, owners = {*WHEELS, *needed_by({"torch"})}, packages_distributions()
    for path in own:
        for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
            distributions = {canonical(owner) for owner in owners.get(name, [])} - {"thermotrace"}
            assert not distributions or distributions & allowed, f"{path} imports {name}"


def imported(module: ast.Module) -> set[str]:
    """Return the packages that a module imports while it is loaded."""
    names: set[str] = set()
    for statement in module.body:
        if isinstance(statement, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            names.add(statement.module.partition(".")[0])
    return names


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_command_ends_well_on_this_machine(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.gpu_check"], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (
        0,
        "gpu-check: there is no GPU that torch can use, so nothing was checked.\n",
    )
