"""One table of names and values: what the recorder makes of them, and what the analyzer must read."""

from __future__ import annotations

import os
from collections import OrderedDict
from enum import IntEnum, StrEnum
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch

HALF = os.fsdecode(b"/data/\xe9t\xe9")
"""A path in Latin-1, as Python holds it: with lone surrogates."""


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Rude:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def endless() -> dict[str, Any]:
    """A mapping that holds itself."""
    held: dict[str, Any] = {}
    held["self"] = held
    return held


SCALARS: dict[str, str] = {
    "loss": "loss",
    "Größe": "Größe",
    "loss train": "loss train",
    "100%": "100%",
    "c": "c",
    "~": "~",
    "$x$": "$x$",
    "損失": "損失",
    "train/loss": "train%2Floss",
    "a\\b": "a%5Cb",
    "train%2Floss": "train%252Floss",
    ".hidden": "%2Ehidden",
    "..": "%2E.",
    "__x": "%5F_x",
    "step": "%73tep",
    "parameters": "%70arameters",
    "learning_rate": "%6Cearning_rate",
    "param_group": "param_group",
    "zarr.json": "%7Aarr.json",
    "attempts": "%61ttempts",
    "loss\u3000train": "loss%E3%80%80train",
    "acc\u00a0top1": "acc%C2%A0top1",
    "loss\u200b": "loss%E2%80%8B",
    "loss\n": "loss%0A",
    "loss\0a": "loss%00a",
    "\x1b[31mloss": "%1B[31mloss",
    "損失" * 43: "損失" * 30 + "損~" + "0" * 16,
    "n" * 200: "n" * 200,
    "n" * 201: "n" * 183 + "~" + "0" * 16,
}
"""Names that are logged, and the paths of their arrays."""

RECORDED: dict[str, str] = {
    "caf\udce9": "caf\\udce9",
    "x" * 1000: "x" * 1000,
}
"""Names that are logged, and the names that a store holds for them."""

NO_NAMES: tuple[Any, ...] = ("", None, 1, b"loss")
"""What is no name."""

PARAMETERS: dict[str, str] = {
    "conv1.lin.weight": "parameters/conv1/lin/weight",
    "step.weight": "parameters/%73tep/weight",
    "__x.weight": "parameters/%5F_x/weight",
    "__a/é.weight": "parameters/%5F_a%2F%C3%A9/weight",
    "a/b~c.weight": "parameters/a%2Fb%7Ec/weight",
    "zarr json\n.weight": "parameters/zarr%20json%0A/weight",
    "é" * 42 + ".weight": "parameters/" + "%C3%A9" * 42 + "/weight",
    "層" * 29 + ".weight": "parameters/" + "%E5%B1%A4" * 26 + "%E5~" + "0" * 16 + "/weight",
}
"""Dotted names of parameters, and the paths of their arrays."""

NO_PATHS = ("", ".", "..", "../step", "parameters/../../x", "a//b", "parameters/a\0b", "n" * 256, "é" * 128)
"""Paths of arrays that lead out of a store, or that no file system holds."""

VALUES: dict[str, tuple[Any, Any]] = {
    "text": ("adam", "adam"),
    "half": (HALF, "/data/\\udce9t\\udce9"),
    "path": (PurePosixPath(HALF), "/data/\\udce9t\\udce9"),
    "nan": (float("nan"), "nan"),
    "infinite": (np.float32("-inf"), "-inf"),
    "seed": (2**64 - 1, 2**64 - 1),
    "huge": (10**300, 10**300),
    "larger": (10**301, "1" + "0" * 301),
    "largest": (16**5000, "0x1" + "0" * 5000),
    "numpy": (np.int64(3), 3),
    "long": (np.longdouble(0.5), 0.5),
    "flag": (np.bool_(True), True),
    "one": (np.array([2.5]), 2.5),
    "several": (np.arange(3), [0, 1, 2]),
    "day": (np.datetime64("2024-02-29"), "2024-02-29"),
    "tensor": (torch.tensor([0.5, 1.5], requires_grad=True), [0.5, 1.5]),
    "half precision": (torch.tensor(0.5, dtype=torch.bfloat16), 0.5),
    "set": ({3, 1, 2}, [1, 2, 3]),
    "tuple": ((1, (2, None)), [1, [2, None]]),
    "enum": (Colour.RED, "red"),
    "level": (Level.LOW, 1),
    "complex": (1 + 2j, "(1+2j)"),
    "keys": ({1: "a", "1": "b", HALF: "c"}, {"1": "a", "'1'": "b", "/data/\\udce9t\\udce9": "c"}),
    "ordered": (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "type": (torch.float32, "torch.float32"),
    "object": (object(), "<object object>"),
    "rude": (Rude(), "<Rude>"),
}
"""Hyperparameters, and the JSON that a store holds for them."""
