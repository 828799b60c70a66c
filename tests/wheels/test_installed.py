"""The wheel as a user has it: installed with one extra, away from the source tree, with each Python of the machine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import recorder
from tests.patience import PATIENCE
from tests.wheels.conftest import PROGRAMS, Made
from tests.wheels.environments import OWN, VERSIONS, Environment

ANALYSIS = ("xarray", "dask", "distributed", "pandas", "scipy", "numba", "matplotlib")
EXTRAS = ("import", "lightning", "pytorch-lightning", "transformers", "accelerate", "ignite", "live", "examples")


def sound(made: Environment) -> None:
    """The packages come from the environment, and nothing that they need is missing or of the wrong version."""
    assert made.check().strip() == "No broken requirements found."
    homes = made.output("-c", "import analyzer, recorder; print(analyzer.__file__, recorder.__file__)").split()
    assert all(Path(home).is_relative_to(made.folder) for home in homes)
    for name in ("analyzer", "recorder"):
        assert made.script(name, "--version").stdout == f"{name} {recorder.__version__}\n"


def temperatures(made: Environment, store: str) -> dict[str, float]:
    """Temperature of each layer, from the command."""
    done = made.script("analyzer", "temperature", store, "--by", "layer", "--format", "json")
    assert done.returncode == 0, done.stderr
    return {record["layer"]: record["temperature"] for record in json.loads(done.stdout)["records"]}


def typed(made: Environment, program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the types of a program of a user against the installed packages."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(folder / "mypy")]
    command += ["--python-executable", str(made.python), str(PROGRAMS / program)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize("version", VERSIONS)
def test_record_in_one_environment_and_analyze_in_another(
    environment: Made, recorded: dict[str, float], version: str
) -> None:
    made = environment(version, "analyzer")
    sound(made)
    assert not made.has("torch")
    assert temperatures(made, "run.zarr") == pytest.approx(recorded, rel=1e-6)
    assert json.loads(made.output(str(PROGRAMS / "analyze.py"), "run.zarr")) == pytest.approx(recorded, rel=1e-6)
    for command in ("info", "verify", "check"):
        done = made.script("analyzer", command, "run.zarr")
        assert done.returncode == 0, done.stderr
    page = made.home / f"report-{version}.html"
    done = made.script("analyzer", "report", "run.zarr", "-o", str(page))
    assert done.returncode == 0, done.stderr
    assert "run.zarr" in page.read_text(encoding="utf-8")
    done = made.run("-c", "import recorder; recorder.Recorder")
    told = "recorder: expected torch, got no package of that name. Install it: pip install 'thermotrace[recorder]'"
    assert done.stderr.strip().endswith(f"NotInstalledError: {told}")


@pytest.mark.parametrize("version", VERSIONS)
def test_an_environment_that_records_needs_no_analysis(
    environment: Made, recorded: dict[str, float], version: str
) -> None:
    made = environment(version, "recorder")
    sound(made)
    assert [module for module in ANALYSIS if made.has(module)] == []
    if version != OWN:
        own = json.loads(made.output(str(PROGRAMS / "record.py"), f"{version}.zarr"))
        assert temperatures(environment(version, "analyzer"), f"{version}.zarr") == pytest.approx(own, rel=1e-6)
    done = made.script("recorder", "recover", "run.zarr")
    assert done.returncode == 0, done.stderr
    assert "601 frames" in done.stdout
    done = made.script("analyzer", "info", "run.zarr")
    assert done.returncode == 0, done.stderr
    assert "complete" in done.stdout
    done = made.script("analyzer", "temperature", "run.zarr")
    assert done.returncode == 1
    assert "got none of that name. Install all that analysis needs: pip install" in done.stderr
    assert "Traceback" not in done.stderr
    form = "from importlib.resources import files; print(files('recorder').joinpath('FORMAT.md').read_text())"
    assert "parameter-trajectory" in made.output("-c", form)


def test_without_extras_the_commands_say_what_to_install(environment: Made, recorded: dict[str, float]) -> None:
    made = environment(OWN, "")
    sound(made)
    assert not made.has("torch")
    assert "complete" in made.script("analyzer", "info", "run.zarr").stdout
    assert "--help" in made.script("analyzer", "rows", "--help").stdout
    plan = made.script("recorder", "plan", "--elements", "11786", "--steps", "1000")
    assert plan.returncode == 0, plan.stderr
    for command in (["temperature", "run.zarr"], ["fit", "run.zarr"], ["report", "run.zarr", "-o", "page.html"]):
        done = made.script("analyzer", *command)
        assert done.returncode == 1
        assert done.stderr.strip().endswith("pip install 'thermotrace[analyzer]'"), command


@pytest.mark.parametrize(
    ("extra", "program", "mistaken"),
    [("analyzer", "analyze.py", "mistaken_analysis.py"), ("recorder", "record.py", "mistaken_recording.py")],
)
def test_type_checkers_see_the_types(
    environment: Made, tmp_path: Path, extra: str, program: str, mistaken: str
) -> None:
    done = typed(environment(OWN, extra), program, tmp_path)
    assert done.stdout.startswith("Success"), done.stdout + done.stderr
    done = typed(environment(OWN, extra), mistaken, tmp_path)
    last = len((PROGRAMS / mistaken).read_text(encoding="utf-8").splitlines())
    found = {int(number) for number in re.findall(rf"{mistaken}:(\d+): error", done.stdout)}
    assert found == {last - 1, last}, done.stdout + done.stderr


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_brings_what_its_use_needs(environment: Made, extra: str) -> None:
    made = environment(OWN, extra)
    assert made.check().strip() == "No broken requirements found."
    store = f"{extra}.zarr"
    done = made.run(str(PROGRAMS / "extras.py"), extra, store)
    assert done.returncode == 0, done.stdout + done.stderr
    found = temperatures(environment(OWN, "analyzer"), store)
    assert found
    assert all(value > 0 for value in found.values())
