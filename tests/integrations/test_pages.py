"""The blocks of the documentation that need a trainer's library, each run as it stands in a training around it."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from recorder import Recorder
from tests.docs.pages import RUN_ELSEWHERE, pages, says
from tests.examples.markdown import Block
from tests.integrations import children
from tests.recorder.runs import read_array

pytestmark = pytest.mark.filterwarnings("ignore")

FOUND = [block for page in pages() for block in page.blocks if says(block, RUN_ELSEWHERE) is not None]
BLOCKS = list({block.text: block for block in FOUND}.values())  # the page of all trainers shows the same blocks again


def surroundings(name: str) -> dict[str, object]:
    """The names that a block takes as given."""
    torch.manual_seed(0)
    x = torch.randn(40, 4)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    given: dict[str, object] = {
        "Recorder": Recorder,
        "model": model,
        "optimizer": optimizer,
        "loader": torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), 4),
        "loss_fn": nn.functional.mse_loss,
    }
    if name == "lightning":
        import lightning

        from tests.integrations import graphs

        given |= {"lightning": lightning, "module": graphs.make_module("lightning"), "loader": graphs.make_loader()}
    elif name == "gpt":
        import transformers

        from tests.integrations import texts

        arguments = transformers.TrainingArguments(
            "out", max_steps=5, per_device_train_batch_size=4, use_cpu=True, report_to=[], disable_tqdm=True
        )
        given |= {"transformers": transformers, "arguments": arguments}
        given |= {"model": texts.make_model(), "samples": texts.make_samples()}
    elif name == "accelerate":
        import accelerate

        given["accelerator"] = accelerate.Accelerator(cpu=True)
    elif name == "ignite":
        from ignite.engine import Events, create_supervised_trainer

        given |= {"Events": Events, "trainer": create_supervised_trainer(model, optimizer, nn.MSELoss())}
    elif name == "pyg":

        def train():
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
            loss.backward()
            optimizer.step()
            return float(loss)

        given["train"] = train
    else:
        import torch.distributed as dist
        from torch.nn.parallel import DistributedDataParallel

        given |= {"dist": dist, "DistributedDataParallel": DistributedDataParallel}
    return given


def name_of(block: Block) -> str:
    """The name of the store that a block records, without its ending."""
    return block.text.partition('"runs/')[2].partition(".zarr")[0]


def execute(name: str) -> None:
    (block,) = (block for block in BLOCKS if name_of(block) == name)
    exec(compile(block.text, "page", "exec"), surroundings(name))


@pytest.mark.parametrize(
    ("name", "steps"),
    [("lightning", 12), ("gpt", 5), ("accelerate", 10), ("ignite", 20), ("pyg", 20), ("ddp", 10)],
)
def test_a_block_records_every_step(tmp_path, monkeypatch, name, steps):
    library = {"gpt": "transformers", "pyg": "torch_geometric", "ddp": "torch"}.get(name, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    if name == "ddp":
        done = children.torchrun(__file__, name)
        assert done.returncode == 0, done.stderr
    else:
        assert children.run(execute, name) == 0
    store = Path("runs") / f"{name}.zarr"
    assert read_array(store, "step").tolist() == list(range(steps + 1))
    scalars = {"lightning": "train_loss", "gpt": "epoch", "ddp": "learning_rate"}
    assert len(read_array(store, scalars.get(name, "loss"))) == steps + 1


def test_every_block_is_run():
    assert sorted(map(name_of, BLOCKS)) == sorted(["lightning", "gpt", "accelerate", "ignite", "pyg", "ddp"])


if __name__ == "__main__":
    execute(sys.argv[1])
