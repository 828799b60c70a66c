"""Lightning's trainer, of both packages, with a real GCN: every frame is a step's weights, bit for bit."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.faults.checks import wait_for_the_spool_to_go
from tests.integrations import children
from tests.integrations.frames import assert_frames, attributes, weights
from tests.recorder.runs import read_array

pytestmark = pytest.mark.filterwarnings("ignore")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("lightning")
    pytest.importorskip("pytorch_lightning")
    from recorder.errors import StoreExistsError, StoreMissingError
    from recorder.integrations.lightning import RecorderCallback
    from tests.integrations import graphs

PACKAGES = ("lightning", "pytorch_lightning")


def record(store: Path, steps: int = -1, *, options=None, witness: Path | None = None, by_batch=False, **training):
    package = training.get("package", "lightning")
    callback = RecorderCallback(store, **options or {})
    callbacks = [callback] if witness is None else [callback, graphs.make_witness(package, witness, by_batch=by_batch)]
    graphs.lightning(callbacks, steps, **training)
    return callback


def of_module(states):
    """The plain model's weights under the names that they have in the LightningModule."""
    return [{f"net.{name}": tensor for name, tensor in state.items()} for state in states]


@pytest.mark.parametrize("package", PACKAGES)
def test_frames_and_losses_are_those_of_a_plain_loop(tmp_path, package):
    store = tmp_path / "run.zarr"
    assert children.run(record, store, 15, package=package) == 0
    states, losses = graphs.plain(15)
    assert_frames(store, of_module(states))
    np.testing.assert_array_equal(read_array(store, "train_loss")[1:], losses)
    assert read_array(store, "epoch")[1:].tolist() == [0] * 6 + [1] * 6 + [2] * 3
    assert read_array(store, "learning_rate")[1:, 0].tolist() == [1e-2] * 15
    assert attributes(store)["status"] == "complete"
    assert attributes(store)["hyperparameters"] == {"learning_rate": 1e-2}
    assert attributes(store)["segments"][0]["user_step"] == 0


@pytest.mark.parametrize("package", PACKAGES)
def test_a_callback_that_stands_alone(tmp_path, package):
    def train():
        callback = RecorderCallback(tmp_path / "run.zarr")
        graphs.lightning(callback, 2, package=package)
        assert callback.recorder is None
        assert callback.report.frames == 3

    assert children.run(train) == 0


def test_accumulated_gradients_are_one_step_with_one_loss(tmp_path):
    store = tmp_path / "run.zarr"
    assert children.run(record, store, 9, accumulate_grad_batches=3) == 0
    states, losses = graphs.plain(9, accumulate=3)
    assert_frames(store, of_module(states))
    np.testing.assert_allclose(read_array(store, "train_loss")[1:], losses, rtol=1e-6)
    assert read_array(store, "epoch")[1:].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]


def test_a_short_last_group_of_batches_has_their_mean_loss(tmp_path):
    store = tmp_path / "run.zarr"
    assert children.run(record, store, 4, witness=tmp_path / "truth.pt", accumulate_grad_batches=4) == 0
    assert_frames(store, torch.load(tmp_path / "truth.pt"))
    assert np.ptp(read_array(store, "train_loss")[1:]) < 0.3, "a mean of two batches is as large as one of four"


def test_manual_optimization_has_a_frame_for_each_step(tmp_path):
    store = tmp_path / "run.zarr"
    assert children.run(record, store, 8, witness=tmp_path / "truth.pt", module={"manual": True}) == 0
    assert_frames(store, torch.load(tmp_path / "truth.pt"))
    assert read_array(store, "epoch")[1:].tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert np.isfinite(read_array(store, "train_loss")[1:]).all()


def test_several_optimizers_have_a_frame_for_each_batch_and_a_count_of_them(tmp_path):
    """Every batch steps one optimizer, every second one both: Lightning counts 9 steps in 6 batches."""
    store, checkpoints = tmp_path / "run.zarr", tmp_path / "checkpoints"
    module = {"several": True}
    assert children.run(
        record, store, 18, witness=tmp_path / "1.pt", by_batch=True, checkpoints=checkpoints, module=module
    ) == 0  # fmt: skip
    states = torch.load(tmp_path / "1.pt")
    assert len(states) == 13
    assert_frames(store, states)
    assert read_array(store, "learning_rate")[1:].tolist() == [[1e-2, 1e-1]] * 12
    (last,) = checkpoints.glob("step=18.ckpt")
    assert children.run(
        record, store, 27, witness=tmp_path / "2.pt", by_batch=True, resume=last, module=module
    ) == 0  # fmt: skip
    assert_frames(store, [*states, *torch.load(tmp_path / "2.pt")[1:]])
    assert attributes(store)["segments"][-1]["user_step"] == 12


def test_an_exception_of_the_user_leaves_an_interrupted_run_and_reaches_him(tmp_path, capfd):
    store = tmp_path / "run.zarr"
    assert children.run(record, store, 20, witness=tmp_path / "truth.pt", module={"raise_at": 7}) == 3
    assert "RuntimeError: of the user" in capfd.readouterr().err
    states = torch.load(tmp_path / "truth.pt")
    assert len(states) == 8
    assert_frames(store, states)
    assert attributes(store)["status"] == "interrupted"


