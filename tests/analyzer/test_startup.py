"""What a question loads: whole processes, by the modules that they have at their end."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.analyzer.shell import invoke
from tests.stores import write_store

LISTED = """
import atexit, sys
atexit.register(lambda: print("\\nloaded:", *sorted({name.partition(".")[0] for name in sys.modules})))
sys.argv[0] = "analyzer"
from analyzer.__main__ import main
main()
"""
HEAVY = {"numba", "llvmlite", "zarr", "numcodecs", "distributed", "matplotlib"}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    frames = np.cumsum(np.random.default_rng(0).normal(size=(3, 4, 400)), axis=-1).astype(np.float32)
    epochs = {"epoch": np.repeat(np.arange(5.0), 80)}
    return write_store(tmp_path / "run.zarr", {"lin.weight": frames}, scalars=epochs, compression="pcodec")


def loaded(*arguments: str) -> set[str]:
    """Names of the packages that a command loaded."""
    command = [sys.executable, "-c", LISTED, *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return set(output.rpartition("loaded:")[2].split())


def test_a_question_from_kept_sums_decodes_and_fits_nothing(store: Path) -> None:
    assert loaded("temperature", str(store), "--no-cache") >= {"numba", "xarray"}, "frames are decoded"
    assert invoke("cache", "fill", store).exit_code == 0
    for options in ((), ("--by", "row"), ("--window", "epoch"), ("--format", "json")):
        assert not loaded("temperature", str(store), *options) & HEAVY, options
    assert not loaded("dynamics", str(store), "--by", "model", "--format", "json") & HEAVY


@pytest.mark.parametrize("command", ["info", "watch"])
def test_what_reads_metadata_alone_loads_no_arrays(store: Path, command: str) -> None:
    assert not loaded(command, str(store)) & (HEAVY | {"numpy", "xarray", "pandas", "dask", "scipy", "rich"})


def test_many_stores_are_described_without_arrays(store: Path) -> None:
    assert not loaded("info", f"{store.parent}/*.zarr") & (HEAVY | {"numpy", "xarray", "pandas", "dask", "rich"})


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # every write to a file fails, as on a full disk


def test_kernels_compile_where_nothing_can_be_kept(store: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "analyzer", "temperature", str(store), "--no-cache", "--format", "csv"]
    usual = subprocess.run(command, capture_output=True, text=True)
    assert usual.returncode == 0, usual.stderr
    # In no folder: numba looks for a place in a notebook alone, and this is none. And in one on a full disk.
    for place, prepare in (
        ({"NUMBA_CACHE_LOCATOR_CLASSES": "IPythonCacheLocator"}, None),
        ({"NUMBA_CACHE_DIR": str(tmp_path)}, limited),
    ):
        known = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
        answer = subprocess.run(command, capture_output=True, text=True, env=known | place, preexec_fn=prepare)
        assert (answer.returncode, answer.stdout, answer.stderr) == (0, usual.stdout, usual.stderr), place
