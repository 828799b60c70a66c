"""Names are the user's, whatever wraps the model; a layer of the user's may be called as a wrapper calls its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.optim.swa_utils import AveragedModel

from recorder import Recorder
from recorder.errors import SchemaError
from recorder.trainer.feeds.ring import check_held
from recorder.trainer.model.selection import select_parameters
from recorder.trainer.model.wrappers import named_modules, named_parameters, unwrapped
from recorder.trainer.session import describe_model
from tests.recorder.runs import read_array


class Net(nn.Module):
    """With a layer called `module`, and a tied weight."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(3, 4)
        self.head = nn.Sequential(nn.Linear(4, 4, bias=False))
        self.tied = self.head[0]

    def forward(self, x):
        return self.head(self.module(x))


def compiled_in_the_middle(model):
    model.head = torch.compile(model.head)
    model.module = checkpoint_wrapper(model.module)
    return model


WRAPS = {
    "nothing": lambda model: model,
    "DataParallel": nn.DataParallel,
    "compile": torch.compile,
    "compile of DataParallel": lambda model: torch.compile(nn.DataParallel(model)),
    "DataParallel of compile": lambda model: nn.DataParallel(torch.compile(model)),
    "in the middle": compiled_in_the_middle,
    "all": lambda model: nn.DataParallel(torch.compile(compiled_in_the_middle(model))),
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_wrappers_leave_no_trace(wrap):
    plain = select_parameters(Net()).schema.parameters
    model = Net()
    wrapped = wrap(model)
    found = select_parameters(wrapped)
    assert found.schema.parameters == plain
    assert [parameter.name for parameter in plain] == ["module.weight", "module.bias", "head.0.weight"]
    assert plain[2].aliases == ("tied.weight",)
    assert check_held(wrapped, found.schema, found.slots) == [
        "module.weight", "module.bias", "head.0.weight", "tied.weight",
    ]  # fmt: skip
    assert unwrapped(wrapped) is model
    assert describe_model(wrapped)["class"].endswith(".Net")
    assert dict(named_modules(wrapped))[""] is model
    assert select_parameters(wrapped, include="head.*").schema.parameters[0].name == "head.0.weight"


def test_averaged_weights_have_the_names_of_the_weights():
    plain, averaged = Net(), AveragedModel(torch.compile(Net()))
    assert select_parameters(averaged).schema.parameters == select_parameters(plain).schema.parameters
    assert describe_model(averaged)["class"].endswith(".Net")


def test_the_walk_is_that_of_torch():
    model = nn.ModuleDict({"a": nn.GRU(2, 3), "b": nn.ModuleList([nn.MultiheadAttention(4, 2), None])})
    model.register_parameter("none", None)
    ours = [(held.name, id(held.tensor)) for held in named_parameters(model)]
    assert ours == [(name, id(tensor)) for name, tensor in model.named_parameters(remove_duplicate=False)]
    for name, owner, key, tensor in named_parameters(model):
        assert owner._parameters[key] is tensor
        assert name.endswith(key)


class Fabric(nn.Module):
    """Holds the user's model twice: once through what runs it."""

    __module__ = "lightning.fabric.wrappers"
    __qualname__ = __name__ = "_FabricModule"

    def __init__(self, model) -> None:
        super().__init__()
        self._forward_module = nn.DataParallel(model)
        self._original_module = model


Fabric.__name__ = "_FabricModule"


def test_one_model_under_two_attributes_is_one():
    assert [p.name for p in select_parameters(Fabric(Net())).schema.parameters] == [
        "module.weight", "module.bias", "head.0.weight",
    ]  # fmt: skip


class WithAHead(nn.DataParallel):
    """A wrapper with a layer of its own, called like one that it wraps."""

    def __init__(self, model) -> None:
        super().__init__(model)
        self.head = nn.Sequential(nn.Linear(4, 4, bias=False))


def test_two_parameters_of_one_name_are_refused_by_name():
    with pytest.raises(SchemaError, match=r"parameter head\.0\.weight: expected one of this name, got two: .* Rename"):
        select_parameters(WithAHead(Net()))


def test_what_deepspeed_has_cut_up_is_refused_by_name():
    model = nn.Linear(3, 2)
    model.weight.ds_numel, model.bias.ds_numel = 12, 2
    with pytest.raises(SchemaError, match=r"parameter weight: expected all of it .* under DeepSpeed ZeRO 3"):
        select_parameters(model)


def test_a_wrapped_model_is_recorded_and_resumed_as_the_plain_one(tmp_path, capfd):
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    truth = [model.head[0].weight.detach().clone()]

    def train(wrapped, mode):
        with Recorder(tmp_path / "run.zarr", wrapped, optimizer, mode=mode):
            for _ in range(3):
                optimizer.zero_grad()
                wrapped(torch.ones(2, 3)).square().sum().backward()
                optimizer.step()
                truth.append(model.head[0].weight.detach().clone())

    train(nn.DataParallel(model), "w-")
    train(model, "a")
    found = read_array(tmp_path / "run.zarr", "parameters/head/0/weight")
    assert found.tobytes() == np.ascontiguousarray(torch.stack(truth, -1).numpy()).tobytes()
    assert "differs" not in capfd.readouterr().err
