"""Groups on a page: lines, and maps where there are many."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import numpy as np

import analyzer
from analyzer.report import groups
from analyzer.report.content import Gallery, Map
from analyzer.report.curves import temperatures, window_of
from analyzer.report.dynamics import motion
from analyzer.report.subject import Asked, Subject
from tests.analyzer.report.test_page import of_one_run
from tests.stores import write_store


@of_one_run
def test_more_than_eight_groups_are_maps(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    frames = {f"net.{n}.weight": np.cumsum(2.0**n * rng.normal(size=(3, 2, 121)), axis=-1) for n in range(9)}
    attributes = {name: {"layer": name.removesuffix(".weight")} for name in frames}
    steps = np.concatenate([np.arange(61), np.arange(80, 140)])
    store = write_store(tmp_path / "run.zarr", frames, attributes=attributes, steps=steps)
    asked = Asked(points=30)
    subject = Subject(str(store), "run", asked)
    (found, *_) = temperatures(subject, asked)
    assert isinstance(found, Map)
    assert found.title == "Temperature by layer (net.*)"
    assert list(found.row_names) == [str(n) for n in range(9)]
    truth = analyzer.temperature(analyzer.open_run(store), window=window_of(subject.run, 30), errors=False)
    there = np.isfinite(found.values).all(axis=0)
    expected = truth["temperature"].transpose("group", "window").values
    np.testing.assert_array_equal(found.values[:, there], expected[:, np.isfinite(expected).all(axis=0)])
    assert not there.all(), "no frame was recorded in some steps"
    assert len(found.edges) == found.values.shape[1] + 1 == len(found.column_names) + 1
    assert (np.diff(found.edges) > 0).all()
    data = found.data()
    assert data["rowNames"] == list(found.row_names)
    assert data["edges"][0] == 0
    gallery = motion(subject, asked)[0]
    assert isinstance(gallery, Gallery)
    assert [type(figure) for figure in gallery.figures] == [Map, Map]


def test_maps_hold_negative_values() -> None:
    data = Map("", "", "step", np.array([[-1.0, 0.0, 3.0, np.nan]]), "projection", "weight").data()
    assert (data["low"], data["high"], data["log"]) == (-1, 3, False)
    levels = np.frombuffer(b64decode(data["levels"]), "<u2")
    np.testing.assert_allclose((levels[:3] - 1) / 65_533, [0, 0.25, 1], atol=1e-4)
    assert levels[3] == 65_535


def test_gaps_of_windows_are_empty_columns() -> None:
    axis, values = groups.windows(np.array([0, 10, 50]), np.array([10, 20, 60]), np.array([[1.0, 2.0, 3.0]]))
    assert axis.edges is not None
    assert axis.edges.tolist() == [0, 10, 20, 30, 40, 50, 60]
    np.testing.assert_array_equal(values, [[1, 2, np.nan, np.nan, np.nan, 3]])
    np.testing.assert_allclose(groups.halfway(np.array([1.0, 2.0, 4.0]), True), [2**-0.5, 2**0.5, 2**1.5, 2**2.5])
