"""What is recorded of a model: names, lazy and tied parameters, types, and parameters that change on the way."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recorder import Recorder
from recorder.errors import ParameterChangedError, SchemaError, SelectionError
from recorder.trainer.model.selection import select_parameters
from tests.recorder.runs import Scripted, Zoo, open_tree, read_array, train


def test_include_and_exclude_are_globs_over_dotted_names(tmp_path):
    with Recorder(tmp_path / "run.zarr", Zoo(), include=["lin.*", "conv.*"], exclude="*.bias") as recorder:
        recorder.start()
    names = {
        a.attrs["name"]
        for node in open_tree(tmp_path / "run.zarr")["parameters"].subtree
        for a in node.data_vars.values()
    }
    assert names == {"lin.weight", "conv.weight"}


def test_a_name_that_exists_is_itself_before_it_is_a_pattern():
    model = nn.ModuleDict({"block[0]": nn.Linear(2, 2), "block0": nn.Linear(2, 2)})

    def names(**options):
        return [parameter.name for parameter in select_parameters(model, **options).schema.parameters]

    assert names(include="block[0].weight") == ["block[0].weight"]
    assert names(include="*.weight", exclude="block[0].weight") == ["block0.weight"]
    assert names(include="block[01].weight") == ["block0.weight"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"include": "nothing*"},
            r"pattern 'nothing\*': expected it to match a parameter, but it matches none of scale, empty, lin\.weight",
        ),
        ({"include": "lin.*", "exclude": "lin*"}, "is left"),
    ],
)
def test_a_selection_of_nothing_lists_what_there_is(tmp_path, options, message):
    with pytest.raises(SelectionError, match=message):
        Recorder(tmp_path / "run.zarr", Zoo(), **options).start()


def test_types_without_a_lossless_form_are_refused(tmp_path):
    model = nn.Module()
    model.wave = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(SchemaError, match="parameter wave: expected a real type.*complex64"):
        Recorder(tmp_path / "run.zarr", model).start()


def test_lazy_layers_are_described_at_the_first_step(tmp_path):
    model = nn.Sequential(nn.LazyLinear(3), nn.LazyLinear(2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        for _ in range(2):
            model(torch.ones(1, 4)).sum().backward()
            optimizer.step()
    assert read_array(tmp_path / "run.zarr", "parameters/0/weight").shape == (3, 4, 3)


def test_start_before_a_lazy_layer_saw_a_batch_is_refused_by_name(tmp_path):
    recorder = Recorder(tmp_path / "run.zarr", nn.Sequential(nn.LazyLinear(3)))
    with pytest.raises(SchemaError, match=r"parameter 0\.weight: expected a shape.*Run the model once"):
        recorder.start()
    assert not (tmp_path / "run.zarr").exists()


def test_tied_weights_are_recorded_once_and_frozen_ones_too(tmp_path):
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    model["b"].bias.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    with Recorder(tmp_path / "run.zarr", model, optimizer):
        train(model, optimizer, 3)
    tree = open_tree(tmp_path / "run.zarr")
    assert tree["parameters/a/weight"].attrs["aliases"] == ["b.weight"]
    assert "weight" not in tree["parameters/b"]
    assert tree["parameters/b/bias"].attrs["requires_grad"] is False


def test_a_module_that_was_wrapped_ends_the_recording_and_leaves_the_model_alone(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(tmp_path / "run.zarr", model, optimizer, on_error="warn", chunk_steps=16):
        train(model, optimizer, 2)
        model[0] = nn.Sequential(model[0])
        train(model, optimizer, 8)
    assert [name for name, _ in model.named_parameters()] == ["0.0.weight", "0.0.bias"]
    assert read_array(tmp_path / "run.zarr", "step").tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("how", ["slice", "new data", "new parameter", "deleted", "replaced module", "double"])
def test_a_parameter_that_changes_ends_the_recording_by_name_and_keeps_what_was(tmp_path, how):
    model = nn.Sequential(nn.Linear(3, 2))
    optimizer = Scripted(model.parameters())
    rounds = 0
    with (
        pytest.raises(ParameterChangedError, match=r"parameter 0\.(weight|bias): expected"),
        Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16),
    ):
        for _ in range(5):
            optimizer.step()
        if how == "slice":
            model[0].weight.data = model[0].weight.data[:1]
        elif how == "new data":
            model[0].weight.data = torch.zeros(7)
        elif how == "new parameter":
            model[0].weight = nn.Parameter(torch.zeros(4, 4))
        elif how == "deleted":
            del model[0].weight
        elif how == "replaced module":
            model[0] = nn.Linear(3, 2)
        else:
            model.double()
        for rounds in range(1, 10):
            optimizer.step()
    assert rounds == 1 or how == "replaced module"  # a replaced module is noticed once a spool file
    assert open_tree(tmp_path / "run.zarr").attrs["status"] == "interrupted"
    assert len(read_array(tmp_path / "run.zarr", "step")) == 5 + rounds
