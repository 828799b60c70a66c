"""DeepSpeed's engine on the CPU: its optimizers are refused by name, `recorder.step()` records every update."""

from __future__ import annotations

import os
import socket
import warnings

import pytest
import torch
from torch import nn

from recorder import Recorder
from recorder.errors import SchemaError, UsageError
from tests.integrations import children
from tests.integrations.frames import Truth, assert_frames

pytestmark = pytest.mark.filterwarnings("ignore")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("deepspeed")


def engine_of(stage: int, **settings):
    """An engine of one rank with accumulated gradients, the plain model, and the optimizer that the user made."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    os.environ |= {
        "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        "DS_ACCELERATOR": "cpu",
    }  # fmt: skip
    import deepspeed

    deepspeed.init_distributed(dist_backend="gloo")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
    own = torch.optim.Adam(model.parameters(), lr=1e-2)
    settings |= {
        "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2, "zero_optimization": {"stage": stage},
        "zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False,
    }  # fmt: skip
    return deepspeed.initialize(model=model, optimizer=own, config=settings)[0], model, own


def train(engine, batches: int = 8):
    """Yield after each batch whether it made an update."""
    for _ in range(batches):
        loss = engine(torch.randn(4, 6).to(next(engine.parameters()).dtype)).square().mean()
        engine.backward(loss)
        is_update = engine.is_gradient_accumulation_boundary()
        engine.step()
        yield is_update


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_call_after_each_step_records_every_update(tmp_path, stage):
    def work():
        engine, model, own = engine_of(stage, bf16={"enabled": True})
        for optimizer in (engine.optimizer, own):
            with pytest.raises(UsageError, match=r"DeepSpeed copies them into the model .* recorder\.step\(\) after"):
                Recorder(tmp_path / "run.zarr", engine, optimizer)
        with Recorder(tmp_path / "run.zarr", engine) as recorder:
            recorder.start()
            truth = Truth(model)
            for is_update in train(engine):
                if is_update:
                    recorder.step()
                    truth.take()
        states = [{name: tensor.float() for name, tensor in state.items()} for state in truth.states]
        torch.save(states, tmp_path / "truth.pt")

    assert children.run(work) == 0
    states = torch.load(tmp_path / "truth.pt")
    assert len(states) == 5
    assert_frames(tmp_path / "run.zarr", states)


def test_an_optimizer_that_moves_the_models_own_weights_is_followed(tmp_path):
    def work():
        engine, model, own = engine_of(0)
        truth = Truth(model, own)
        with Recorder(tmp_path / "run.zarr", engine, engine.optimizer):
            list(train(engine))
        truth.save(tmp_path / "truth.pt")

    assert children.run(work) == 0
    assert_frames(tmp_path / "run.zarr", torch.load(tmp_path / "truth.pt"))


def test_shards_are_refused_by_name(tmp_path):
    def work():
        engine, *_ = engine_of(3)
        with pytest.raises(SchemaError, match=r"parameter 0\.weight: .* shard of one rank under DeepSpeed ZeRO 3"):
            Recorder(tmp_path / "run.zarr", engine).start()

    assert children.run(work) == 0
