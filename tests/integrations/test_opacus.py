"""Private training by Opacus: its model and its optimizer go straight to the recorder."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from recorder import Recorder
from tests.integrations import children
from tests.integrations.frames import Truth, assert_frames
from tests.recorder.runs import read_array

pytestmark = pytest.mark.filterwarnings("ignore")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("opacus")


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
def test_frames_are_the_weights_after_each_private_step(tmp_path, mode):
    """Batches that are split to fit the memory are one step: those before the last one of a batch change nothing."""

    def train():
        from opacus import PrivacyEngine
        from opacus.utils.batch_memory_manager import BatchMemoryManager

        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
        inner = torch.optim.SGD(model.parameters(), lr=0.1)
        truth = Truth(model, inner)
        data = torch.utils.data.TensorDataset(torch.randn(80, 5), torch.arange(80) % 2)
        loader = torch.utils.data.DataLoader(data, 16)
        private, optimizer, *criterion, loader = PrivacyEngine().make_private(
            module=model, optimizer=inner, data_loader=loader, noise_multiplier=1.0, max_grad_norm=1.0,
            grad_sample_mode=mode,
        )  # fmt: skip
        loss_of = criterion[0] if criterion else nn.CrossEntropyLoss()
        with (
            Recorder(tmp_path / "run.zarr", private, optimizer) as recorder,
            BatchMemoryManager(data_loader=loader, max_physical_batch_size=6, optimizer=optimizer) as batches,
        ):
            for x, y in batches:
                optimizer.zero_grad()
                loss = loss_of(private(x), y)
                loss.backward()
                optimizer.step()
                recorder.log(loss=loss)
        truth.save(tmp_path / "truth.pt")

    assert children.run(train) == 0
    states = torch.load(tmp_path / "truth.pt")
    assert len(states) == 6
    assert_frames(tmp_path / "run.zarr", states)
    assert (read_array(tmp_path / "run.zarr", "loss")[1:] > 0).all()
