"""Checkpoints in `.safetensors` files. The library checks every claimed size against the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recorder.errors import CheckpointError
from recorder.imports.formats import Array, Checkpoint, Notes, Tensor
from recorder.imports.notes import step_in

_DTYPES = {
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "BOOL": "bool",
    **{f"{sign}{bits}": f"{name}{bits}" for sign, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)},
}  # fmt: skip


class SafetensorsFile:
    """One open file. Lifetime: its mapping."""

    def __init__(self, path: Path, file: Any, torch_file: Any) -> None:
        self._path, self._file, self._torch_file = path, file, torch_file
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        self.tensors: Mapping[str, Tensor] = {
            name: Tensor(tuple(one.get_shape()), _DTYPES.get(kind := str(one.get_dtype()), kind))
            for name, one in slices.items()
        }
        self.notes = Notes(step=step_in(file.metadata() or {}))

    def read(self, name: str) -> Array:
        if self.tensors[name].dtype != "bfloat16":
            return np.asarray(self._file.get_tensor(name))
        import torch  # numpy has no bfloat16

        raw = self._torch_file().get_tensor(name).view(torch.int16)
        return np.asarray(raw.numpy().view(np.uint16))

    def close(self) -> None:
        self._file = self._torch_file = None


def open_file(path: Path, key: str | None) -> Checkpoint:
    """Open a file.

    Raises
    ------
    CheckpointError
        It is damaged, or the library is not installed.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise CheckpointError(
            f"{path}: expected the package safetensors to read it, but it is not installed. Install it: "
            "pip install 'thermotrace[import]'"
        ) from error
    try:
        # Both are context managers. They are closed when nothing holds them any more.
        return SafetensorsFile(path, safe_open(path, framework="np"), lambda: safe_open(path, framework="pt"))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: expected a safetensors file, but it cannot be read ({error}). Leave it out, or copy it again."
        ) from error
