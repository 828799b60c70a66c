"""Checkpoints that `torch.save` wrote. They are always loaded with `weights_only=True`, so no code in them is run.

The format is pickle, which can run any code. If a file needs more than weights and plain values, it is refused, and the
error names what it needs.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recorder.errors import CheckpointError
from recorder.imports.formats import Array, Checkpoint, Tensor
from recorder.imports.notes import notes_in

_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params")
"""Names under which trainers save the weights, in order of preference."""
_GLOBAL = re.compile(r"GLOBAL (\S+) (?:was not an allowed|whose module)")
_MOST_NAMED = 5


class TorchFile:
    """The weights of one file. Lifetime: its mapping, or its memory where it cannot be mapped."""

    def __init__(self, path: Path, content: Mapping[Any, Any], key: str | None) -> None:
        self._path = path
        state, used, others = _state_in(path, content, key)
        self._state = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
        self.tensors: Mapping[str, Tensor] = {
            str(name): Tensor(tuple(value.shape), str(value.dtype).removeprefix("torch."))
            for name, value in self._state.items()
        }
        notes = notes_in(content) if used else notes_in({})
        self.notes = replace(notes, said=(*notes.said, *others))

    def read(self, name: str) -> Array:
        tensor = self._state[name].detach()
        _check_memory(self._path, name, tensor)
        tensor = tensor.contiguous()
        if tensor.dtype == torch.bfloat16:  # numpy has none
            return np.asarray(tensor.view(torch.int16).numpy().view(np.uint16))
        return np.asarray(tensor.numpy())

    def close(self) -> None:
        self._state = {}


def open_file(path: Path, key: str | None) -> Checkpoint:
    """Open a file.

    Raises
    ------
    CheckpointError
        It holds more than weights and plain values, is damaged, or has no weights at `key`.
    """
    content = load(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path}: expected a dictionary of weights, got {type(content).__name__}. Save model.state_dict() with "
            "torch.save."
        )
    return TorchFile(path, content, key)


def load(path: Path) -> Any:
    """Return the content of a file that `torch.save` wrote. Weights are mapped where the file allows it.

    Raises
    ------
    CheckpointError
    """
    is_zip = zipfile.is_zipfile(path)
    if is_zip:
        _check_claims(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whatever torch warns of is refused below
            # Files from before torch 1.6 cannot be mapped.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from error
    except Exception as error:  # torch raises many things for a damaged pickle: KeyError, IndexError, …
        if "TorchScript" in str(error):
            raise _program(path) from error
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path}: expected a file that torch.save wrote, but it cannot be read ({type(error).__name__}: {reason}). "
            "Leave it out, or copy it again."
        ) from error


def _check_claims(path: Path) -> None:
    """Refuse an archive whose members claim more bytes than the file has: torch does not compress them."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(member.file_size for member in archive.infolist())
            is_program = any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CheckpointError(
            f"{path}: expected a file that torch.save wrote, but it cannot be read ({error}). Leave it out, or copy it "
            "again."
        ) from error
    if is_program:  # torch compresses a program's text
        raise _program(path)
    if claimed > size:
        raise CheckpointError(
            f"{path}: expected an archive of at most the file's {size:,} bytes, but its members claim {claimed:,}. "
            "torch.save compresses nothing: somebody made this file to fill memory. Leave it out."
        )


def _program(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path}: expected weights, got a TorchScript program, which is not run. Save its weights: "
        "torch.save(torch.jit.load(FILE).state_dict(), …), on a machine that may run it."
    )


def _refusal(path: Path, error: pickle.UnpicklingError) -> CheckpointError:
    """Return an error that names what a file holds besides weights."""
    try:
        named = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # it reads only files of the newer format, and whole ones
        named = _GLOBAL.findall(str(error))
    named = [name if len(name) <= 100 else name[:99] + "…" for name in named]
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    what = f"needs {', '.join(named[:_MOST_NAMED])}{more}" if named else "holds more"
    return CheckpointError(
        f"{path}: expected weights and plain values only, but it {what}, and reading that could run any code. On a "
        "machine that trusts the file, save the weights alone: torch.save(torch.load(FILE, weights_only=False)"
        "[KEY], …), or model.state_dict() with safetensors.",
        globals=tuple(named),
    )


def _state_in(
    path: Path, content: Mapping[Any, Any], key: str | None
) -> tuple[Mapping[Any, Any], bool, tuple[str, ...]]:
    """Return the weights in the content of a file, whether they lie below its top level, and sentences for the user.

    Raises
    ------
    CheckpointError
    """
    if key:
        found: Any = content
        for part in [key] if key in content else key.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping) or not _is_state(found):
            raise CheckpointError(
                f"{path}: expected weights at --key {key}, got "
                f"{'nothing' if found is None else type(found).__name__}. The file has {_listing(content)}."
            )
        return found, True, ()
    if _is_state(content):
        return content, False, ()
    candidates = [name for name, value in content.items() if isinstance(value, Mapping) and _is_state(value)]
    preferred = [name for name in _KEYS if name in candidates]
    chosen = preferred[:1] or (candidates if len(candidates) == 1 else [])
    if not chosen:
        several = f"weights at {', '.join(map(repr, candidates))}" if candidates else f"{_listing(content)}"
        raise CheckpointError(
            f"{path}: expected weights at one of {', '.join(_KEYS)}, got {several}. Say where they are: --key NAME"
        )
    others = [repr(name)[:60] for name in candidates if name != chosen[0]]
    said = f"read from {chosen[0]!r}; weights lie at {', '.join(others)}, too. To read those: --key NAME"
    return content[chosen[0]], True, (said,) if others else ()


def _is_state(value: Mapping[Any, Any]) -> bool:
    """Tell whether a mapping is a state dict: most of its values are tensors, and all keys are names."""
    tensors = sum(isinstance(one, torch.Tensor) for one in value.values())
    return tensors > 0 and all(isinstance(name, str) for name in value) and 2 * tensors > len(value)


def _listing(content: Mapping[Any, Any]) -> str:
    names = [str(name)[:60] for name in content]
    return (", ".join(map(repr, names[:12])) or "nothing in it") + (f", … ({len(names)} in all)" * (len(names) > 12))


def _check_memory(path: Path, name: str, tensor: torch.Tensor) -> None:
    """Refuse a tensor that claims more elements than its file holds, or that is no plain array."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise CheckpointError(
            f"{path}: {name}: expected a plain array, got a {tensor.layout} tensor on {tensor.device}. Leave it out: "
            f"--exclude {name!r}"
        )
    claimed, held = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
    if claimed > held:
        raise CheckpointError(
            f"{path}: {name}: expected at most the {held:,} bytes that the file holds of it, but its shape "
            f"{tuple(tensor.shape)} claims {claimed:,}. Save the weights again with tensor.contiguous(), or leave it "
            f"out: --exclude {name!r}",
            claimed=claimed,
            held=held,
        )
