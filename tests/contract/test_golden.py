"""Stores of every format version, committed once, read forever: by plain xarray and by the analyzer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import analyzer
from tests.contract.golden.build import STEPS, Golden, golden_weights
from tests.recorder.runs import open_tree, read_array, store_path

STORES = sorted((Path(__file__).parent / "golden").glob("v*.zarr"))


def test_there_is_one_for_each_version():
    assert [store.name for store in STORES] == ["v1.zarr"]


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.name)
def test_every_value_is_what_it_was(store):
    assert open_tree(store).attrs["status"] == "complete"
    np.testing.assert_array_equal(read_array(store, "step"), np.arange(STEPS + 1))
    np.testing.assert_array_equal(read_array(store, "loss"), [np.nan, *(step / 4 for step in range(1, STEPS + 1))])
    for index, (name, parameter) in enumerate(Golden().named_parameters()):
        expected = np.stack([golden_weights(index, tuple(parameter.shape), step) for step in range(STEPS + 1)], axis=-1)
        np.testing.assert_array_equal(read_array(store, store_path(name)), expected)


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.name)
def test_the_analyzer_reads_its_temperatures(store):
    found = analyzer.open_run(store).thermo.temperature(by="parameter", window="epoch")
    for index, (name, parameter) in enumerate(Golden().named_parameters()):
        frames = np.stack([golden_weights(index, tuple(parameter.shape), step) for step in range(STEPS + 1)], axis=-1)
        squares = (np.diff(frames, axis=-1) ** 2).reshape(-1, 4, 10)
        group = found["parameter"].to_numpy().tolist().index(name)
        np.testing.assert_allclose(found["temperature"].to_numpy()[group], 0.5 * squares.mean(axis=(0, 2)), rtol=1e-12)
