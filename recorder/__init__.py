"""Record every optimizer step's parameters into a Zarr store.

The public names are loaded on first use, because the writer process imports this package and must never import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recorder.errors import RecorderError as RecorderError
    from recorder.recorder import Recorder as Recorder
    from recorder.trainer.report import Report as Report

    __version__: str

_HOMES = {"Recorder": "recorder.recorder", "RecorderError": "recorder.errors", "Report": "recorder.trainer.report"}

__all__ = ["Recorder", "RecorderError", "Report", "__version__"]


if not TYPE_CHECKING:  # a checker knows the names above, and no others

    def __getattr__(name: str) -> object:
        if name in _HOMES:
            from recorder.errors import named_if_missing

            with named_if_missing():
                return getattr(import_module(_HOMES[name]), name)
        if name == "__version__":
            from recorder.version import VERSION

            return VERSION
        raise AttributeError(f"module 'recorder' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
