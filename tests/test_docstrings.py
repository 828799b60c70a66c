"""What is public is documented: numpydoc's validation, and every example in a docstring is run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import xarray as xr
from numpydoc.validate import validate

import analyzer
import recorder
from analyzer.accessor import ThermoAccessor
from tests.recorder.imports.series_files import save_series
from tests.stores import write_store

LEFT_OUT = {
    "PR04": "types stand in annotations",
    "SS05": "it takes plurals (Temperatures of …) for verbs",
    "GL01": "the summary stands on the first line",
    "SS06": "two short sentences may share the first line",
    "GL03": "as PEP 257 has it",
    "PR08": "descriptions go on from the name",
    "PR09": "a fragment needs no full stop",
    "RT04": "as PR08",
    "RT05": "as PR09",
    "ES01": "a sentence may be enough",
    "SA01": "the packages are small: what belongs together stands together",
    "EX01": "examples where they teach something",
}
FUNCTIONS = [f"{module}.{name}" for name, module in analyzer._PUBLIC.items()]
METHODS = [f"recorder.Recorder.{name}" for name in vars(recorder.Recorder) if not name.startswith("_")]
BY_NAME = ("parameter", "scalar")
OWN = ["analyzer.accessor.ThermoAccessor", *(f"analyzer.accessor.ThermoAccessor.{name}" for name in BY_NAME)]
OWN += ["recorder.Recorder"]


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS, *OWN])
def test_numpydoc_finds_no_fault(name: str) -> None:
    faults = [f"{code}: {text}" for code, text in validate(name)["errors"] if code not in LEFT_OUT]
    if name == "analyzer.accessor.ThermoAccessor":  # made by xarray, from a tree alone
        faults = [fault for fault in faults if not fault.startswith("PR01")]
    assert faults == []


def test_methods_of_the_accessor_say_what_their_functions_say() -> None:
    for name, function in vars(ThermoAccessor).items():
        if name.startswith("_") or name in BY_NAME or isinstance(function, property):
            continue
        home = importlib.import_module(analyzer._PUBLIC.get(name, "analyzer.sweep"))
        assert function.__doc__ == getattr(home, name).__doc__


def modules() -> Iterator[ModuleType]:
    for package in (analyzer, recorder):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            heavy = found.name.startswith("recorder.integrations.")  # tests/integrations/test_docstrings.py has them
            if not found.name.endswith("__main__") and not heavy:
                yield importlib.import_module(found.name)


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What examples speak of: runs/gcn.zarr and a sweep beside it, in the working directory; their names."""
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    rng = np.random.default_rng(0)
    shapes = {"conv1.lin.weight": (4, 2), "conv2.lin.weight": (5, 4), "out.weight": (3, 5)}
    for name, rate in {"gcn": 1e-3, "b": 2e-3, "c": 4e-3, "d": 8e-3, "e": 16e-3}.items():
        steps = {p: rate * np.cumsum(rng.normal(size=(*shape, 801)), axis=-1) for p, shape in shapes.items()}
        scalars = {"epoch": np.repeat(np.arange(9.0), 100)[:801], "loss": rng.random(801)}
        write_store(
            f"runs/{name}.zarr", steps, scalars=scalars, chunk_steps=256,
            hyperparameters={"learning_rate": rate, "batch_size": 32, "seed": 0},
        )  # fmt: skip
    save_series(Path("checkpoints"), range(0, 60, 10))
    model = torch.nn.Linear(4, 5)
    return {"analyzer": analyzer, "np": np, "xr": xr, "torch": torch, "model": model}


def test_every_example_runs(recorded: dict[str, object]) -> None:
    runner, finder, tried = doctest.DocTestRunner(verbose=False), doctest.DocTestFinder(exclude_empty=True), 0
    for module in modules():
        for example in finder.find(module, globs={**recorded, **vars(module)}):
            if "ThermoAccessor" in example.name:  # its functions' own
                continue
            tried += bool(example.examples)
            assert not any(doctest.SKIP in one.options for one in example.examples), example.name
            assert runner.run(example).failed == 0, example.name
    assert tried >= 14
