"""Every public error, raised once, with its text: what, expected against found, why, what to do."""

from __future__ import annotations

import pickle
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import analyzer
from analyzer import errors
from tests.stores import segment


def temperature(path: Path, **options: Any) -> xr.Dataset:
    return analyzer.open_run(path).thermo.temperature(**options).compute()


def test_a_library_that_is_missing_is_named_with_what_brings_it() -> None:
    needed = r"expected the library pandas, got none of that name.*pip install 'thermotrace\[analyzer\]'"
    with pytest.raises(errors.NotInstalledError, match=needed), errors.named_if_missing():
        raise ModuleNotFoundError("No module named 'pandas.io'", name="pandas.io")
    with pytest.raises(ModuleNotFoundError, match="of the user") as caught, errors.named_if_missing():
        raise ModuleNotFoundError("of the user", name="train")
    assert not isinstance(caught.value, errors.AnalyzerError)


def test_the_libraries_are_those_of_the_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = project["optional-dependencies"]["analyzer"]
    assert {re.match(r"[\w-]+", need)[0] for need in listed} == errors.LIBRARIES  # type: ignore[index]


def test_fewer_than_two_frames(make: Callable[..., Path], frames: dict[str, np.ndarray]) -> None:
    few = {name: values[..., :1] for name, values in frames.items()}
    path = make(parameters=few, scalars={})
    with pytest.raises(errors.TooFewFramesError, match=r"expected at least two frames, got 1"):
        temperature(path)