def test_killed_after_a_checkpoint_and_resumed_from_it(tmp_path):
    """The weights of the checkpoint are those of the last frame: the run goes on without a break."""
    store, checkpoints = tmp_path / "run.zarr", tmp_path / "checkpoints"
    module = {"kill_at": (12, "on_train_epoch_start")}
    assert children.run(record, store, epochs=3, checkpoints=checkpoints, module=module) == -9
    wait_for_the_spool_to_go(store)
    assert attributes(store)["status"] == "interrupted"
    assert children.run(record, store, epochs=3, resume=checkpoints / "step=12.ckpt") == 0
    assert_frames(store, of_module(graphs.plain(18)[0]))
    assert read_array(store, "epoch")[1:].tolist() == [0] * 6 + [1] * 6 + [2] * 6
    segments = attributes(store)["segments"]
    assert [segment["user_step"] for segment in segments] == [0, 12]
    assert segments[1]["continuous"]
    assert attributes(store)["status"] == "complete"


def test_only_a_restored_training_goes_on_in_a_store(tmp_path):
    store, checkpoints = tmp_path / "run.zarr", tmp_path / "checkpoints"
    assert children.run(record, store, epochs=1, checkpoints=checkpoints) == 0

    def refused(error, *args, **training):
        with pytest.raises(error, match="run.zarr|other.zarr"):
            record(*args, **training)

    assert children.run(refused, StoreExistsError, store, 6) == 0
    checkpoint = checkpoints / "step=6.ckpt"
    assert children.run(refused, StoreMissingError, tmp_path / "other.zarr", epochs=2, resume=checkpoint) == 0
    assert children.run(record, store, epochs=2, resume=checkpoint, options={"mode": "w"}) == 0
    assert_frames(store, of_module(graphs.plain(12)[0]))
    assert children.run(record, tmp_path / "other.zarr", epochs=2, resume=checkpoint, options={"mode": "w-"}) == 0
    assert_frames(tmp_path / "other.zarr", of_module(graphs.plain(12)[0][6:]))
    assert children.run(record, store, 3, options={"mode": "w"}) == 0
    assert_frames(store, of_module(graphs.plain(3)[0]))


def test_one_callback_sees_two_trainings(tmp_path):
    def train():
        callback = RecorderCallback(tmp_path / "run.zarr", include="net.out.*")
        trainer = graphs.lightning([callback], 5)
        trainer.fit_loop.epoch_loop.max_steps = 9
        trainer.fit(trainer.lightning_module, graphs.make_loader())
        assert callback.report.steps == 4

    assert children.run(train) == 0
    assert read_array(tmp_path / "run.zarr", "step").tolist() == list(range(10))
    assert [s["user_step"] for s in attributes(tmp_path / "run.zarr")["segments"]] == [0, 5]


def test_an_option_that_there_is_not_is_refused_before_the_training(tmp_path):
    with pytest.raises(TypeError, match="unexpected keyword argument 'strid'"):
        RecorderCallback(tmp_path / "run.zarr", strid=2)


def test_a_trial_run_of_one_batch_records_nothing(tmp_path):
    assert children.run(record, tmp_path / "run.zarr", 5, fast_dev_run=True) == 0
    assert not (tmp_path / "run.zarr").exists()


def test_fabric_hands_its_model_and_optimizer_to_the_recorder(tmp_path):
    def train():
        import lightning

        from recorder import Recorder

        fabric = lightning.Fabric(accelerator="cpu", devices=1)
        torch.manual_seed(0)
        plain = graphs.GCN()
        model, optimizer = fabric.setup(plain, graphs.make_optimizer(plain))
        truth = [weights(plain)]
        with Recorder(tmp_path / "run.zarr", model, optimizer):
            for batch in graphs.make_loader():
                optimizer.zero_grad()
                fabric.backward(model(batch).square().mean())
                optimizer.step()
                truth.append(weights(plain))
        torch.save(truth, tmp_path / "truth.pt")

    assert children.run(train) == 0
    assert_frames(tmp_path / "run.zarr", torch.load(tmp_path / "truth.pt"))
    assert attributes(tmp_path / "run.zarr")["model"]["class"].endswith("graphs.GCN")


SCRIPT = str(Path(__file__).with_name("lightning_ranks.py"))


@pytest.mark.parametrize("how", ["torchrun", "ddp", "ddp_spawn", "ddp_fork"])
def test_two_ranks(tmp_path, how):
    """One records. Under torchrun, by Lightning's own launcher of scripts, spawned, and forked."""
    start = children.torchrun if how == "torchrun" else children.script
    done = start(SCRIPT, str(tmp_path), "ddp" if how == "torchrun" else how)
    assert done.returncode == 0, done.stderr
    assert_frames(tmp_path / "run.zarr", torch.load(tmp_path / "truth-0.pt"))
    assert done.stderr.count("recorder: ") == 2, done.stderr
    assert "rank 0 of 2 records" in done.stderr


@pytest.mark.parametrize("how", ["torchrun", "ddp", "ddp_spawn"])
def test_two_ranks_end_where_one_is_refused(tmp_path, how):
    (tmp_path / "run.zarr").mkdir()
    start = children.torchrun if how == "torchrun" else children.script
    done = start(SCRIPT, str(tmp_path), "ddp" if how == "torchrun" else how)
    assert done.returncode != 0
    # Where one process reports for all, it is that of the rank whose error it saw first.
    sentence = rf"StoreExistsError: (rank 0: )?{re.escape(str(tmp_path))}/run\.zarr: expected no store there"
    assert re.search(sentence, done.stderr), done.stderr
    assert not (tmp_path / "truth-0.pt").exists()
