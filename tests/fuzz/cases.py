"""Random commands on random damage: everything about a case follows from its number."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from click.testing import CliRunner

from analyzer.cli import cli
from tests.stores import write_store

ABROAD = "/tmp/thermotrace-fuzz/escaped"
"""Must never come to be."""
HOSTILE = (
    "",
    " ",
    ".",
    "..",
    "../../escaped",
    ABROAD,
    "a//b",
    "a/../b",
    "step",
    "parameters",
    "zarr.json",
    "c",
    "[red]",
    "[/red]",
    "[bold",
    "[link=file:///]x[/link]",
    "$x^{",
    r"$\frac{a}{",
    "%",
    "%73tep",
    "%s%n{0}{x}",
    "a\x00b",
    "line\nbreak",
    "tab\there",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\r",
    "\u202egnirts",
    "größe.权重.🔥",
    "\ud800",
    "e\u0301",
    "x" * 300,
    "y" * 5000,
    "-1",
    "--help",
    "*",
    "[",
    "NaN",
    "run",
    "group",
    "window",
    "row",
    "layer",
)
"""Names that mean something to a file system, a terminal, a template, a plot, or to the program itself."""
NUMBERS = (
    "0",
    "1",
    "-1",
    "2",
    "3",
    "7",
    "16",
    "20",
    "40",
    "99",
    "100",
    "1e3",
    "0.5",
    "nan",
    "inf",
    "-inf",
    "1e308",
    "1e-320",
    str(2**31),
    str(2**63),
    str(-(2**63) - 1),
    "9" * 400,
    "0x10",
    "١٢",
    "",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    17,
    1.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    2**31,
    2**63,
    10**30,
    -(10**30),
    "",
    "x",
    "float32",
    "complex64",
    "<f4",
    "object",
    "1",
    [],
    {},
    [[]],
    [1],
    [1, 2, 3, 4, 5],
    {"a": 1},
    [None],
    ["step"],
    {"": {}},
)


@dataclass(frozen=True)
class Case:
    """One call of the command line: a store that was damaged in some ways, and the arguments."""

    number: int
    damage: tuple[str, ...]
    arguments: tuple[str, ...]


def write_templates(folder: Path) -> None:
    """Stores to damage: every codec, heads, booleans, gaps, a run without epochs, sums without their trajectory."""
    rng = np.random.default_rng(0)

    def walk(*shape: int, frames: int = 100) -> np.ndarray:
        return np.cumsum(1e-3 * rng.standard_normal((*shape, frames)), axis=-1).astype(np.float32)

    def gcn(frames: int = 100) -> dict[str, np.ndarray]:
        return {"conv1.lin.weight": walk(8, 3, frames=frames), "conv1.bias": walk(8, frames=frames),
                "lin.weight": walk(10, 8, frames=frames), "lin.bias": walk(10, frames=frames)}  # fmt: skip

    scalars = {"epoch": np.repeat(np.arange(5.0), 20), "loss": np.linspace(2, 1, 100)}
    hyper = {"learning_rate": 1e-3, "batch_size": 32, "seed": 0}
    write_store(folder / "plain.zarr", gcn(), scalars=scalars, hyperparameters=hyper, run_id="a" * 32)
    write_store(folder / "pcodec.zarr", gcn(), scalars=scalars, compression="pcodec", run_id="b" * 32, chunk_steps=32)
    gaps = np.arange(100) + 50 * (np.arange(100) > 60)
    write_store(folder / "gaps.zarr", gcn(), steps=gaps, compression="lz4", run_id="c" * 32, status="running")
    attention = {"conv.att": walk(1, 2, 4), "conv.lin.weight": walk(8, 3).astype(np.float16), "step.weight": walk(3, 2)}
    write_store(folder / "heads.zarr", attention, scalars=scalars, run_id="d" * 32, row_cut=3, chunk_steps=64)
    for n, rate in enumerate((1e-3, 2e-3, 3e-3, 4e-3, 6e-3, 8e-3)):
        few = {name: values * np.float32(rate) for name, values in gcn(40).items()}
        path = folder / "sweep" / f"{n}.zarr"
        write_store(path, few, hyperparameters=hyper | {"learning_rate": rate}, run_id=str(n) * 32, chunk_steps=64)
    answered = write_store(folder / "kept.zarr", gcn(), scalars=scalars, run_id="e" * 32)
    assert CliRunner().invoke(cli, ["cache", "fill", str(answered)]).exit_code == 0


def case_of(number: int, templates: Path, folder: Path) -> Case:
    """Makes the case of a number: a copy of a store in `folder`, damaged or not, and a command on it."""
    rng = random.Random(number)
    name = rng.choices(("plain", "pcodec", "gaps", "heads", "sweep", "kept", "moments"), (5, 3, 2, 2, 2, 2, 2))[0]
    folder.mkdir(parents=True)
    if name == "sweep":
        shutil.copytree(templates / "sweep", folder / "sweep")
        victims = [folder / "sweep" / rng.choice(("0.zarr", "2.zarr"))]
        store = rng.choice((str(folder / "sweep" / "*.zarr"), str(victims[0])))
    else:
        store = str(folder / "run.zarr")
        if name != "moments":
            shutil.copytree(templates / f"{'kept' if name == 'kept' else name}.zarr", store)
        victims = [Path(store)]
        if name in ("kept", "moments"):
            shutil.copytree(templates / "kept.zarr.moments", f"{store}.moments")
            victims.append(Path(f"{store}.moments"))
        if name == "moments":
            store, victims = victims[1].as_posix(), victims[1:]
    damage = tuple(_damage(rng, rng.choice(victims)) for _ in range(rng.choices((0, 1, 2), (3, 6, 1))[0]))
    if rng.random() < 0.02:
        store = rng.choice((str(folder), str(folder / "none"), "/dev/null", "memory://x", *HOSTILE))
    arguments = (word.replace("\x00", "") for word in _command(rng, store, folder))  # no process can be given one
    return Case(number, damage, tuple(arguments))


def _damage(rng: random.Random, store: Path) -> str:
    kind = rng.choices((_bytes, _document, _text, _chunk, _huge), (2, 9, 1, 4, 2))[0]
    return kind(rng, store)


def _files(store: Path, pattern: str) -> list[Path]:
    return sorted(path for path in store.rglob(pattern) if path.is_file())


def _bytes(rng: random.Random, store: Path) -> str:
    """Bytes of any file flipped, cut off, added, or the file gone."""
    return _broken(rng, rng.choice(_files(store, "*") or [store / "zarr.json"]))


def _chunk(rng: random.Random, store: Path) -> str:
    """The same, of a chunk or of kept sums."""
    files = [path for path in _files(store, "*") if path.name != "zarr.json"]
    return _broken(rng, rng.choice(files or [store / "zarr.json"]))


def _broken(rng: random.Random, file: Path) -> str:
    raw = bytearray(file.read_bytes()) if file.is_file() else bytearray()
    kind = rng.choice(("flip", "cut", "remove", "add", "empty", "folder", "loop", "garbage"))
    if kind == "flip":
        for _ in range(rng.choice((1, 1, 8))):
            if raw:
                raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del raw[rng.randrange(len(raw) + 1) :]
    elif kind == "add":
        raw += rng.randbytes(rng.choice((1, 4, 1000)))
    elif kind == "empty":
        raw.clear()
    elif kind == "garbage":
        raw = bytearray(rng.randbytes(len(raw)))
    file.unlink(missing_ok=True)
    if kind == "folder":
        file.mkdir(parents=True)
    elif kind == "loop":
        file.symlink_to(file.name)
    elif kind != "remove":
        file.write_bytes(raw)
    return f"{kind} {file.name}"


def _text(rng: random.Random, store: Path) -> str:
    """A root zarr.json that is another text."""
    file = store / "zarr.json"
    text = rng.choice(
        (
            "",
            "null",
            "[]",
            "{}",
            "1",
            '"x"',
            "[" * 100_000,
            '{"a":' * 5000,
            "1" * 5000,
            "\ufeff{}",
            "NaN",
            "{" + '"attributes": 1}',
            '{"attributes": {"format": "parameter-trajectory"}}',
            '{"attributes": {"format": ["parameter-trajectory"]}}',
        )
    )
    file.write_text(text)
    return f"zarr.json = {text[:40]!r}"


def _document(rng: random.Random, store: Path) -> str:
    """One value of the root's JSON replaced, removed, or its key renamed."""
    return _edited(store, lambda document: _mutation(rng, document))


