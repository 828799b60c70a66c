"""Archives of numpy: numbers without axes are notes, claims are checked, objects are refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from recorder.errors import CheckpointError
from recorder.imports.numpy_files import open_file


def test_arrays_and_notes(tmp_path: Path) -> None:
    np.savez(tmp_path / "1.npz", **{"a.weight": np.ones((2, 3)), "step": 40, "loss": 0.5})
    found = open_file(tmp_path / "1.npz", None)
    assert list(found.tensors) == ["a.weight"]
    assert (found.notes.step, found.notes.scalars) == (40, {"loss": 0.5})
    assert np.array_equal(found.read("a.weight"), np.ones((2, 3)))
    found.close()


def test_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "1.npz", w=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CheckpointError, match="Python objects"):
        open_file(tmp_path / "1.npz", None)


@pytest.mark.parametrize("claimed", [(1 << 50,), (3,), (-1,), (2, 1 << 40)])
def test_claims_are_checked_before_anything_is_allocated(tmp_path: Path, claimed: tuple[int, ...]) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": claimed})
    with zipfile.ZipFile(tmp_path / "1.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", header.getvalue() + bytes(16))
    with pytest.raises(CheckpointError, match=r"w\.npy"):
        open_file(tmp_path / "1.npz", None)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "1.npz", w=np.random.default_rng(0).normal(size=1000))
    data = bytearray((tmp_path / "1.npz").read_bytes())
    (tmp_path / "2.npz").write_bytes(data[:200])
    with pytest.raises(CheckpointError):
        open_file(tmp_path / "2.npz", None)
    data[3000] ^= 255
    (tmp_path / "3.npz").write_bytes(data)
    with pytest.raises(CheckpointError):
        open_file(tmp_path / "3.npz", None).read("w")
    (tmp_path / "4.npz").write_bytes(b"")
    with pytest.raises(CheckpointError):
        open_file(tmp_path / "4.npz", None)
