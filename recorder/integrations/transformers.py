"""A callback for the trainer of Hugging Face transformers."""

from __future__ import annotations

import math
import os
from typing import Any

from transformers import TrainerCallback

from recorder.integrations.recording import Recording
from recorder.recorder import Recorder
from recorder.trainer.report import Report


class RecorderCallback(TrainerCallback):  # type: ignore[misc]
    """Records a training of `Trainer`: every optimizer step, `epoch`, and `train_loss` where the trainer logs it.

    A training that `resume_from_checkpoint` restored goes on in its store. The trainer does not tell callbacks of an
    exception. The recording then ends as interrupted, with the process or when the callback sees another training.
    Under a gradient scaler (fp16) `state.global_step` also counts the steps that were skipped.

    Parameters
    ----------
    store : path
        The Zarr store to write.
    **options
        Options of `Recorder`. `hyperparameters` are by default learning rate, batch size, weight decay and seed of the
        arguments. `mode` is by default `"a"` if `state.global_step` was restored, else `"w-"`.

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
    >>> callback = RecorderCallback("runs/bert.zarr", exclude="*embeddings*")  # Trainer(…, callbacks=[callback])
    """

    def __init__(self, store: str | os.PathLike[str], **options: Any) -> None:
        self._recording = Recording(store, options)

    @property
    def recorder(self) -> Recorder | None:
        return self._recording.recorder

    @property
    def report(self) -> Report | None:
        return self._recording.report

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None, **kwargs: Any
    ) -> None:
        """Open the recorder; weights, optimizer and counts are restored by now."""
        self._recording.open(
            model,
            [optimizer],
            step=state.global_step,
            is_resumed=state.global_step > 0,
            hyperparameters={
                "learning_rate": args.learning_rate,
                "batch_size": args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
                "weight_decay": args.weight_decay,
                "seed": args.seed,
            },
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the step if no hook does, and log its epoch."""
        recorder = self.recorder
        if recorder is None:
            return
        if not self._recording.is_followed:
            recorder.step()
        if state.epoch is not None:
            recorder.log(epoch=max(math.ceil(state.epoch) - 1, 0))  # at the end of the first epoch it is 1

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Log the loss: its mean over `logging_steps` steps."""
        if self.recorder is not None and "loss" in (logs or {}):
            self.recorder.log(train_loss=logs["loss"])

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the recorder."""
        self._recording.close("complete")
