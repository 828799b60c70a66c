"""The lookout notices updates that no listed optimizer made, and parameters that came later.

It compares weights where that costs little: before a few of the first steps (host memory only), when `log` is called
again and again without a step, and at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from recorder.errors import RecorderError
from recorder.trainer.feeds.device_feed import DeviceFeed
from recorder.trainer.feeds.host_feed import HostFeed
from recorder.trainer.feeds.ring import as_bytes, as_integers, check_held, look_up
from recorder.trainer.model.selection import Selection, select_parameters
from recorder.trainer.model.wrappers import named_parameters
from recorder.trainer.options import Options
from recorder.trainer.updates.hooks import Rounds
from recorder.trainer.updates.optimizers import listing, named

EARLY_FRAMES = frozenset((2, 3, 6, 7, 11))  # compared before the next step: after 1, 2, 5, 6 and 10 updates
LOGS_WITHOUT_A_STEP = frozenset((10, 100, 1000))  # after so many calls of `log` in a row weights are compared
REMEDY = (
    "Pass every optimizer that changes them (Recorder(store, model, [a, b])), or leave the optimizer out and call "
    "recorder.step() after each update."
)


class Lookout:
    """Looks for what a recording misses, and tells the user once of each. A look that fails finds nothing.

    Lifetime: one recording, from its first frame on.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        selection: Selection,
        options: Options,
        tell: Callable[[str], None],
    ) -> None:
        self._model, self._selection, self._options, self._tell = model, selection, options, tell
        self._optimizers = optimizers
        self._names = [named(optimizers, place) for place in range(len(optimizers))]
        self._known = set(_names(model))
        self._tied = {alias: each.name for each in selection.schema.parameters for alias in each.aliases}
        self._has_told_change = self._has_told_strangers = self._has_told_calls = False
        self._sums = self._sum_up()
        self._look_for_strangers()

    def compare(self, feed: HostFeed | DeviceFeed, *, early: bool = False) -> bool:
        """Compare the weights with the newest frame, and say once if they differ. Tell whether they do.

        Parameters
        ----------
        feed : HostFeed or DeviceFeed
        early : bool
            A step is about to begin: its frame will hold what changed.
        """
        if self._has_told_change or (frame := feed.newest()) is None:
            return self._has_told_change
        feed.catch_up()
        schema = self._selection.schema
        changed = []
        with suppress(Exception):  # the next frame reports a parameter that is gone
            tensors = look_up(schema, self._selection.slots)
            changed = [
                parameter.name
                for parameter, tensor, newest in zip(schema.parameters, tensors, frame, strict=True)
                if not torch.equal(as_bytes(tensor), newest)
            ]
        if changed:
            self._has_told_change = True
            step = f"a step of {listing(self._names)}" if self._names else "a call of recorder.step()"
            effect = "Frames hold the weights as steps leave them" if early else "No frame holds them as they are now"
            self._tell(
                f"{listing(changed)}: changed since the last frame without {step}. {effect}. If the training did it: "
                f"{REMEDY}"
            )
        return bool(changed)

    def _look_for_new(self, names: Sequence[str]) -> None:
        """Name parameters that the model got after recording began, given the names of all that it has now."""
        new = [name for name in names if name not in self._known]
        if not new:
            return
        self._known.update(new)
        try:  # the patterns of the user may leave them out
            chosen = select_parameters(self._model, self._options.include, self._options.exclude).schema.parameters
            wanted = {parameter.name for parameter in chosen}
        except RecorderError:
            wanted = set(new)
        if new := [name for name in new if name in wanted]:
            self._tell(
                f"{listing(new)}: came into the model after recording began, so the store has no place for it. Close "
                "the recorder, and record the larger model into a new store."
            )

    def _look_for_untied(self) -> None:
        """Name tied parameters that became tensors of their own: the store has one array for both."""
        if not self._tied:
            return
        held = {each.name: each.tensor for each in named_parameters(self._model)}
        apart = {alias: name for alias, name in self._tied.items() if held.get(alias) is not held.get(name)}
        for alias, name in apart.items():
            del self._tied[alias]
            self._tell(
                f"{alias}: was the same tensor as {name} when recording began, and is so no longer. Only {name} is "
                "recorded: close the recorder, and record the changed model into a new store."
            )

    def check_structure(self, feed: HostFeed | DeviceFeed) -> None:
        """Walk the model.

        Raises
        ------
        ParameterChangedError
            A parameter is gone, was replaced, or changed its shape, type or device.
        """
        names = check_held(self._model, self._selection.schema, self._selection.slots)
        feed.revalidate()
        self._look_for_new(names)
        self._look_for_untied()
        self._look_for_strangers()  # load_state_dict(assign=True) leaves the old parameters to the optimizer

    def finish(
        self, feed: HostFeed | DeviceFeed, rounds: Rounds | None, updates: int, status: str, *, is_newest: bool
    ) -> None:
        """Look back at the end of the training.

        Parameters
        ----------
        feed : HostFeed or DeviceFeed
        rounds : Rounds, optional
        updates : int
            Whole updates seen.
        status : str
            After an exception the weights may be in the middle of an update.
        is_newest : bool
            The last update has a frame, and no part of the next one was seen.
        """
        self._look_for_new(_names(self._model))
        self._look_for_untied()
        self._look_for_strangers()
        if status == "complete" or not updates:
            if rounds is not None and (partial := rounds.partial):
                self._tell(partial)
            elif is_newest and self.compare(feed):
                return
        feed.catch_up()
        if updates and not self._has_told_strangers and self._has_never_changed():
            seen = f"{updates:,} step{'s' * (updates != 1)}" + (f" of {listing(self._names)}" if self._names else "")
            self._tell(
                f"{listing([parameter.name for parameter in self._selection.schema.parameters])}: never changed in "
                f"{seen}: the temperature is 0. Record the model that is trained, not a copy of it. A learning rate of "
                "0 and frozen parameters leave weights as they are, too."
            )

    def tell_of_calls(self) -> None:
        """Tell the user that a call of `Recorder.step` does nothing beside the hooks of the optimizers."""
        if not self._has_told_calls:
            self._has_told_calls = True
            self._tell(
                f"recorder.step() counts nothing: each step of {listing(self._names)} is recorded already. Leave the "
                "calls out. If something changes the weights after the optimizer's step (a projection, say), leave the "
                "optimizer out of Recorder(…) instead, and call recorder.step() after it."
            )

    def _sum_up(self) -> list[torch.Tensor]:
        """Return a sum of the bits of each parameter, on its device. It waits for no device."""
        with suppress(Exception):
            tensors = look_up(self._selection.schema, self._selection.slots)
            return [as_integers(tensor).sum(dtype=torch.int64) for tensor in tensors]
        return []

    def _has_never_changed(self) -> bool:
        now = self._sum_up()
        return len(now) == len(self._sums) > 0 and all(int(a) == int(b) for a, b in zip(self._sums, now, strict=True))

    def _look_for_strangers(self) -> None:
        """Name optimizers that hold nothing of what is recorded."""
        if not self._optimizers or self._has_told_strangers:
            return
        recorded = _places(slot.owner.get(slot.key) for slot in self._selection.slots)
        held: list[set[int]] = []
        with suppress(Exception):
            held = [_places(p for group in each.param_groups for p in group["params"]) for each in self._optimizers]
        if not held:
            return
        if not any(recorded & places for places in held):
            strangers = self._names
        else:
            model = _places(self._model.parameters())
            strangers = [name for name, places in zip(self._names, held, strict=True) if not model & places]
        if strangers:
            self._has_told_strangers = True
            self._tell(
                f"{listing(strangers)}: holds none of the recorded parameters "
                f"({listing([parameter.name for parameter in self._selection.schema.parameters])}). It moves another "
                "model, or copies of these. Record the model that it trains, list the optimizers of this model only, "
                "or leave the optimizer out and call recorder.step() after each update."
            )


def _names(model: nn.Module) -> list[str]:
    return [held.name for held in named_parameters(model)]


def _places(tensors: Iterable[Any]) -> set[int]:
    """Return numbers that identify parameters: their ids, and the addresses of storages (negative).

    A view into a flat parameter shares its storage.
    """
    places: set[int] = set()
    for tensor in tensors:
        places.add(id(tensor))
        try:
            places.add(-tensor.untyped_storage().data_ptr())
        except (AttributeError, RuntimeError, NotImplementedError):
            continue
    places.discard(0)  # of tensors without memory
    return places