def _edited(store: Path, change: Callable[[Any], str]) -> str:
    file = store / "zarr.json"
    try:
        document = json.loads(file.read_text())
    except (ValueError, OSError, RecursionError):
        return "nothing: no JSON left"
    done = change(document)
    file.write_text(json.dumps(document))
    return done


def _mutation(rng: random.Random, document: Any) -> str:
    node, trail = document, []
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
        if not keys:
            return "nothing: an empty node"
        deep = [key for key in keys if isinstance(node[key], (dict, list)) and node[key]]
        key = rng.choice(deep if deep and len(trail) < 4 and rng.random() < 0.8 else keys)
        trail.append(str(key)[:40])
        below = node[key]
        if isinstance(below, (dict, list)) and below and rng.random() < 0.85:
            node = below
            continue
        kind = rng.choice(("value", "value", "name", "remove", "rename", "copy"))
        if kind == "remove":
            del node[key]
            value: Any = None
        elif kind in ("rename", "copy") and isinstance(node, dict):
            head = rng.choice(("", "parameters/", "parameters/lin/"))
            value = head + rng.choice(HOSTILE)
            entries = [(value if k == key else k, v) for k, v in node.items()]
            entries += [(key, below)] if kind == "copy" else []
            node.clear()
            node.update(entries)
        else:
            value = rng.choice(HOSTILE) if kind == "name" else rng.choice(VALUES)
            node[key] = value
        return f"{kind} {'.'.join(trail)} -> {str(value)[:60]!r}"


