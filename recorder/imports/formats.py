"""What an importer must know of a checkpoint, and which function opens which kind of file.

A further format takes one short module. Its function takes a path and the option `--key`, and returns a `Checkpoint`:

    class Hdf5:
        def __init__(self, path):
            self._file = h5py.File(path)
            self.tensors = {name: Tensor(data.shape, str(data.dtype)) for name, data in self._file.items()}
            self.notes = Notes(step=int(self._file.attrs["step"]))

        def read(self, name):
            return self._file[name][...]

        def close(self):
            self._file.close()

    import_checkpoints(["run/"], "run.zarr", formats={".h5": lambda path, key: Hdf5(path)})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named array of a checkpoint, before it is read.

    Attributes
    ----------
    shape : tuple of int
    dtype : str
        Torch's name of the type.
    """

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Notes:
    """What a checkpoint holds besides its weights. Any of it may be missing.

    Attributes
    ----------
    step : int or None
        Updates that were applied before it was saved.
    scalars : mapping of str to float
        Numbers that were saved with it, such as epoch and loss.
    hyperparameters : mapping
    optimizer : tuple of mapping
        For each optimizer its `groups`, as `torch.optim.Optimizer.state_dict` gives them.
    said : tuple of str
        Sentences for the user.
    """

    step: int | None = None
    scalars: Mapping[str, float] = field(default_factory=dict)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    optimizer: tuple[Mapping[str, Any], ...] = ()
    said: tuple[str, ...] = ()


class Checkpoint(Protocol):
    """An open checkpoint: the weights of one step, by name.

    Attributes
    ----------
    tensors : mapping of str to Tensor
        Every array, in the order of the file. To list them allocates nothing as large as an array.
    notes : Notes
    """

    @property
    def tensors(self) -> Mapping[str, Tensor]: ...

    @property
    def notes(self) -> Notes: ...

    def read(self, name: str) -> Array:
        """Return one array; bfloat16 as its raw 16 bits (uint16)."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


Opener = Callable[[Path, str | None], Checkpoint]
"""Opens a file, given the option `--key`. Raises an error of the recorder if the file cannot be used."""

_HOMES = {
    ".safetensors": "recorder.imports.safetensors_files",
    ".pt": "recorder.imports.torch_files",
    ".pth": "recorder.imports.torch_files",
    ".ckpt": "recorder.imports.torch_files",
    ".bin": "recorder.imports.torch_files",
    ".npz": "recorder.imports.numpy_files",
}
SUFFIXES = tuple(_HOMES)


def opener_of(path: Path, formats: Mapping[str, Opener]) -> Opener:
    """Return the function that opens files with a path's suffix. Its module is loaded only now."""
    suffix = path.suffix.lower()
    if suffix in formats:
        return formats[suffix]
    opener: Opener = import_module(_HOMES[suffix]).open_file
    return opener
