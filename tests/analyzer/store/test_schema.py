"""The root document of a store: what is no store, other versions of the format, damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import analyzer
from analyzer import errors
from tests.analyzer.test_errors import temperature
from tests.stores import edit_root


def test_missing_store(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"none\.zarr: expected a store, got nothing at that path\. Check the path"
    ):
        analyzer.open_run(tmp_path / "none.zarr")


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.NotATrajectoryError, match=r"expected a store, which is a directory, got a file"):
        analyzer.open_run(tmp_path / "file")


def test_empty_directory_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(errors.NotATrajectoryError, match=r"expected a store with a zarr\.json.*got an empty directory"):
        analyzer.open_run(tmp_path)


def test_plain_zarr_is_no_store(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "plain.zarr", mode="w", attributes={"a": 1})
    with pytest.raises(errors.NotATrajectoryError, match=r"expected a store with the attribute format"):
        analyzer.open_run(tmp_path / "plain.zarr")


def test_newer_format(store: Path) -> None:
    edit_root(store, lambda root: root["attributes"].update(format_version=2))
    with pytest.raises(
        errors.FormatVersionError, match=r"version 1 or older, got 2.*pip install --upgrade thermotrace"
    ):
        analyzer.open_run(store)


def test_truncated_metadata(store: Path) -> None:
    text = (store / "zarr.json").read_text()
    (store / "zarr.json").write_text(text[: len(text) // 2])
    with pytest.raises(
        errors.DamagedStoreError, match=r"expected zarr\.json to hold JSON, got text that ends or breaks"
    ):
        analyzer.open_run(store)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda root: root.pop("consolidated_metadata"), r"expected consolidated metadata"),
        (lambda root: root["consolidated_metadata"]["metadata"].pop("step"), r"expected an array 'step', got none"),
        (lambda root: _node(root).update(shape=[10, 8, 99]), r"lin/weight': expected 100 frames.*got 99"),
        (lambda root: _node(root).update(shape=[10, 100]), r"dimensions of .*lin/weight'"),
        (lambda root: _node(root).update(shape="x"), r"shape of .*expected a list of lengths"),
        (lambda root: _node(root).update(dimension_names=["a", "b", "c"]), r"with 'step' at 2"),
        (lambda root: _node(root).update(chunk_grid={}), r"chunks of .*expected a regular grid"),
        (lambda root: _node(root)["attributes"].pop("layer"), r"expected the attribute 'layer'"),
        (lambda root: root["attributes"].update(chunk_steps=0), r"chunk_steps: expected a positive integer, got 0"),
        (lambda root: root["attributes"].update(stride="x"), r"stride: expected a positive integer"),
        (lambda root: root["attributes"].update(segments=[{}]), r"segments: expected a list"),
        (lambda root: root["attributes"].update(format_version="1"), r"format_version: expected a positive integer"),
        (
            lambda root: _node(root)["attributes"].update(heads=np.inf, head_axis=0),
            r"lin/weight': expected values of the",
        ),
        (lambda root: _node(root)["attributes"].pop("layer"), r"lin/weight': expected the attribute 'layer'"),
    ],
)
def test_damaged_metadata(store: Path, change: Callable[[Any], object], text: str) -> None:
    edit_root(store, change)
    with pytest.raises(errors.DamagedStoreError, match=text):
        analyzer.open_run(store)


def test_metadata_that_is_too_deep(store: Path) -> None:
    """Half a surrogate pair has the whole document searched, as deep as it is."""
    document = (store / "zarr.json").read_text()
    (store / "zarr.json").write_text(document.replace("{", '{"deep": ["\\ud800"' + 5000 * ",[" + 5001 * "]" + ", ", 1))
    with pytest.raises(errors.DamagedStoreError, match="expected zarr.json to hold JSON, got text that ends or breaks"):
        analyzer.open_run(store)


def _node(root: Any) -> Any:
    return root["consolidated_metadata"]["metadata"]["parameters/lin/weight"]


def test_missing_array(store: Path) -> None:
    shutil.rmtree(store / "parameters/conv1/bias")
    with pytest.raises(errors.MissingChunkError, match=r"parameters/conv1/bias, steps 0 to 15"):
        temperature(store)
