"""`run.thermo.stack`: every weight of a run in one lazy array."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import analyzer
from analyzer.errors import SelectionError, TreeError


def test_every_weight_is_found_at_its_place(store: Path, frames: dict[str, np.ndarray]) -> None:
    stacked = analyzer.open_run(store).thermo.stack()
    assert stacked.dims == ("weight", "step")
    assert stacked.chunks is not None
    assert stacked.shape == (sum(values[..., 0].size for values in frames.values()), 100)
    values = stacked.values
    for name, own in frames.items():
        place = stacked["parameter"].values == name
        np.testing.assert_array_equal(values[place], own.reshape(-1, 100))
        np.testing.assert_array_equal(stacked["index"].values[place], np.arange(place.sum()))
    layers = dict(zip(stacked["parameter"].values.tolist(), stacked["layer"].values.tolist(), strict=True))
    assert layers == {p: p.partition(".")[0] if p.startswith("lin") else layers[p] for p in frames}
    assert stacked["step"].values.tolist() == list(range(100))
    assert stacked["epoch"].dims == ("step",)


@pytest.mark.parametrize("changes", [{"chunk_steps": 7}, {"row_cut": 3}, {"compression": "pcodec"}])
def test_the_array_does_not_depend_on_chunks(make: Callable[..., Path], changes: dict[str, object]) -> None:
    one = analyzer.open_run(make("one.zarr")).thermo.stack()
    other = analyzer.open_run(make("other.zarr", **changes)).thermo.stack()
    np.testing.assert_array_equal(one.values, other.values)


def test_nothing_is_read_before_it_is_computed(make: Callable[..., Path]) -> None:
    path = make(chunk_steps=10)
    stacked = analyzer.open_run(path).thermo.stack()
    for chunk in (path / "parameters" / "lin" / "weight" / "c").rglob("*"):
        if chunk.is_file() and chunk.name != "0":
            chunk.unlink()
    early = stacked.isel(step=slice(0, 10)).compute()
    assert np.isfinite(early).all()
    with pytest.raises(analyzer.AnalyzerError, match="lin/weight"):
        stacked.compute()


def test_velocities_are_stacked_too(store: Path, frames: dict[str, np.ndarray]) -> None:
    """The correlations that a physicist computed by hand, as in the walk."""
    run = analyzer.open_run(store)
    velocities = run.thermo.velocity(start="50%").thermo.stack()
    for name, own in frames.items():
        place = velocities["parameter"].values == name
        truth = np.diff(own.reshape(-1, 100).astype(np.float64))[:, -velocities.sizes["step"] :]
        np.testing.assert_array_equal(velocities.values[place], truth)
    assert velocities.name == "velocity"
    assert velocities.attrs["units"] == "weight step^-1"
    T = run.thermo.temperature(by="model", start="50%")["temperature"].values.item()
    np.testing.assert_allclose(0.5 * float((velocities**2).mean()), T, rtol=1e-12)


def test_a_part_of_the_weights(store: Path) -> None:
    stacked = analyzer.stack(analyzer.open_run(store), parameter="lin.*", exclude="*.bias")
    assert set(stacked["parameter"].values.tolist()) == {"lin.weight"}
    with pytest.raises(SelectionError, match="expected a pattern that matches"):
        analyzer.open_run(store).thermo.stack(layer="conv9")


def test_in_memory_in_memory_out_and_the_widest_dtype(make: Callable[..., Path]) -> None:
    frames = {"a.weight": np.ones((2, 2, 50), np.float32), "b.weight": np.arange(150.0).reshape(3, 50)}
    run = analyzer.open_run(make(parameters=frames, scalars={}))
    stacked = run.load().thermo.stack()
    assert stacked.chunks is None
    assert stacked.dtype == np.float64
    np.testing.assert_array_equal(stacked.values[4:], frames["b.weight"])


def test_a_sweep_is_refused(store: Path) -> None:
    with pytest.raises(TreeError, match=r"stack: expected one run, got a sweep.*thermo\.stack"):
        analyzer.open_sweep([store]).thermo.stack()
