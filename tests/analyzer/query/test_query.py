"""Queries of public functions: a keyword that several functions have is the same in all."""

from __future__ import annotations

import inspect

import pytest

import analyzer
from analyzer.query.query import KEYWORDS, Query, query_of

OWN = {("temperature", "lag"), ("rows", "by")}
"""Keywords that a function has in a way of its own."""


@pytest.mark.parametrize(
    "name",
    [
        "ageing", "check", "distribution", "dynamics", "equilibration", "factors", "modes", "mode_weights", "rows",
        "spectrum", "temperature", "velocity_summary",
    ],
)  # fmt: skip
def test_keywords_are_fields_of_a_query(name: str) -> None:
    fields = inspect.signature(Query).parameters
    shared = [one for one in inspect.signature(getattr(analyzer, name)).parameters.values() if one.name in KEYWORDS]
    assert shared
    for one in shared:
        if (name, one.name) not in OWN:
            assert (one.annotation, one.default) == (fields[one.name].annotation, fields[one.name].default), one.name


def test_other_keywords_do_not_count() -> None:
    asked = query_of({"run": None, "by": "row", "lags": "1:100", "start": 3, "batches": True}, cache=False, start=4)
    assert asked == Query(by="row", start=4, cache=False)
