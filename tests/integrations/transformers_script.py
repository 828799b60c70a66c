"""A script of a user who trains with transformers: FOLDER train|raise."""

from __future__ import annotations

import sys
from pathlib import Path

from recorder.integrations.transformers import RecorderCallback
from tests.integrations import texts

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    witness = texts.Witness(folder / "truth.pt", raise_at=5 if sys.argv[2] == "raise" else -1)
    texts.train([RecorderCallback(folder / "run.zarr"), witness], 7, folder / "out")
