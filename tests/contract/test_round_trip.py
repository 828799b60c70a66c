"""The recorder writes, plain zarr and xarray read: bit for bit, every type, every shape, every codec."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
import zarr
from torch import nn

from recorder import Recorder
from recorder.codecs import CODECS
from tests.recorder.runs import Scripted, Zoo, assert_frames_are_scripted, open_tree, read_array, store_path

STEPS = 70  # four chunks of 16 and a part


@pytest.mark.parametrize("compression", CODECS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_every_frame_is_bit_equal_to_the_parameters_after_that_step(tmp_path, dtype, compression):
    model = Zoo().to(dtype)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16, compression=compression):
        for _ in range(STEPS):
            optimizer.step()
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(STEPS + 1))


def test_mixed_types_ride_in_planes_of_their_own(tmp_path):
    model = Zoo()
    model.conv.to(torch.bfloat16)
    model.lin.to(torch.float64)
    model.flag = nn.Parameter(torch.zeros(3, dtype=torch.uint8), requires_grad=False)
    optimizer = Scripted([p for name, p in model.named_parameters() if name != "flag"])
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16) as recorder:
        recorder.start()
        for step in range(1, 20):
            model.flag.data.fill_(step)
            optimizer.step()
    flags = read_array(tmp_path / "run.zarr", "parameters/flag")
    np.testing.assert_array_equal(flags, np.tile(np.arange(20, dtype=np.uint8), (3, 1)))
    del model.flag
    assert_frames_are_scripted(tmp_path / "run.zarr", model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_not_a_number_keeps_its_payload_and_zero_its_sign(tmp_path, dtype):
    model = nn.Linear(1, 1, bias=False).to(dtype)
    bits = torch.int64 if dtype == torch.float64 else torch.int32 if dtype == torch.float32 else torch.int16
    quiet = {
        torch.float64: 0x7FF8_0000_0000_0123,
        torch.float32: 0x7FC0_0123,
        torch.float16: 0x7E11,
        torch.bfloat16: 0x7FC1,
    }
    odd = [
        torch.tensor([[quiet[dtype]]], dtype=bits).view(dtype),
        -torch.zeros(1, 1, dtype=dtype),
        torch.full((1, 1), torch.inf).to(dtype),
    ]
    recorder = Recorder(tmp_path / "run.zarr", model)
    recorder.start()
    for value in odd:
        model.weight.data.copy_(value)
        recorder.step()
    recorder.close()
    stored = read_array(tmp_path / "run.zarr", "parameters/weight")[0, 0, 1:]
    for value, found in zip(odd, stored, strict=True):
        expected = value.view(bits).item()
        raw = found.view(np.dtype(f"u{found.dtype.itemsize}")).item()
        assert (raw >> 16 if dtype == torch.bfloat16 else raw) == expected % (
            1 << 8 * torch.tensor([], dtype=bits).element_size()
        )


def test_documents_are_those_that_zarr_itself_writes(tmp_path):
    model = Zoo()
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16) as recorder:
        optimizer.step()
        recorder.log(loss=1.0)
    root = json.loads((tmp_path / "run.zarr/zarr.json").read_text())
    members = root["consolidated_metadata"]["metadata"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path, document in members.items():
            assert json.loads((tmp_path / "run.zarr" / path / "zarr.json").read_text()) == document
            if document["node_type"] == "array":
                assert (
                    json.loads(
                        json.dumps(zarr.open_array(tmp_path / "run.zarr", path=path, mode="r").metadata.to_dict())
                    )
                    == document
                )
        walked = dict(zarr.open_group(tmp_path / "run.zarr", mode="r", use_consolidated=False).members(max_depth=None))
    assert set(walked) == set(members)


def graph_models():
    geometric = pytest.importorskip("torch_geometric.nn")
    mlp = nn.Linear(2, 3 * 4)
    return {
        "GCNConv": (geometric.GCNConv(3, 4), ()),
        "GATConv": (geometric.GATConv(3, 4, heads=2), ()),
        "GATv2Conv": (geometric.GATv2Conv(3, 4, heads=2, concat=False), ()),
        "NNConv": (geometric.NNConv(3, 4, mlp), (torch.randn(8, 2),)),
    }


@pytest.mark.parametrize("kind", ["GCNConv", "GATConv", "GATv2Conv", "NNConv"])
def test_graph_layers_open_with_plain_xarray_while_running_and_after(tmp_path, kind):
    class Net(nn.Module):
        def __init__(self, conv):
            super().__init__()
            self.conv1 = conv
            self.scale = nn.Parameter(torch.ones(()))
            self.step = nn.Linear(8 if kind == "GATConv" else 4, 2)

    layer, extra = graph_models()[kind]
    model = Net(layer)
    nodes, edges = torch.randn(5, 3), torch.randint(0, 5, (2, 8))
    optimizer = torch.optim.Adam(model.parameters())
    truth = []
    with Recorder(tmp_path / "run.zarr", model, optimizer) as recorder:
        recorder.start()
        assert open_tree(tmp_path / "run.zarr").attrs["status"] == "running"
        for _ in range(5):
            optimizer.zero_grad()
            (model.step(model.conv1(nodes, edges, *extra)) * model.scale).square().mean().backward()
            optimizer.step()
            truth.append({name: p.detach().numpy().copy() for name, p in model.named_parameters()})
    tree = open_tree(tmp_path / "run.zarr")
    assert tree.attrs["status"] == "complete"
    for name in truth[0]:
        array = tree[store_path(name)]
        stored = read_array(tmp_path / "run.zarr", store_path(name))
        assert array.attrs["name"] == name
        assert array.attrs["layer"] == ("conv1" if name.startswith("conv1") else name.rpartition(".")[0])
        for frame, weights in enumerate(truth, start=1):
            assert stored[..., frame].tobytes() == weights[name].tobytes()
    if "GAT" in kind:
        attention = next(tree[store_path(name)] for name in truth[0] if name.startswith("conv1.att"))
        assert attention.attrs["axes"] == ["", "head", "channel"]
        assert (attention.attrs["heads"], attention.attrs["head_axis"]) == (2, 1)
        assert attention.attrs["concat"] is (kind == "GATConv")
        assert ("heads" in tree["parameters/conv1/bias"].attrs) is (kind == "GATConv")


def test_dimensions_carry_the_dotted_name_and_step_stands_last(tmp_path):
    with Recorder(tmp_path / "run.zarr", Zoo()) as recorder:
        recorder.start()
    tree = open_tree(tmp_path / "run.zarr")
    assert tree["parameters/conv/weight"].dims == (
        "conv.weight_row",
        "conv.weight_col",
        "conv.weight_2",
        "conv.weight_3",
        "step",
    )
    assert tree["parameters/scale"].dims == ("step",)
    assert tree["parameters/%73tep/weight"].attrs["name"] == "step.weight"
    assert tree["parameters/lin/weight"].attrs["axes"] == ["output", "input"]


def test_names_that_a_path_cannot_hold_are_encoded(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            for name in ("a/b", "c%d", "é", "__x", "step"):
                self.register_parameter(name, nn.Parameter(torch.zeros(2)))

    with Recorder(tmp_path / "run.zarr", Odd()) as recorder:
        recorder.start()
    tree = open_tree(tmp_path / "run.zarr")
    names = {array.attrs["name"]: path for path, array in tree["parameters"].data_vars.items()}
    assert names == {"a/b": "a%2Fb", "c%d": "c%25d", "é": "%C3%A9", "__x": "%5F_x", "step": "%73tep"}


def test_tensors_larger_than_a_chunk_are_cut_along_their_leading_axes(tmp_path):
    """A chunk holds at most 64 MiB; T stays. 2500 x 1000 float32 at T = 16 is 153 MiB: it is cut into rows."""
    model = nn.Linear(1000, 2500, bias=False)
    optimizer = Scripted(model.parameters())
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16):
        optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = zarr.open_array(tmp_path / "run.zarr", path="parameters/weight", mode="r")
    assert array.chunks == (1048, 1000, 16)
    assert np.prod(array.chunks) * 4 <= 64 << 20
    assert_frames_are_scripted(tmp_path / "run.zarr", model, steps=np.arange(2))


def test_scalars_belong_to_the_frame_of_their_step(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    with Recorder(tmp_path / "run.zarr", model, optimizer, chunk_steps=16) as recorder:
        for step in range(1, 41):
            model.weight.grad = torch.ones_like(model.weight)
            optimizer.step()
            scheduler.step()
            recorder.log(loss=torch.tensor(float(step)))
            if step >= 35:  # a name may come at any time, chunks later than the first one
                recorder.log(accuracy=step / 100)
    tree = open_tree(tmp_path / "run.zarr")
    np.testing.assert_array_equal(read_array(tmp_path / "run.zarr", "loss"), [np.nan, *range(1, 41)])
    np.testing.assert_array_equal(
        read_array(tmp_path / "run.zarr", "accuracy"), [np.nan] * 35 + [s / 100 for s in range(35, 41)]
    )
    np.testing.assert_array_equal(
        read_array(tmp_path / "run.zarr", "learning_rate")[:, 0], [np.nan, *(0.5 ** (s + 1) for s in range(40))]
    )
    assert tree["accuracy"].attrs["first_frame"] <= 35


def test_branches_of_different_depth_open(tmp_path):
    """Zarr's reader of consolidated metadata loses groups whose children do not stand together: order is format."""

    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            for name in ("b", "a", "c"):
                self.add_module(name, nn.Module())
                getattr(self, name).lin = nn.Linear(2, 2)
                getattr(self, name).bias = nn.Parameter(torch.zeros(2))
                getattr(self, name).lin.deeper = nn.Linear(1, 1)
            self.out = nn.Linear(2, 2)

    with Recorder(tmp_path / "run.zarr", Deep()) as recorder:
        recorder.start()
        recorder.log(loss=1.0)
    names = {
        a.attrs["name"]
        for node in open_tree(tmp_path / "run.zarr")["parameters"].subtree
        for a in node.data_vars.values()
    }
    assert names == {name for name, _ in Deep().named_parameters()}
    root = json.loads((tmp_path / "run.zarr/zarr.json").read_text())
    members = root["consolidated_metadata"]["metadata"].values()
    listed = [member["attributes"]["name"] for member in members if "name" in member["attributes"]]
    assert listed == [name for name, _ in Deep().named_parameters()]