def _huge(rng: random.Random, store: Path) -> str:
    """Metadata that agree with each other on more frames, rows or longer chunks than any memory holds."""
    size = 10 ** rng.choice((6, 9, 12, 17))
    kind = rng.choice(("frames", "rows", "all chunks", "chunk of step", "scalar"))

    def change(document: Any) -> str:
        try:
            nodes = document["consolidated_metadata"]["metadata"]
            arrays = {path: node for path, node in nodes.items() if node["node_type"] == "array"}
            parameters = [node for path, node in arrays.items() if path.startswith("parameters/")]
            if kind == "rows":
                rng.choice(parameters)["shape"][0] = size
            elif kind == "scalar":
                arrays["loss"] |= {
                    "shape": [arrays["loss"]["shape"][0], size],
                    "dimension_names": ["step", "param_group"],
                }
                arrays["loss"]["chunk_grid"]["configuration"]["chunk_shape"].append(rng.choice((1, size)))
            for path, node in arrays.items():
                axis = -1 if path.startswith("parameters/") else 0
                if kind in ("frames", "all chunks", "chunk of step"):
                    node["shape"][axis] = size
                if kind == "all chunks" or (kind == "chunk of step" and path == "step"):
                    node["chunk_grid"]["configuration"]["chunk_shape"][axis] = size
            if kind == "all chunks":
                document["attributes"]["chunk_steps"] = size
        except (KeyError, TypeError, IndexError, AttributeError):
            return "nothing: not such a document any more"
        return f"{size:.0e} {kind}"

    return _edited(store, change)


