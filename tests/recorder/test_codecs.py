"""The tables of codecs and of root arrays agree with FORMAT.md, the command's help and the signature."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from click.testing import CliRunner

import recorder.recorder
from recorder import Recorder
from recorder.__main__ import main
from recorder.budget import Budget
from recorder.codecs import BYTES, CODECS, DEFAULT, Codec
from recorder.errors import UsageError
from recorder.names import scalar_path
from recorder.root import LEARNING_RATE, LOGGED, RESERVED, STEP

FORMAT = (Path(recorder.recorder.__file__).parent / "FORMAT.md").read_text(encoding="utf-8")


def described(codec: Codec) -> str:
    """The codecs of float32 chunks as FORMAT.md names them, with what makes blosc lz4."""
    parts = []
    for document in codec.documents(1 if codec is BYTES else 4, 1024):
        settings = document.get("configuration", {})
        detail = f" ({settings['cname']}, {settings['shuffle']})" if "cname" in settings else ""
        parts.append(f"`{document['name']}`{detail}")
    return ", ".join(parts)


@pytest.mark.parametrize("codec", [*CODECS.values(), BYTES], ids=lambda codec: codec.name)
def test_the_format_describes_each_codec_as_the_table_does(codec):
    name = "any" if codec is BYTES else f"`{codec.name}`"
    assert f"| {name} | {described(codec)} | {codec.purpose} |\n" in FORMAT


def test_the_format_describes_no_other_codec():
    choices = re.search(r"\| `compression` \| string \| (.*) \|", FORMAT)
    assert choices is not None
    assert re.findall(r"`(\w+)`", choices[1]) == list(CODECS)
    table = FORMAT[FORMAT.index("| `compression` | codecs |") :].partition("\n\n")[0]
    assert len(table.splitlines()) == 2 + len(CODECS) + 1


def test_the_signature_and_the_help_name_each_codec():
    assert get_args(get_type_hints(Recorder.__init__)["compression"]) == tuple(CODECS)
    assert inspect.signature(Recorder).parameters["compression"].default == DEFAULT
    documented = " ".join((Recorder.__doc__ or "").split())
    shown = " ".join(CliRunner().invoke(main, ["plan", "--help"]).output.split())
    for codec in CODECS.values():
        assert f"{codec.name}: {codec.purpose}." in documented
        assert f"{codec.name}: {codec.purpose}." in shown


def test_the_error_names_each_codec(tmp_path):
    with pytest.raises(UsageError) as caught:
        Recorder(tmp_path / "run.zarr", recorder.recorder.nn.Linear(1, 1), compression="zip")
    assert str(caught.value) == f"compression: expected one of {', '.join(map(repr, CODECS))}, got 'zip'."


@pytest.mark.parametrize("array", [STEP, LEARNING_RATE, LOGGED], ids=lambda array: array.name or "logged")
def test_the_format_describes_each_root_array_as_the_table_does(array):
    name = re.escape(f"/{array.name}") if array.name else "/epoch  /loss  …"
    dims = re.escape(f"({', '.join(array.dims)})")
    assert re.search(rf"^{name} +{array.dtype} +{dims} +{re.escape(array.meaning)}$", FORMAT, re.MULTILINE)


def test_the_format_reserves_the_names_that_no_logged_scalar_has_as_its_path():
    reserved = re.search(r"Reserved root names: (.*?)\. ", FORMAT)
    assert reserved is not None
    assert re.findall(r"`(\w+)`", reserved[1]) == list(RESERVED)
    for name in RESERVED:
        assert scalar_path(name) == f"%{ord(name[0]):X}{name[1:]}"
    assert scalar_path("epoch") == "epoch"


def test_a_budget_keeps_the_names_that_spools_of_earlier_versions_hold():
    budget = Budget(chunk_steps=64, file_frames=16, files=12, scalar_columns=66, file_bytes=8192)
    document = {"chunk_steps": 64, "segment_frames": 16, "segments": 12, "scalar_slots": 66, "segment_bytes": 8192}
    assert budget.to_json() == document
    assert Budget.from_json(document) == budget
