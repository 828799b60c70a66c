"""Names of logged values on their way through spool and store: no name costs a frame or a value."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from recorder.spool_files import ScalarNames
from recorder.trainer.model.selection import select_parameters
from recorder.writer.store import StoreWriter
from tests.recorder.runs import open_tree

BYTES = 1024  # of a name's place in the spool: its length (int64), then its text


@pytest.fixture
def names(tmp_path):
    (tmp_path / "scalars").write_bytes(bytes(7 * BYTES))
    session = SimpleNamespace(param_groups=1, budget=SimpleNamespace(scalar_columns=7))
    made = ScalarNames(tmp_path, session)
    for column, name in enumerate(("loss", "損失" * 166, "train/loss"), start=2):
        made.add(name, column)
    return made


def test_names_are_read_as_they_were_added(names):
    assert names.read() == {"loss": 2, "損失" * 166: 3, "train/loss": 4}
    assert names.damaged == 0


@pytest.mark.parametrize("damage", ["no length", "a length past its place", "a negative length", "no UTF-8"])
def test_a_damaged_name_keeps_its_column(names, damage):
    lengths = names._bytes.cast("q")
    if damage == "no UTF-8":
        names._bytes[BYTES + 8] = 0xFF
    else:
        lengths[BYTES // 8] = {"no length": 0, "a length past its place": 1 << 40, "a negative length": -5}[damage]
    assert names.read() == {"loss": 2, "unreadable_3": 3, "train/loss": 4}
    assert names.damaged == 1


def writer_of(tmp_path, **held: object) -> StoreWriter:
    schema = select_parameters(nn.Linear(1, 1)).schema
    attributes = {"chunk_steps": 16, "compression": "none", "segments": [], "stride": 1}
    return StoreWriter(tmp_path, schema, attributes, param_groups=0, threads=1, **held)  # type: ignore[arg-type]


def test_the_writer_stores_names_that_a_spool_of_an_earlier_recorder_may_hold(tmp_path):
    writer = writer_of(tmp_path, frames=0, scalars={})
    names = ["損失" * 43, "loss\0a", "a/b"]
    writer.append(np.arange(2), {name: np.full(2, n) for n, name in enumerate(names)}, None, [np.zeros((2, 2), "f4")])
    writer.publish({}, status="complete")
    writer.close()
    assert writer.scalar_names == names
    found = {a.attrs["name"]: a.to_numpy().tolist() for a in open_tree(tmp_path).to_dataset().values()}
    assert found == {name: [n, n] for n, name in enumerate(names)}


def test_an_array_of_an_earlier_recorder_keeps_its_path(tmp_path):
    """Earlier, a name such as 50%ab was its own path; now it would be encoded."""
    first = writer_of(tmp_path, frames=0, scalars={"50%ab": 0})
    first.append(np.arange(2), {"50%ab": np.ones(2)}, None, [np.zeros((2, 2), "f4")])
    first.publish({})
    first.close()
    second = writer_of(tmp_path, frames=2, scalars={"50%ab": 0})
    second.append(np.arange(2, 4), {"50%ab": np.ones(2)}, None, [np.zeros((2, 2), "f4")])
    second.publish({}, status="complete")
    second.close()
    assert open_tree(tmp_path)["50%ab"].to_numpy().tolist() == [1, 1, 1, 1]
