"""Answers of several tables: named tuples of Datasets, from which every variable can also be taken by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import xarray as xr


class Tables(tuple[xr.Dataset, ...]):
    """Base of the answers of several tables. They can be indexed by the number of a table or the name of a variable.

    The methods of a Dataset work, on all tables together. Only those that make a pandas frame do not: they would
    combine every row of one table with every row of the others.

    Attributes
    ----------
    whole
        All tables as one Dataset, as a file of netCDF holds them.
    """

    whole: xr.Dataset
    _fields: tuple[str, ...] = ()

    @classmethod
    def of(cls, whole: xr.Dataset) -> Self:
        """Divide a Dataset into the tables."""
        made = cls._make(cls._divided(whole))  # type: ignore[attr-defined]
        made.whole = whole
        return made  # type: ignore[no-any-return]

    @staticmethod
    def _divided(whole: xr.Dataset) -> tuple[xr.Dataset, ...]:
        raise NotImplementedError

    @property
    def attrs(self) -> dict[Any, Any]:
        """The attributes of every table: what was asked, of which run."""
        return self.whole.attrs

    def __getitem__(self, key: Any) -> Any:
        """Return a variable by its name, several by a list of names, or a table by its number."""
        return self.whole[key] if isinstance(key, (str, list)) else super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        return key in self.whole if isinstance(key, str) else any(key is one for one in self)

    def __getattr__(self, name: str) -> Any:
        whole = vars(self).get("whole")
        if whole is not None and name in whole:
            return whole[name]
        if whole is not None and not name.startswith("_") and name not in _CROSSED and hasattr(whole, name):
            return getattr(whole, name)  # the methods of a Dataset: to_netcdf, sortby, sizes, …
        kind, fields = type(self).__name__, self._fields
        raise AttributeError(
            f"{kind}: expected {', '.join(fields)} or the name of a variable, got {name!r}. Each table is a Dataset: "
            f"answer.{fields[0]}.{name}; analyzer.table(answer) is a pandas frame."
        )

    def _repr_html_(self) -> str:
        titles = (f"<h4>{name}</h4>{table._repr_html_()}" for name, table in zip(self._fields, self, strict=True))
        return "".join(titles)

    def sel(self, **places: Any) -> Self:
        """Return the tables at places along their dimensions, by label; as `xarray.Dataset.sel`."""
        return self._changed(lambda whole: whole.sel(**places))

    def isel(self, **places: Any) -> Self:
        """Return the tables at places along their dimensions, by number; as `xarray.Dataset.isel`."""
        return self._changed(lambda whole: whole.isel(**places))

    def compute(self) -> Self:
        """Return the tables in memory. They are there already."""
        return self._changed(xr.Dataset.compute)

    def load(self) -> Self:
        """Return the tables in memory. They are there already."""
        return self.compute()

    def _changed(self, change: Callable[[xr.Dataset], xr.Dataset]) -> Self:
        return type(self).of(change(self.whole))


_CROSSED = ("to_dataframe", "to_pandas", "to_dask_dataframe")
"""Methods of a Dataset that would combine every row of one table with every row of the others."""


class _Rows(NamedTuple):
    rows: xr.Dataset
    tests: xr.Dataset


class RowTables(Tables, _Rows):
    """Rows of parameters, and the test of each parameter.

    Attributes
    ----------
    rows
        Dims (group, window), one group for each row.
    tests
        Dim (tested,), one place for each parameter.
    """

    _fields = _Rows._fields

    @staticmethod
    def _divided(whole: xr.Dataset) -> tuple[xr.Dataset, ...]:
        return whole.drop_dims("tested", errors="ignore"), _with_dim(whole, "tested")


class _Fits(NamedTuple):
    coefficients: xr.Dataset
    points: xr.Dataset


class FitTables(Tables, _Fits):
    """Fits of the groups of a sweep, and the points that they were made from.

    Attributes
    ----------
    coefficients
        Dims (group, coefficient), and the numbers and notes of each fit, dim (group,).
    points
        Dims (group, run): temperatures, and how far they are from the curve.
    """

    _fields = _Fits._fields

    @property
    def hypotheses(self) -> xr.Dataset:
        """The p-values, dims (group, hypothesis); empty if the fit model has no hypothesis."""
        return _with_dim(self.whole, "hypothesis")

    @property
    def alternatives(self) -> xr.Dataset:
        """The comparison with other fit models, dims (group, alternative); empty if none was asked for."""
        return _with_dim(self.whole, "alternative")

    @staticmethod
    def _divided(whole: xr.Dataset) -> tuple[xr.Dataset, ...]:
        rest = whole.drop_dims(["run", "hypothesis", "alternative"], errors="ignore")
        return rest, _with_dim(whole, "run")


def whole_of(answer: xr.Dataset | Tables) -> xr.Dataset:
    """Return an answer as one Dataset."""
    return answer.whole if isinstance(answer, Tables) else answer


def _with_dim(whole: xr.Dataset, dim: str) -> xr.Dataset:
    """Return the variables that have a dimension, with their coordinates."""
    return whole[[name for name, values in whole.data_vars.items() if dim in values.dims]]
