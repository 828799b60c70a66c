"""The two processes, and which packages each of them must not import."""

from __future__ import annotations

import subprocess
import sys


def test_the_training_process_loads_no_codec_and_the_writer_neither_torch_nor_numcodecs():
    """A writer of pcodec, which is the usual one, needs no numcodecs."""
    for begin, others in (
        ("import recorder; recorder.Recorder", ("zarr", "numcodecs", "dask")),
        ("import recorder.writer.__main__", ("torch", "zarr", "numcodecs")),
    ):
        code = f"{begin}; import sys; print([name for name in {others} if name in sys.modules])"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert loaded == "[]\n", begin
