"""Methods of the accessor that find an array by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import analyzer
from analyzer.errors import SelectionError, TreeError


@pytest.fixture
def logged(make: Callable[..., Path]) -> Path:
    """A run with a loss, an epoch and an accuracy."""
    values = np.arange(100.0)
    return make(scalars={"loss": values, "epoch": values // 20, "val loss": values + 1})


def test_a_scalar_by_its_name(logged: Path) -> None:
    run = analyzer.open_run(logged)
    assert run.thermo.scalar("loss").to_numpy().tolist() == list(range(100))
    assert run.thermo.scalar("val loss").to_numpy().tolist() == list(range(1, 101))
    assert run.thermo.scalar("epoch").to_numpy().tolist() == [n // 20 for n in range(100)]
    assert run.thermo.scalar("loss").chunks is not None, "lazy"


def test_a_scalar_of_a_part_of_a_run(logged: Path) -> None:
    part = analyzer.open_run(logged).isel(step=slice(10, 20))
    assert part.thermo.scalar("loss").to_numpy().tolist() == list(range(10, 20))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("los", "Did you mean loss?"), ("val_loss", "Did you mean val loss?"), ("zzz", "Mend the name")],
)
def test_a_name_that_was_not_logged_is_an_error_that_knows_the_others(logged: Path, name: str, remedy: str) -> None:
    with pytest.raises(SelectionError, match="expected one of those that were logged") as caught:
        analyzer.open_run(logged).thermo.scalar(name)
    assert remedy in str(caught.value)
    assert set(caught.value.available) >= {"loss", "val loss", "epoch"}  # type: ignore[attr-defined]
    assert isinstance(caught.value, LookupError)


def test_a_sweep_has_no_scalar_of_one_run(logged: Path) -> None:
    with pytest.raises(TreeError):
        analyzer.open_sweep([logged]).thermo.scalar("loss")
