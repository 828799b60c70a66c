"""Finds the checkpoints that a user means: files, folders of files, folders of transformers, shards with an index."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recorder.errors import CheckpointError
from recorder.files import read_file
from recorder.imports.formats import SUFFIXES, Array, Checkpoint, Notes, Opener, Tensor, opener_of
from recorder.imports.notes import as_step, optimizers_in
from recorder.names import as_text, user_path

_INDEX = ".index.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "adapter_model.safetensors")
_NOT_WEIGHTS = re.compile(r"(optimizer|scheduler|scaler|rng_state.*|random_states.*|training_args)\.(pt|pth|bin|pkl)")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
_MOST_JSON = 256 << 20  # bytes; trainer_state.json grows with every logged step


@dataclass(frozen=True, slots=True)
class Place:
    """Where one checkpoint is.

    Attributes
    ----------
    path : Path
        A file, or the index of its shards.
    label : str
        The path as the user sees it.
    """

    path: Path
    label: str

    @property
    def folder(self) -> Path:
        """The folder that may hold a trainer's notes."""
        return self.path.parent


def find(paths: Iterable[str | os.PathLike[str]], formats: Mapping[str, Opener]) -> list[Place]:
    """Return the checkpoints at paths: files, folders, patterns. Each file comes once, in the order found.

    Raises
    ------
    CheckpointError
        A path does not exist, or holds no checkpoint.
    """
    suffixes = (*SUFFIXES, *formats)
    found: dict[Path, Place] = {}
    for given in paths:
        text = os.fspath(given)
        expanded = user_path(text)
        if not expanded.exists() and glob.has_magic(text):
            matched = [Path(name) for name in sorted(glob.glob(str(expanded), recursive=True))]  # noqa: PTH207
            members = [place for path in matched for place in _at(path, suffixes)]
        elif expanded.exists():
            members = _at(expanded, suffixes)
        else:
            matched, members = [], []
        if not members:
            there = "nothing there" if not expanded.exists() else f"no file with a suffix of {', '.join(suffixes)}"
            if expanded.is_dir() and any(expanded.rglob("*.distcp")):
                there = (
                    "shards of torch.distributed.checkpoint. Convert them first: python -m "
                    "torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE"
                )
            raise CheckpointError(f"{as_text(text)}: expected checkpoint files, found {there}.")
        for place in members:
            found.setdefault(place.path.resolve(), place)
    return list(found.values())


def _at(path: Path, suffixes: Sequence[str]) -> list[Place]:
    """Return the checkpoints at one path."""
    if path.is_file():
        known = path.suffix.lower() in suffixes or path.name.endswith(_INDEX)
        return [_place(path)] if known else []
    if not path.is_dir():
        return []
    below = sorted(path.iterdir())
    folders = [w for one in below if one.is_dir() and (w := _weights_of(one, suffixes, alone=True)) is not None]
    if (weights := _weights_of(path, suffixes)) is not None:
        files = [weights]  # all other files there belong to it
    else:
        files = [one for one in below if one.is_file() and _is_weights(one, suffixes)]
    return [_place(one) for one in (*files, *folders)]


def _place(path: Path) -> Place:
    return Place(path, as_text(os.path.relpath(path)) if path.is_relative_to(Path.cwd()) else as_text(str(path)))


def _is_weights(path: Path, suffixes: Sequence[str]) -> bool:
    if _NOT_WEIGHTS.fullmatch(path.name) or path.name.startswith("."):
        return False
    if path.name.endswith(_INDEX):
        return True
    is_shard = _SHARD.search(path.name) and any(path.parent.glob("*" + _INDEX))
    return path.suffix.lower() in suffixes and not is_shard


def _weights_of(folder: Path, suffixes: Sequence[str], *, alone: bool = False) -> Path | None:
    """Return the file of weights in a folder that is one checkpoint; else None.

    Parameters
    ----------
    folder : Path
    suffixes : sequence of str
    alone : bool
        A folder with only one file of weights is a checkpoint, whatever the file is called.
    """
    for name in _WEIGHTS:
        for path in (folder / name, folder / (name + _INDEX)):
            if path.is_file():
                return path
    if not alone:
        return None
    files = [one for one in sorted(folder.iterdir()) if one.is_file() and _is_weights(one, suffixes)]
    return files[0] if len(files) == 1 else None


