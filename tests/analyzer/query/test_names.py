"""Names: one table has those of our answers, and the names that users give stand beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import analyzer
from analyzer.query.kinds import KINDS
from analyzer.query.names import PREFIX, RESERVED, column_names
from tests.stores import write_store


@given(st.lists(st.one_of(st.sampled_from([*sorted(RESERVED), "a/b", "a_b", "", f"{PREFIX}temperature"]), st.text())))
def test_columns_are_different_and_none_is_ours(names: list[str]) -> None:
    found = column_names(names)
    assert set(found) == set(names)
    assert len(set(found.values())) == len(found)
    assert not set(found.values()) & RESERVED
    assert not any("/" in column or not column for column in found.values())
    for name in found:
        assert found[name] == name or name in RESERVED or "/" in name or not name


def test_a_plain_name_comes_before_one_that_becomes_equal() -> None:
    assert column_names(["a/b", "a_b"]) == {"a/b": f"{PREFIX}a_b", "a_b": "a_b"}
    taken = column_names(["temperature", f"{PREFIX}temperature"])
    assert taken == {"temperature": f"{PREFIX}{PREFIX}temperature", f"{PREFIX}temperature": f"{PREFIX}temperature"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    shapes = {"gat.lin.weight": (6, 4), "gat.att_src": (1, 2, 3), "lin.weight": (4, 6), "lin.bias": (4,)}
    frames = {name: np.cumsum(rng.normal(size=(*shape, 401)), axis=-1) for name, shape in shapes.items()}
    heads = {"gat.lin.weight": {"heads": 2, "head_axis": 0}, "gat.att_src": {"heads": 2, "head_axis": 1}}
    epoch = np.append(0.0, np.repeat(np.arange(20.0), 20))
    scalars = {"epoch": epoch, "loss": rng.normal(size=401)}
    return write_store(
        tmp_path_factory.mktemp("names") / "run.zarr", frames, scalars=scalars, attributes=heads, chunk_steps=256
    )


def test_every_variable_of_an_answer_is_in_the_table(run: Path) -> None:
    """A new name must be added to the table, so that no hyperparameter of that name replaces it."""
    thermo = analyzer.open_run(run).thermo
    answers = [thermo.temperature(by=by) for by in KINDS]
    answers += [thermo.temperature(by={"all": "*"}, window="epoch"), thermo.temperature(lag=[1, "epoch"])]
    answers += [thermo.temperature(lag="epoch"), thermo.velocity_summary(by="row"), thermo.distribution()]
    answers += [thermo.rows(by="row"), thermo.equilibration()]
    for answer in answers:
        assert {str(name) for name in (*answer.variables, *answer.dims)} <= RESERVED | {"learning_rate"}


def test_logged_scalars_may_be_called_as_our_variables(tmp_path: Path) -> None:
    """They stay in the run. No answer has them, and no answer changes because of them."""
    rng = np.random.default_rng(1)
    frames = {"lin.weight": np.cumsum(rng.normal(size=(3, 2, 60)), axis=-1)}
    usual = {"loss": rng.normal(size=60), "learning_rate": np.ones((60, 1))}
    ours = {name: np.full(60, 7.0) for name in [*sorted(RESERVED - {"step", "epoch", "parameters"}), "param_group"]}
    plain, named = (
        analyzer.open_run(write_store(tmp_path / f"{name}.zarr", frames, scalars=scalars, run_id="a" * 32)).thermo
        for name, scalars in (("plain", usual), ("named", usual | ours))
    )
    for ask in (
        lambda thermo: thermo.temperature(by="row"),
        lambda thermo: thermo.velocity_summary(),
        lambda thermo: thermo.equilibration(),
        lambda thermo: thermo.check(only="norm"),
    ):
        one, other = ask(plain), ask(named)
        one.attrs.pop("store", None), other.attrs.pop("store", None)
        xr.testing.assert_identical(one.load(), other.load())
    moving = named.velocity()
    assert moving["temperature"].values.tolist() == [7.0] * 59
    xr.testing.assert_identical(moving["parameters"].to_dataset(), plain.velocity()["parameters"].to_dataset())
