"""What the callbacks for trainers have in common: a recorder that opens and closes with the training."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, Literal

from torch import nn

from recorder.errors import UsageError
from recorder.recorder import Recorder
from recorder.trainer.report import Report
from recorder.trainer.updates.optimizers import optimizers_of

_RECORDER = signature(Recorder)


class Recording:
    """The recordings of one callback.

    Lifetime: as the callback. It may see several trainings, one after the other.

    Attributes
    ----------
    recorder : Recorder or None
        The recorder of the current training. `callback.recorder.log(accuracy=…)` logs more.
    report : Report or None
        The report of the training that ended last.
    is_followed : bool
        Whether hooks record the steps. If not, the callback calls `recorder.step()` after each update.
    """

    def __init__(self, store: str | os.PathLike[str], options: Mapping[str, Any]) -> None:
        _RECORDER.bind(store, None, **options)  # a wrong name is known here, before the data are loaded
        self.store, self.options = store, dict(options)
        self.recorder: Recorder | None = None
        self.report: Report | None = None
        self.is_followed = True

    def open(
        self,
        model: nn.Module,
        optimizers: Sequence[Any],
        *,
        step: int | None,
        is_resumed: bool,
        hyperparameters: Mapping[str, Any],
    ) -> Recorder:
        """Open a recorder. One that is still open belongs to a training that ended with an exception, and is closed.

        The hook of a single optimizer records its steps. Several optimizers are only passed on for their learning
        rates, because the callback knows which of their steps make an update. An optimizer whose step does not move the
        model's own weights (DeepSpeed's) is left out.

        Parameters
        ----------
        model : torch.nn.Module
        optimizers : sequence of optimizers
        step : int or None
            The trainer's count of updates, as it was restored.
        is_resumed : bool
            Whether the trainer was restored from a checkpoint.
        hyperparameters : mapping
            Those that the trainer knows. They are used if the user gave none.

        Raises
        ------
        RecorderError
            See `Recorder`.
        """
        self.close("interrupted")
        try:
            torch_optimizers = optimizers_of(optimizers, model)
        except UsageError:
            torch_optimizers = []
        self.is_followed = len(torch_optimizers) == 1
        options = {"hyperparameters": hyperparameters, "user_step": step, **self.options}
        options["mode"] = mode_of(self.options.get("mode"), is_resumed=is_resumed)
        self.recorder = recorder = Recorder(self.store, model, torch_optimizers, **options)
        if not self.is_followed:
            recorder.start()
            recorder._hooks.remove()
        return recorder

    def close(self, status: Literal["complete", "interrupted"]) -> None:
        """Close the recorder, if one is open."""
        recorder, self.recorder = self.recorder, None
        if recorder is not None:
            try:
                if status == "complete":
                    recorder.close()
                else:
                    recorder._leave()  # a failure of the writer must not take the place of the user's exception
            finally:
                self.report = recorder.report


def mode_of(given: str | None, *, is_resumed: bool) -> str:
    """Return the mode of a recording: a training that was restored from a checkpoint goes on in its store.

    An existing store does not decide this, because a second training must not go on in the store of the first.

    Parameters
    ----------
    given : {"w-", "w", "a"}, optional
        The user's choice. "w" replaces the store if the training is new, never if it was restored.
    is_resumed : bool
    """
    return "a" if is_resumed and given in (None, "w") else given or "w-"
