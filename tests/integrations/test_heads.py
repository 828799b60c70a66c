"""Attention heads. The judge is the layer itself: a head whose values are zero adds as little as one that is not read.

Without the queries, keys and values of a head, the output is that without the head's columns of the matrix that takes
the outputs of all heads.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import analyzer
from analyzer.query.groups import group, local_groups
from analyzer.tree import trajectory
from recorder import Recorder

transformers = pytest.importorskip("transformers")


def heads_in(model: nn.Module, path: Path) -> dict[str, np.ndarray]:
    """Record a model, and return the head of each weight as the analyzer has it, by parameter."""
    with Recorder(path, model) as recorder:
        recorder.start()
    known = {p.name: p for p in trajectory(analyzer.open_run(path)).parameters}
    rules = group(tuple(known.values()), "head").rules
    found = {}
    for name, rule in rules.items():
        labels, numbers = local_groups(rule, known[name].shape, tuple((0, n) for n in known[name].shape))
        found[name] = (numbers[labels] - rule.base).reshape(known[name].shape)
    return found


def without(model: nn.Module, chosen: dict[str, np.ndarray], run: Callable[[], torch.Tensor]) -> torch.Tensor:
    """What a model gives while some weights are zero."""
    parameters = dict(model.named_parameters())
    before = {name: parameters[name].detach().clone() for name in chosen}
    with torch.no_grad():
        for name, mask in chosen.items():
            parameters[name][torch.from_numpy(mask)] = 0
        found = run().clone()
        for name, values in before.items():
            parameters[name].copy_(values)
    return found


def check(model: nn.Module, run: Callable[[], torch.Tensor], path: Path, heads: int, merges: str, shared: int = 1):
    """`merges` is the parameter that takes the outputs of all heads; so many of them share keys and values."""
    model.eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases begin at zero
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    found = heads_in(model, path)
    columns = found.pop(merges)
    assert len(np.unique(columns)) == heads
    whole = without(model, {}, run)
    for head in range(heads // shared):
        makes = {name: own == head for name, own in found.items() if len(np.unique(own)) == heads // shared}
        one = without(model, makes, run)
        other = without(model, {merges: columns // shared == head}, run)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(one, whole, rtol=1e-3, atol=1e-4), "the head counts"
    return found


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {"in_proj_weight", "in_proj_bias"}),
        ({"kdim": 6, "vdim": 10}, {"q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias"}),
    ],
    ids=["one matrix", "three matrices"],
)
def test_multihead_attention_of_torch(tmp_path: Path, options: dict[str, Any], names: set[str]) -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 4, batch_first=True, **options)
    query, key, value = (torch.randn(2, 5, n) for n in (8, layer.kdim, layer.vdim))
    found = check(layer, lambda: layer(query, key, value)[0], tmp_path / "run.zarr", 4, "out_proj.weight")
    assert set(found) == names


def test_an_encoder_of_torch_has_heads_in_each_layer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False)
    found = heads_in(model, tmp_path / "run.zarr")
    assert set(found) == {
        f"layers.{n}.self_attn.{name}"
        for n in range(2)
        for name in ("in_proj_weight", "in_proj_bias", "out_proj.weight")
    }
    T = analyzer.open_run(tmp_path / "run.zarr")
    assert list(trajectory(T).parameters[0].axes) == ["output", "input"]


def bert() -> tuple[nn.Module, str]:
    from transformers.models.bert.modeling_bert import BertAttention

    config = transformers.BertConfig(hidden_size=8, num_attention_heads=4, attn_implementation="eager")
    return BertAttention(config), "output.dense.weight"


def gpt2() -> tuple[nn.Module, str]:
    from transformers.models.gpt2.modeling_gpt2 import GPT2Attention

    return GPT2Attention(transformers.GPT2Config(n_embd=8, n_head=4, attn_implementation="eager")), "c_proj.weight"


def distilbert() -> tuple[nn.Module, str]:
    from transformers.models.distilbert.modeling_distilbert import DistilBertSelfAttention

    config = transformers.DistilBertConfig(dim=8, n_heads=4, attn_implementation="eager")
    return DistilBertSelfAttention(config), "out_lin.weight"


def t5() -> tuple[nn.Module, str]:
    from transformers.models.t5.modeling_t5 import T5Attention

    config = transformers.T5Config(d_model=6, d_kv=2, num_heads=4, attn_implementation="eager")
    return T5Attention(config, has_relative_attention_bias=False), "o.weight"


@pytest.mark.parametrize("make", [bert, gpt2, distilbert, t5])
def test_attention_of_transformers(tmp_path: Path, make: Callable[[], tuple[nn.Module, str]]) -> None:
    torch.manual_seed(0)
    layer, merges = make()
    x = torch.randn(2, 5, 6 if make is t5 else 8)
    # Layers that add their input and normalise: what is added tells of the heads as well.
    found = check(layer, lambda: layer(x)[0], tmp_path / "run.zarr", 4, merges)
    assert found


def test_heads_of_queries_that_share_keys_and_values(tmp_path: Path) -> None:
    from transformers.models.llama.modeling_llama import LlamaAttention

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=8, num_attention_heads=4, num_key_value_heads=2, attn_implementation="eager"
    )
    layer = LlamaAttention(config, layer_idx=0)
    x = torch.randn(2, 5, 8)
    turn = torch.ones(1, 5, 2), torch.zeros(1, 5, 2)  # no rotation
    path = tmp_path / "run.zarr"
    found = check(layer, lambda: layer(x, turn, None)[0], path, 4, "o_proj.weight", shared=2)
    assert {name: len(np.unique(own)) for name, own in found.items()} == {
        "q_proj.weight": 4,
        "k_proj.weight": 2,
        "v_proj.weight": 2,
    }


def test_what_only_looks_like_attention_has_no_heads(tmp_path: Path) -> None:
    """A user's own attention may lay its heads out in any way."""

    class SelfAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.num_heads, self.head_dim = 2, 4
            self.q_proj = nn.Linear(8, 8)

    with Recorder(tmp_path / "run.zarr", SelfAttention()) as recorder:
        recorder.start()
    with pytest.raises(analyzer.AnalyzerError, match="expected a parameter with attention heads"):
        group(trajectory(analyzer.open_run(tmp_path / "run.zarr")).parameters, "head")
