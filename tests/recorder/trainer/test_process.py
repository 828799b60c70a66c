"""The two processes, and which packages each of them must not import."""

from __future__ import annotations

import subprocess
import sys


def test_the_training_process_loads_no_codec_and_the_writer_no_torch(tmp_path):
    code = (
        "import sys, recorder; recorder.Recorder; print([m for m in ('zarr', 'numcodecs', 'dask') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
    code = "import sys, recorder.writer; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )
