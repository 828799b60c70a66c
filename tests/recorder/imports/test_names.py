"""Which tensors are parameters: buffers and other types left out by name, prefixes, layers of a model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import analyzer
from recorder.errors import CheckpointError, SelectionError, UsageError
from recorder.imports.build import import_checkpoints
from recorder.imports.formats import Tensor
from recorder.imports.names import choose, choose_by_model, load_model
from recorder.imports.series import look


def tensors(*names: str, dtype: str = "float32") -> dict[str, Tensor]:
    return {name: Tensor((2,), dtype) for name in names}


def test_buffers_and_other_types_are_left_out_by_name() -> None:
    found = tensors("a.weight", "bn.running_mean", "bn.num_batches_tracked") | tensors("ids", dtype="int64")
    chosen = choose(found | tensors("z", dtype="complex64"))
    assert chosen.tensors == ("a.weight",)
    assert chosen.said == (
        "left out, buffers: bn.running_mean, bn.num_batches_tracked",
        "left out, not of a floating type that a store can hold: ids (int64), z (complex64)",
    )


def test_prefixes() -> None:
    assert [p.name for p in choose(tensors("model.a", "loss.b"), prefix="model.").schema.parameters] == ["a"]
    assert [p.name for p in choose(tensors("_orig_mod.a", "b._orig_mod.c")).schema.parameters] == ["a", "b.c"]
    assert "--prefix module." in choose(tensors("module.a", "module.b")).said[0]
    with pytest.raises(CheckpointError, match="begin with 'x.'"):
        choose(tensors("a"), prefix="x.")


def test_patterns() -> None:
    found = tensors("conv.weight", "conv.bias", "out.weight")
    assert choose(found, include="conv*", exclude=["*.bias"]).tensors == ("conv.weight",)
    with pytest.raises(SelectionError):
        choose(found, include="nothing*")


@pytest.mark.parametrize("names", [("",), ("a..b",), ("..",), ("a", "a.b"), (".a",), ("a\0",)])
def test_names_without_a_place_in_a_store_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(CheckpointError):
        choose(tensors(*names))


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 4)
        self.norm = torch.nn.BatchNorm1d(4)
        self.head = torch.nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.mask = torch.nn.Buffer(torch.ones(3))


@pytest.mark.parametrize("prefix", ["", "model.", "module._orig_mod."])
def test_a_model_gives_layers_axes_and_tells_buffers(prefix: str) -> None:
    model = Tied()
    state = {prefix + name: value for name, value in model.state_dict().items() if name != "head.weight"}
    found = {name: Tensor(tuple(value.shape), "float32") for name, value in state.items() if value.is_floating_point()}
    chosen = choose_by_model(model, found)
    assert [p.name for p in chosen.schema.parameters] == ["embedding.weight", "norm.weight", "norm.bias"]
    assert chosen.schema.parameters[0].aliases == ("head.weight",)
    assert "mask" in chosen.said[0]
    assert "norm.running_mean" in chosen.said[0]


def test_the_model_of_other_files_is_refused_by_name() -> None:
    with pytest.raises(CheckpointError, match=r"embedding\.weight: expected this parameter of the model"):
        choose_by_model(Tied(), tensors("a"))
    with pytest.raises(CheckpointError, match=r"weight: the model has shape \[2, 3\], the checkpoint \[2\]"):
        choose_by_model(torch.nn.Linear(3, 2, bias=False), tensors("weight"))


@pytest.mark.parametrize("text", ["", "x", ":y", "no_such_module:f", "os:getcwd", "os:no", "math:pi"])
def test_a_factory_that_makes_no_model_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--model"):
        load_model(text)


def test_a_module_that_ends_the_process_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that parses the command line may do so. The path is then as before, even if it left its folder."""
    monkeypatch.chdir(tmp_path)
    Path("own_script.py").write_text("import os, sys\nos.chdir('/')\nsys.exit('usage')\n")
    before = list(sys.path)
    with pytest.raises(UsageError, match="--model own_script:make: expected a function.*got SystemExit: usage"):
        load_model("own_script:make")
    assert sys.path == before


def test_a_model_by_its_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own_net.py").write_text(
        "import torch\n\ndef make():\n    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LazyLinear(1))\n"
    )
    monkeypatch.delitem(sys.modules, "own_net", raising=False)
    for n in range(3):
        torch.save({f"0.{name}": value + n for name, value in torch.nn.Linear(3, 2).state_dict().items()}, f"{n}.pt")
    import_checkpoints(["."], "run.zarr", model="own_net:make", include="0.*")
    weight = analyzer.open_run("run.zarr").thermo.parameter("0.weight")
    assert weight.attrs["axes"] == ["output", "input"]
    assert weight.attrs["module_class"] == "Linear"
    assert look(["."]).schema.parameters[0].axes == ("", "")


def test_layers_under_parametrizations_hold_their_weights():
    names = [
        "conv.parametrizations.weight.original0",
        "conv.parametrizations.weight.original1",
        "conv.bias",
        "parametrizations.weight.original",
        "conv.parametrizations.weight.0.factor",
    ]
    found = choose(tensors(*names)).schema.parameters
    homes = {p.name: (p.layer, p.module) for p in found}
    assert [homes[name] for name in names[:4]] == [("conv", "conv")] * 3 + [("", "")]
    assert homes[names[4]][0] == "conv.parametrizations.weight.0", "a weight of the parametrization's own"
