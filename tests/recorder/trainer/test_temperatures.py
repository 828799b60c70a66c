"""Temperatures by layer as the trainer reads them, from mapped memory that the writer fills."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from recorder import Recorder
from recorder.schema import Parameter
from recorder.spool_files import Control
from recorder.trainer.temperatures import by_layer
from tests.recorder.runs import Scripted

OLD_CONTROL = 16384  # bytes of a control file without energies


def parameter(layer: str, *shape: int) -> Parameter:
    return Parameter(f"{layer}.w", shape, "float32", layer, "", "", "", ())


def test_a_layer_is_the_mean_over_its_weights():
    parameters = [parameter("a", 3), parameter("b", 2, 2), parameter("a"), parameter("b", 0)]
    assert by_layer(parameters, [1.0, 5.0, 9.0, math.nan]) == {"a": 3.0, "b": 5.0}


def test_frozen_weights_count_only_if_they_move():
    parameters = [parameter("a", 3), Parameter("a.v", (1,), "float32", "a", "", "", "", ()), parameter("b", 2)]
    assert by_layer(parameters, [0.0, 4.0, 0.0], {"a.w", "b.w"}) == {"a": 4.0}
    assert by_layer(parameters, [1.0, 5.0, 0.0], {"a.w"}) == {"a": 2.0, "b": 0.0}


def test_the_model_itself_is_called_model():
    assert list(by_layer([parameter("", 1), parameter("a", 1)], [1.0, 2.0])) == ["model", "a"]
    assert list(by_layer([parameter("", 1), parameter("model", 1)], [1.0, 2.0])) == ["model itself", "model"]
    assert by_layer([parameter("", 0)], [math.nan]) == {}


@pytest.fixture
def control(tmp_path):
    (tmp_path / "control").write_bytes(bytes(OLD_CONTROL + 8 * 3))
    return Control(tmp_path)


def test_energies_are_whole_or_not_there(control, tmp_path):
    assert control.energies() is None
    control.set_energies(np.array([1.0, np.nan]))
    np.testing.assert_array_equal(Control(tmp_path).energies(), [1.0, np.nan])
    control.words[OLD_CONTROL // 8] += 1  # a writer was killed while it published
    assert control.energies() is None
    control.set_energies(np.array([3.0, 4.0]))
    np.testing.assert_array_equal(control.energies(), [3.0, 4.0])


def test_notes_and_last_words_do_not_reach_the_energies(control):
    control.set_energies(np.array([1.0, 2.0]))
    for _ in range(1000):
        control.note("x" * 100)
    control.fail("y" * 100_000)
    np.testing.assert_array_equal(control.energies(), [1.0, 2.0])


def test_a_spool_of_an_earlier_version_has_none(tmp_path):
    (tmp_path / "control").write_bytes(bytes(OLD_CONTROL))
    control = Control(tmp_path)
    control.set_energies(np.array([1.0]))
    assert control.energies() is None
    assert not bytes(control.bytes).strip(b"\0")


def test_there_are_none_before_the_first_commit_and_whenever_nothing_is_recorded(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = Scripted(model.parameters())
    recorder = Recorder(tmp_path / "run.zarr", model, optimizer)
    assert recorder.temperatures() == {}
    optimizer.step()
    assert recorder.temperatures() == {}, "the writer has committed no velocity yet"
    recorder.close()
    assert set(recorder.temperatures()) == {"model"}
    held = recorder.temperatures()
    held.clear()
    assert recorder.temperatures(), "a caller's dict is his own"


def test_weights_that_are_not_finite_are_nan(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with Recorder(tmp_path / "run.zarr", model) as recorder:
        recorder.start()
        with torch.no_grad():
            model[0].weight[0, 0] = torch.nan
            model[1].weight += 1.0
        recorder.step()
    found = recorder.temperatures()
    assert math.isnan(found["0"])
    assert found["1"] == pytest.approx(0.5 * 4 / 6)
