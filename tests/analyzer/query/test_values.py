"""Values of hyperparameters as columns: what differs stays different, whatever its type and size."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from analyzer.query.values import column_of, decoded, same

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**400), 10**400), st.text(max_size=4),
    st.floats(allow_nan=False, width=32), st.sampled_from(["1", "true", "0.5", "null", '"1"', 2**63, 2**64 - 1, 2**53]),
)  # fmt: skip


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2**63 - 1], "int64"),
        ([0, 2**64 - 1], "uint64"),
        ([-1, 2**64 - 1], "object"),
        ([10**400, 1], "object"),
        ([1, 0.5], "float64"),
        ([None, 1], "float64"),
        ([None, 2**60 + 1], "object"),
        ([0.5, 10**400], "object"),
        ([True, False], "bool"),
        ([True, None], "object"),
        (["a", None], "object"),
        ([float("nan"), 1], "float64"),
        ([True, 1, "1", None], "object"),
    ],
)
def test_types_of_columns_and_netcdf_holds_them(values: list[Any], kind: str, tmp_path: Path) -> None:
    column, _ = column_of(values)
    assert column.dtype == kind
    xr.Dataset({"seed": ("run", column)}).to_netcdf(tmp_path / "seeds.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "seeds.nc", engine="h5netcdf") as back:
        if None not in values:
            np.testing.assert_array_equal(back["seed"].values, column)


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_what_differs_stays_different(values: list[Any]) -> None:
    back = decoded(*column_of(values))
    for (own, held), other in itertools.product(zip(values, back, strict=True), values):
        if own is not None and other is not None:
            assert same(held, other) == same(own, other)
    exact = [value for value in values if value is not None and not isinstance(value, float)]
    for one, two in itertools.product(exact, repeat=2):
        assert same(one, two) == (type(one) is type(two) and one == two)


def test_integers_are_equal_to_the_last_digit_and_numbers_to_nine() -> None:
    assert same(0.1 + 0.2, 0.3)
    assert same(1, 1.0)
    assert not same(12_345_678_901, 12_345_678_902)
    assert not same(np.uint64(2**64 - 1), 2**64 - 2)
    assert same(np.uint64(2**64 - 1), 2**64 - 1)
    assert same(np.True_, True)
    assert not same(1, True)
    assert not same(1.5, 10**400)
    assert column_of(["0", 0, None])[0].tolist() == ['"0"', "0", None]
