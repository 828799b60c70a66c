"""Workers of another version: refused by name before they compute, and by their tasks where they came later."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import analyzer
from analyzer import errors
from analyzer.engine import makers


class Client:
    """Answers what a cluster's workers would. Lifetime: a test."""

    asynchronous, status = False, "running"

    def __init__(self, answers: dict[str, Callable[[str], Any]]) -> None:
        self.answers = answers

    def run(self, function: Callable[[str], Any], text: str) -> dict[str, Any]:
        assert function is eval, "workers of any version know it"
        return {address: answer(text) for address, answer in self.answers.items()}


def test_workers_with_this_code_are_taken() -> None:
    makers.check_workers(Client({"tcp://a:1": eval, "tcp://b:1": eval}))
    makers.check_workers(Client({}))


def elsewhere(folder: Path, change: Callable[[Path], None]) -> Callable[[str], str]:
    """What a process says whose path begins with another version of thermotrace."""
    shutil.copytree(Path(analyzer.__file__).parent, folder / "analyzer", ignore=shutil.ignore_patterns("__pycache__"))
    change(folder / "analyzer")

    def tell(text: str) -> str:
        code = f"import sys; sys.path.insert(0, {str(folder)!r}); print(eval({text!r}))"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()

    return tell


def older(package: Path) -> None:
    (package / "version.py").write_text('def version() -> str:\n    return "0.0.1"\n')


def another_kernel(package: Path) -> None:
    path = package / "engine/compiled.py"
    path.write_text(path.read_text().replace("velocity * velocity", "2 * velocity * velocity"))


def broken(package: Path) -> None:
    (package / "__init__.py").write_text("raise ImportError('half of it is missing')")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (older, r"version 0\.0\.1 \(code [0-9a-f]{8}\)"),
        (another_kernel, r"version [\d.]+ \(code [0-9a-f]{8}\)"),
        (broken, r"none that can be loaded \(ImportError: half of it is missing\)"),
    ],
)
def test_a_worker_with_other_code_is_named_with_the_remedy(
    tmp_path: Path, change: Callable[[Path], None], told: str
) -> None:
    client = Client({"tcp://same:1": eval, "tcp://other:2": elsewhere(tmp_path, change)})
    with pytest.raises(
        errors.WorkerVersionError, match=rf"got {told} at tcp://other:2\..*pip install thermotrace=="
    ) as e:
        makers.check_workers(client)
    assert "tcp://same:1" not in str(e.value)


def test_a_client_that_is_there_already_is_asked_too(store: Path) -> None:
    distributed = mock.Mock()
    distributed.default_client.return_value = Client({"tcp://other:2": lambda text: "version 0.0.1"})
    run = analyzer.open_run(store)
    with mock.patch.dict(sys.modules, distributed=distributed), pytest.raises(errors.WorkerVersionError):
        run.thermo.temperature()
    distributed.default_client.side_effect = ValueError("none")
    with mock.patch.dict(sys.modules, distributed=distributed):
        run.thermo.temperature()


def test_a_task_of_another_version_is_refused_where_it_runs(store: Path) -> None:
    lazy = analyzer.open_run(store).thermo.temperature(cache=False)
    with (
        mock.patch.object(makers, "maker", return_value="version 9.9.9 (kernels 1)"),
        pytest.raises(errors.WorkerVersionError, match=r"got a worker with version 9\.9\.9"),
    ):
        lazy.compute(scheduler="synchronous")
