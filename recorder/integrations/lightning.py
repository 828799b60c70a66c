"""A callback for Lightning's trainer, of either package: `lightning` or `pytorch_lightning`."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from recorder.integrations.recording import Recording
from recorder.recorder import Recorder
from recorder.trainer.report import Report

# The trainer of either package wants its own base class. To load the second package costs nothing more: both load the
# same libraries.
_HOMES = {"lightning": "lightning.pytorch.callbacks", "pytorch_lightning": "pytorch_lightning.callbacks"}
_BASES = tuple(import_module(home).Callback for package, home in _HOMES.items() if find_spec(package))
if not _BASES:
    raise ImportError("recorder.integrations.lightning: expected Lightning. Install it: pip install lightning")


class RecorderCallback(*_BASES):  # type: ignore[misc]
    """Records a Lightning training: every optimizer step, `train_loss` and `epoch`.

    With one optimizer, each of its steps is a frame, in automatic and manual optimization and with accumulated
    gradients. With several, a batch in which one of them stepped is a frame. A training that `ckpt_path` restored goes
    on in its store. Under `fast_dev_run` nothing is recorded.

    Parameters
    ----------
    store : path
        The Zarr store to write.
    **options
        Options of `Recorder`. `hyperparameters` are by default those that the module saved. `mode` is by default `"a"`
        if `trainer.global_step` was restored, else `"w-"`.

    Attributes
    ----------
    recorder : Recorder or None
        The recorder while a training runs. `callback.recorder.log(accuracy=…)` logs more.
    report : Report or None
        The report of the last training.

    Raises
    ------
    RecorderError
        When a training starts: see `Recorder`.

    Examples
    --------
    >>> import lightning
    >>> trainer = lightning.Trainer(
    ...     callbacks=[RecorderCallback("runs/lightning.zarr")],
    ...     accelerator="cpu", logger=False, enable_checkpointing=False,
    ... )
    """

    def __init__(self, store: str | os.PathLike[str], **options: Any) -> None:
        super().__init__()
        self._recording = Recording(store, options)
        self._seen = 0  # the trainer's step at the last batch
        self._updates: int | None = None  # batches with a step since the training began, if known
        self._losses: list[torch.Tensor] = []  # losses of the batches since the last step

    @property
    def recorder(self) -> Recorder | None:
        return self._recording.recorder

    @property
    def report(self) -> Report | None:
        return self._recording.report

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the recorder; weights, optimizers and counts are restored by now."""
        if trainer.fast_dev_run:
            return
        self._seen = trainer.global_step
        self._losses.clear()
        if not self._seen:
            self._updates = 0
        self._recording.open(
            pl_module,
            trainer.optimizers,
            step=self._seen if len(trainer.optimizers) == 1 else self._updates,
            is_resumed=self._seen > 0,
            hyperparameters=dict(getattr(pl_module, "hparams", {})),
        )

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Record the batch if no hook does, and log. Accumulated batches have one loss."""
        recorder = self.recorder
        if recorder is None:
            return
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, torch.Tensor):
            self._losses.append(loss.detach())
        if trainer.global_step == self._seen:
            return
        self._seen = trainer.global_step
        if self._updates is not None:
            self._updates += 1
        if not self._recording.is_followed:
            recorder.step()
        losses, self._losses = self._losses, []
        recorder.log(epoch=trainer.current_epoch, train_loss=_mean(losses, _divisor(trainer, pl_module)))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the recorder."""
        self._recording.close("complete")

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Close the recorder. Lightning also calls this for an interrupt from the keyboard."""
        self._recording.close("interrupted")

    def state_dict(self) -> dict[str, Any]:
        """Return the count of updates, for a checkpoint. With several optimizers the trainer counts steps instead."""
        return {} if self._recording.is_followed else {"updates": self._updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the count of updates from a checkpoint."""
        self._updates = state_dict.get("updates")

    @property
    def state_key(self) -> str:
        """The callback's name in a checkpoint. Callbacks of stores with different names have different ones."""
        return f"recorder.RecorderCallback({Path(self._recording.store).name})"


def _divisor(trainer: Any, module: Any) -> int:
    """Return the number by which Lightning divided each loss."""
    return int(trainer.accumulate_grad_batches) if module.automatic_optimization else 1


def _mean(losses: list[torch.Tensor], divisor: int) -> torch.Tensor | None:
    """Return the mean of the losses that the user's code returned. It waits for no device."""
    if not losses:
        return None
    total = losses[0] if len(losses) == 1 else torch.stack(losses).float().sum()
    return total if divisor == len(losses) == 1 else total * (divisor / len(losses))