def _command(rng: random.Random, store: str, folder: Path) -> list[str]:
    names = ("info", "temperature", "velocity", "equilibration", "rows", "fit", "verify", "cache",
             "check", "distribution")  # fmt: skip
    name = rng.choices(names, (2, 6, 3, 2, 3, 2, 2, 2, 2, 2))[0]
    command: click.Command = cli.commands[name]
    words = [name]
    if isinstance(command, click.Group):
        sub = rng.choice(("fill", "show", "drop"))
        command = command.commands[sub]
        words.append(sub)
    words.append(store)
    options = [option for option in command.params if isinstance(option, click.Option)]
    for option in rng.sample(options, min(len(options), rng.choices(range(6), (3, 4, 4, 3, 2, 1))[0])):
        words.append(option.opts[0])
        if not option.is_flag:
            words.append(_value(rng, option, folder))
    if rng.random() < 0.01:
        words.append(rng.choice(HOSTILE))
    return words


def _value(rng: random.Random, option: click.Option, folder: Path) -> str:
    """A value for an option: in three of four cases a sensible one."""
    nonsense = rng.random() < 0.25
    name = option.opts[0]
    if nonsense and name in ("--output", "--plot", "--masks", "--cache"):  # what the user names is where it goes
        return str(folder / "out") + rng.choice(HOSTILE).replace("/", "_").replace("\ud800", "\udc80")
    if nonsense:
        return rng.choice((rng.choice(NUMBERS), rng.choice(HOSTILE))).replace("\ud800", "\udc80")
    if isinstance(option.type, click.Choice):
        return str(rng.choice(list(option.type.choices)))
    usual: dict[str, tuple[str, ...]] = {
        "--by": ("model", "layer", "module", "parameter", "row", "column", "output", "input", "head", "element"),
        "--window": ("epoch", "1", "10", "20", "33", "99"),
        "--lag": ("epoch", "1", "2", "20", "98"),
        "--start": ("0", "10", "50%", "auto", "0%", "100%", "61"),
        "--stop": ("99", "80", "50%", "100%", "1"),
        "--steps-per-epoch": ("1", "20", "33", "1000"),
        "--parameter": ("*", "lin.*", "conv*", "*.bias", "l[io]n*", "lin.weight"),
        "--layer": ("*", "lin", "conv*"),
        "--exclude": ("*.bias", "lin.*", "*"),
        "--group": ("a=*", "a=lin.*", "[red]=*.bias", "$x^{=*", "..=*", "a=*.weight", "x\x1b[31m=*"),
        "--mass": ("1", "2.5", "lin*=3", "*=nan", "0", "-1", "inf"),
        "--k-b": ("1", "1.380649e-23", "0", "nan", "1e-320"),
        "--loss": ("loss", "epoch", "step", "learning_rate"),
        "--against": ("learning_rate", "batch_size", "inverse_batch_size", "seed", "run"),
        "--fraction": ("0.2", "0", "1", "0.5", "1e-9"),
        "--memory-limit": ("1GB", "1", "100kB", "64MiB", "1TiB"),
        "--workers": ("1", "2", "64"),
        "--cache": (str(folder / "cache"), str(folder), "/dev/null/x"),
        # A process a worker, five seconds a dead address: tests of their own (tests/analyzer/engine/test_graph.py).
        "--scheduler": ("threads", "nonsense", "[red]", ""),
    }
    if name in usual:
        return rng.choice(usual[name])
    suffixes = {
        "--plot": (".png", ".svg", ".pdf"),
        "--masks": (".npz", ""),
        "--output": (".csv", ".json", ".nc", ".parquet", ".txt", ".zarr", ""),
    }
    if name in suffixes:
        stem = rng.choice((str(folder / "out"), str(folder / "out"), str(folder / "no" / "out"), f"{folder}/"))
        return stem + rng.choice(suffixes[name])
    return rng.choice(NUMBERS)