class Shards:
    """A checkpoint in several files, which its index lists. Lifetime: the open files."""

    def __init__(self, index: Path, formats: Mapping[str, Opener], key: str | None) -> None:
        self._parts: dict[str, Checkpoint] = {}
        self.tensors: dict[str, Tensor] = {}
        self._home: dict[str, Checkpoint] = {}
        self.notes = Notes()
        try:
            for name, file in _weight_map(index).items():
                if file not in self._parts:
                    path = index.parent / file
                    self._parts[file] = opener_of(path, formats)(path, key)
                part = self._parts[file]
                if name not in part.tensors:
                    raise CheckpointError(
                        f"{index}: expected {name} in {file}, as the index says, but it is not there. Copy the "
                        "checkpoint again."
                    )
                self.tensors[name], self._home[name] = part.tensors[name], part
        except BaseException:
            self.close()
            raise

    def read(self, name: str) -> Array:
        return self._home[name].read(name)

    def close(self) -> None:
        for part in self._parts.values():
            part.close()


def _weight_map(index: Path) -> dict[str, str]:
    document = _json(index)
    listed = document.get("weight_map")
    is_map = isinstance(listed, dict) and all(isinstance(file, str) for file in listed.values())
    if not listed or not is_map:
        raise CheckpointError(f"{index}: expected an object 'weight_map' with a file for each weight, got none.")
    for file in listed.values():
        if "/" in file or "\0" in file or file in ("", ".", "..") or Path(file).suffix.lower() not in SUFFIXES:
            raise CheckpointError(
                f"{index}: expected names of checkpoint files beside the index, got {file[:100]!r}. Do not use this "
                "index: no trainer writes such a name."
            )
    return dict(listed)


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_file(path, _MOST_JSON))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected JSON, but it cannot be read ({error}). Copy it again.") from error
    return document if isinstance(document, dict) else {}


def open_place(place: Place, formats: Mapping[str, Opener], key: str | None) -> Checkpoint:
    """Open a checkpoint, whatever its layout.

    Raises
    ------
    CheckpointError
    """
    if place.path.name.endswith(_INDEX):
        return Shards(place.path, formats, key)
    return opener_of(place.path, formats)(place.path, key)


def notes_of(place: Place, own: Notes, *, with_optimizer: bool) -> Notes:
    """Return the notes of a checkpoint, together with those in the files that transformers writes beside it.

    Parameters
    ----------
    place : Place
    own : Notes
        Those of the file itself.
    with_optimizer : bool
        Also read the settings of the optimizer, from a large file.
    """
    state = place.folder / "trainer_state.json"
    if place.path.name.removesuffix(_INDEX) not in _WEIGHTS or not state.is_file():
        return own
    document = _json(state)
    step = as_step(document.get("global_step")) if own.step is None else own.step
    scalars = dict(own.scalars)
    if isinstance(epoch := document.get("epoch"), (int, float)):
        scalars["epoch"] = float(epoch)
    history = document.get("log_history")
    for entry in history if isinstance(history, list) else []:
        if isinstance(entry, dict) and entry.get("step") == step:
            scalars |= {
                str(name): float(value)
                for name, value in entry.items()
                if name not in ("step", "epoch", "learning_rate")
                and isinstance(value, (int, float))
                and not isinstance(value, bool)
            }
    optimizer = own.optimizer
    if with_optimizer and (place.folder / "optimizer.pt").is_file():
        from recorder.imports.torch_files import load

        optimizer = tuple(optimizers_in(load(place.folder / "optimizer.pt")))
    settings = {"batch_size": document.get("train_batch_size"), "max_steps": document.get("max_steps")}
    known = {name: value for name, value in settings.items() if isinstance(value, int)}
    return Notes(step, scalars, {**own.hyperparameters, **known}, optimizer, own.said)
