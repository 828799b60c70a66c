"""Answers as netCDF files, with names that netCDF allows. A full disk is noticed before HDF5 begins to write."""

from __future__ import annotations

import io
import itertools
import os
import unicodedata
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.text import storable, variable_name

if TYPE_CHECKING:
    import xarray as xr

_A_TEXT = 64
"""Bytes that HDF5 needs for a text besides its characters: a reference, and an entry in a heap."""
_A_VARIABLE = 1 << 14
"""Most bytes that it needs for a variable besides its values and attributes."""


def write_netcdf(answer: xr.Dataset, part: Path) -> None:
    """Write an answer that is in memory to the empty file `part`, into space that is reserved first.

    Raises
    ------
    OSError
        There is not enough space.
    """
    held = storable_dataset(answer)
    if not part.is_file():  # HDF5 seeks in what it writes, which a pipe or a device cannot
        memory = io.BytesIO()
        _dump(held, memory)
        part.write_bytes(memory.getbuffer())
        return
    with part.open("r+b", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, room_of(held))
        space = _Space(file)
        _dump(held, space)
        file.truncate(space.size)


def _dump(dataset: xr.Dataset, file: Any) -> None:
    import h5netcdf
    from xarray.backends import H5NetCDFStore

    store: Any = H5NetCDFStore(h5netcdf.File(file, "w"))
    try:
        dataset.dump_to_store(store)
    finally:
        store.close()


class _Space(io.RawIOBase):
    """A file whose space is already reserved, but which looks empty to HDF5. Lifetime: one writing.

    If a write fails inside HDF5, the process crashes when it ends. The space must be reserved behind the back of HDF5:
    it would truncate the file when it creates it.
    """

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.size = self._place = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(self.size - self._place, 0)]
        count = os.preadv(self._file.fileno(), [view], self._place)
        self._place += count
        return count

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            done += os.pwrite(self._file.fileno(), view[done:], self._place + done)
        self._place += done
        self.size = max(self.size, self._place)
        return done

    def truncate(self, size: int | None = None) -> int:
        self.size = self._place if size is None else size
        return self.size


def storable_dataset(dataset: xr.Dataset) -> xr.Dataset:
    """Return the dataset with names and texts that netCDF allows; arrays that need no change are shared."""
    names = _names([*dataset.variables, *dataset.dims])
    held = dataset.rename({name: other for name, other in names.items() if name != other})
    held.attrs = _texts(held.attrs)
    for name in held.variables:
        array = held[name]
        if array.dtype == object:
            texts = {one: storable(one) for one in set(array.values.flat) if isinstance(one, str)}
            if any(one != other for one, other in texts.items()):
                values = np.array([texts.get(one, one) for one in array.values.flat], dtype=object)
                held[name] = array.copy(data=values.reshape(array.shape))
        held[name].attrs = _texts(array.attrs)
    return held


def _names(given: Sequence[Hashable]) -> dict[Hashable, str]:
    """A different name that netCDF allows for each of some names: it allows Unicode in one normal form."""
    plain = {name: unicodedata.normalize("NFC", variable_name(str(name))) for name in given}
    names: dict[Hashable, str] = {}
    taken: set[str] = set()
    for name in sorted(plain, key=lambda name: plain[name] != name):  # those that can stay as they are first
        numbered = itertools.chain([plain[name]], (f"{plain[name]}_{n}" for n in itertools.count(2)))
        names[name] = next(one for one in numbered if one not in taken)
        taken.add(names[name])
    return names


def _texts(attrs: Any) -> dict[Any, Any]:
    return {
        variable_name(str(name)): storable(value) if isinstance(value, str) else value for name, value in attrs.items()
    }


def room_of(dataset: xr.Dataset) -> int:
    """Return the most bytes that the HDF5 file of a dataset needs."""
    room = 1 << 18
    for attrs in (dataset.attrs, *(variable.attrs for variable in dataset.variables.values())):
        room += _A_VARIABLE + sum(_A_TEXT + _length(name) + _length(value) for name, value in attrs.items())
    for variable in dataset.variables.values():
        texts = variable.dtype.kind in "OU"
        room += sum(_A_TEXT + _length(one) for one in variable.values.flat) if texts else variable.nbytes
    return room + sum(_A_VARIABLE for _ in dataset.dims)


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace")) + 1
    return int(np.asarray(value).nbytes)