def test_a_run_without_frames(make: Callable[..., Path], frames: dict[str, np.ndarray]) -> None:
    path = make(
        parameters={name: values[..., :0] for name, values in frames.items()}, scalars={}, segments=[segment(0, 0)]
    )
    with pytest.raises(errors.TooFewFramesError, match=r"expected at least two frames, got 0"):
        temperature(path)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"window": 0}, r"--window: expected a positive multiple of the stride \(1 steps\), 'epoch' or 'rate', got 0"),
        ({"window": -5}, r"--window: expected a positive multiple"),
        ({"window": 100}, r"--window: expected at most 99 steps.*got 100"),
        ({"lag": 0}, r"--lag: expected a positive multiple"),
        ({"lag": 100}, r"expected a window with at least one velocity"),
        ({"window": 3, "lag": 4}, r"expected a window with at least one velocity"),
        ({"start": 50, "stop": 40}, r"expected 0 <= start < stop <= 99"),
        ({"stop": 100}, r"expected 0 <= start < stop <= 99"),
        ({"start": "half"}, r"--start: expected a step or a percentage"),
        ({"start": "120%"}, r"--start: expected a step or a percentage"),
        ({"window": "epoch", "steps_per_epoch": 0}, r"--steps-per-epoch: expected a positive number"),
    ],
)
def test_windows_that_a_run_cannot_fill(store: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(errors.WindowError, match=text):
        temperature(store, **options)


def test_range_inside_a_gap(make: Callable[..., Path]) -> None:
    steps = np.arange(100)
    steps[50:] += 100
    with pytest.raises(errors.TooFewFramesError, match=r"expected at least two frames from step 60 to 100, got 0"):
        temperature(make(steps=steps, scalars={}), start=60, stop=100)


def test_epochs_that_were_not_recorded(make: Callable[..., Path]) -> None:
    with pytest.raises(errors.EpochError, match=r"expected a recorded scalar 'epoch'.*--steps-per-epoch"):
        temperature(make(scalars={}), window="epoch")


def test_unequal_epochs(make: Callable[..., Path]) -> None:
    path = make(scalars={"epoch": np.repeat([0.0, 1.0, 2.0, 3.0], [20, 20, 20, 40])})
    with pytest.raises(
        errors.EpochError, match=r"expected epochs of equal length, got 20 to 40 steps.*--unequal-epochs"
    ):
        temperature(path, lag="epoch")
    assert np.isfinite(temperature(path, lag="epoch", unequal_epochs=True)["temperature"]).all()


def test_one_epoch_has_no_displacement(make: Callable[..., Path]) -> None:
    with pytest.raises(errors.EpochError, match=r"expected two complete epochs in a row"):
        temperature(make(scalars={"epoch": np.zeros(100)}), lag="epoch")


def test_unknown_group(store: Path) -> None:
    with pytest.raises(errors.GroupError, match=r"--by: expected one of model, layer, .*got 'rows'"):
        temperature(store, by="rows")
    with pytest.raises(errors.GroupError, match=r"--by head: expected a parameter with attention heads"):
        temperature(store, by="head")
    with pytest.raises(errors.GroupError, match=r"which an earlier group has"):
        temperature(store, by={"a": "conv1*", "b": "*bias"})


@pytest.mark.parametrize("option", ["parameter", "layer", "exclude"])
def test_a_pattern_that_matches_nothing_lists_what_there_is(store: Path, option: str) -> None:
    with pytest.raises(LookupError, match=rf"--{option} 'x\*': expected a pattern that matches one of: conv1.*lin"):
        temperature(store, **{option: "x*"})


def test_everything_excluded(store: Path) -> None:
    with pytest.raises(errors.SelectionError, match=r"expected at least one parameter, got none of"):
        temperature(store, exclude="*")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"convention": "si"}, errors.OptionError, r"expected 'paper' .* or 'md'"),
        ({"mass": 0}, errors.OptionError, r"mass: expected a positive finite number, got 0"),
        ({"mass": {"x": 1.0}}, errors.SelectionError, r"mass 'x': expected a pattern that matches one of"),
        ({"k_B": float("nan")}, errors.OptionError, r"--k-b: expected a positive finite number"),
        ({"memory_limit": 1000}, errors.MemoryLimitError, r"expected at most .*got a projected .*--memory-limit"),
    ],
)
def test_options_outside_their_domain(store: Path, options: dict[str, Any], error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        temperature(store, **options)


def test_objects_that_are_no_run(store: Path) -> None:
    with pytest.raises(errors.TreeError, match=r"expected a DataTree with a coordinate 'step'"):
        analyzer.temperature(xr.DataTree())
    run = analyzer.open_run(store)
    with pytest.raises(errors.TreeError, match=r"expected an array with the dimension 'step'"):
        analyzer.temperature(run.map_over_datasets(lambda ds: ds.mean("step") if "bias" in ds else ds))
    with xr.set_options(keep_attrs=False), pytest.raises(errors.TreeError, match=r"expected the attribute 'name'"):
        analyzer.temperature(run * 2)


def test_unknown_parameter(store: Path) -> None:
    with pytest.raises(errors.SelectionError, match=r"Parameter 'conv9': expected one of: conv1\.lin\.weight"):
        analyzer.open_run(store).thermo.parameter("conv9")


def test_not_a_number_spoils_its_groups_only(make: Callable[..., Path], frames: dict[str, np.ndarray]) -> None:
    broken = {name: values.copy() for name, values in frames.items()}
    broken["lin.weight"][3, 2, 60] = np.nan
    broken["conv1.lin.weight"][0, 0, 75:] = np.inf
    good = temperature(make("good.zarr"), by="row", window=33)
    run = analyzer.open_run(make("bad.zarr", parameters=broken))
    with pytest.warns(analyzer.NonFiniteWarning) as caught:
        bad = run.thermo.temperature(by="row", window=33).compute()
    texts = sorted(str(warning.message) for warning in caught)
    assert [text.split(";")[0] for text in texts] == [
        "conv1.lin.weight: NaN or infinite weights from frame 75 on",
        "lin.weight: NaN or infinite weights from frame 60 on",
    ]
    spoilt = np.zeros(bad["temperature"].shape, dtype=bool)
    label = list(zip(bad["parameter"].values, bad["row"].values, strict=True))
    spoilt[label.index(("lin.weight", 3)), 1] = True
    spoilt[label.index(("conv1.lin.weight", 0)), 2] = True
    assert np.isnan(bad["temperature"].values[spoilt]).all()
    np.testing.assert_array_equal(bad["temperature"].values[~spoilt], good["temperature"].values[~spoilt])


def test_errors_survive_pickling() -> None:
    """A worker process raises them too."""
    error = errors.CorruptChunkError("text", path="a", frames=(1, 2))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.path, again.frames) == ("text", "a", (1, 2))


def test_every_error_derives_from_the_base_and_a_builtin() -> None:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AnalyzerError)
    ]
    for kind in kinds:
        if kind is not errors.AnalyzerError:
            assert any(base.__module__ == "builtins" for base in kind.__bases__), kind


def test_one_filter_is_for_all_warnings() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Warning)]
    assert len(kinds) > 5
    assert all(issubclass(kind, errors.AnalyzerWarning) for kind in kinds)
