"""Every public error, raised once, with its text: what, expected against found, why, what to do."""

from __future__ import annotations

import pickle
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

import analyzer
from analyzer import errors
from tests.stores import chunk_file, edit_root, segment


def temperature(path: Path, **options: Any) -> xr.Dataset:
    return analyzer.open_run(path).thermo.temperature(**options).compute()


def test_missing_store(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"none\.zarr: expected a store, got nothing at that path\. Check the path"
    ):
        analyzer.open_run(tmp_path / "none.zarr")


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


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.NotATrajectoryError, match=r"expected a store, which is a directory, got a file"):
        analyzer.open_run(tmp_path / "file")


def test_empty_directory_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(errors.NotATrajectoryError, match=r"expected a store with a zarr\.json.*got an empty directory"):
        analyzer.open_run(tmp_path)


def test_plain_zarr_is_no_store(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "plain.zarr", mode="w", attributes={"a": 1})
    with pytest.raises(errors.NotATrajectoryError, match=r"expected a store with the attribute format"):
        analyzer.open_run(tmp_path / "plain.zarr")


def test_newer_format(store: Path) -> None:
    edit_root(store, lambda root: root["attributes"].update(format_version=2))
    with pytest.raises(
        errors.FormatVersionError, match=r"version 1 or older, got 2.*pip install --upgrade thermotrace"
    ):
        analyzer.open_run(store)


def test_truncated_metadata(store: Path) -> None:
    text = (store / "zarr.json").read_text()
    (store / "zarr.json").write_text(text[: len(text) // 2])
    with pytest.raises(
        errors.DamagedStoreError, match=r"expected zarr\.json to hold JSON, got text that ends or breaks"
    ):
        analyzer.open_run(store)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda root: root.pop("consolidated_metadata"), r"expected consolidated metadata"),
        (lambda root: root["consolidated_metadata"]["metadata"].pop("step"), r"expected an array 'step', got none"),
        (lambda root: _node(root).update(shape=[10, 8, 99]), r"lin/weight': expected 100 frames.*got 99"),
        (lambda root: _node(root).update(shape=[10, 100]), r"dimensions of .*lin/weight'"),
        (lambda root: _node(root).update(shape="x"), r"shape of .*expected a list of lengths"),
        (lambda root: _node(root).update(dimension_names=["a", "b", "c"]), r"with 'step' at 2"),
        (lambda root: _node(root).update(chunk_grid={}), r"chunks of .*expected a regular grid"),
        (lambda root: _node(root)["attributes"].pop("layer"), r"expected the attribute 'layer'"),
        (lambda root: root["attributes"].update(chunk_steps=0), r"chunk_steps: expected a positive integer, got 0"),
        (lambda root: root["attributes"].update(stride="x"), r"stride: expected a positive integer"),
        (lambda root: root["attributes"].update(segments=[{}]), r"segments: expected a list"),
        (lambda root: root["attributes"].update(format_version="1"), r"format_version: expected a positive integer"),
        (
            lambda root: _node(root)["attributes"].update(heads=np.inf, head_axis=0),
            r"lin/weight': expected values of the",
        ),
        (lambda root: _node(root)["attributes"].pop("layer"), r"lin/weight': expected the attribute 'layer'"),
    ],
)
def test_damaged_metadata(store: Path, change: Callable[[Any], object], text: str) -> None:
    edit_root(store, change)
    with pytest.raises(errors.DamagedStoreError, match=text):
        analyzer.open_run(store)


def test_metadata_that_is_too_deep(store: Path) -> None:
    """Half a surrogate pair has the whole document searched, as deep as it is."""
    document = (store / "zarr.json").read_text()
    (store / "zarr.json").write_text(document.replace("{", '{"deep": ["\\ud800"' + 5000 * ",[" + 5001 * "]" + ", ", 1))
    with pytest.raises(errors.DamagedStoreError, match="expected zarr.json to hold JSON, got text that ends or breaks"):
        analyzer.open_run(store)


def _node(root: Any) -> Any:
    return root["consolidated_metadata"]["metadata"]["parameters/lin/weight"]


def test_steps_out_of_order(make: Callable[..., Path]) -> None:
    steps = np.arange(100)
    steps[30] = 5
    with pytest.raises(
        errors.DamagedStoreError, match=r"expected strictly increasing steps, got \[29, 5\] at frame 29"
    ):
        analyzer.open_run(make(steps=steps))


@pytest.mark.parametrize("compression", ["none", "pcodec", "lz4"])
def test_corrupt_chunk_names_the_array_and_the_steps(make: Callable[..., Path], compression: str) -> None:
    path = make(compression=compression)
    file = chunk_file(path, "parameters/lin/weight", 0, 0, 2)
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    with pytest.raises(
        errors.CorruptChunkError, match=r"parameters/lin/weight, steps 32 to 47: expected a chunk"
    ) as caught:
        temperature(path)
    assert "--stop 31 or --start 48 or --exclude lin.weight" in str(caught.value)
    assert caught.value.frames == (32, 48)
    # The remedies work.
    assert np.isfinite(temperature(path, stop=31)["temperature"]).all()
    assert np.isfinite(temperature(path, start=48)["temperature"]).all()
    assert np.isfinite(temperature(path, exclude="lin.weight")["temperature"]).all()


def test_truncated_chunk(store: Path) -> None:
    file = chunk_file(store, "parameters/conv1/bias", 0, 6)
    file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(ValueError, match=r"parameters/conv1/bias, steps 96 to 99"):
        temperature(store)


def test_missing_chunk_is_not_read_as_fill(store: Path) -> None:
    chunk_file(store, "parameters/lin/weight", 0, 0, 1).unlink()
    with pytest.raises(
        errors.MissingChunkError, match=r"lin/weight, steps 16 to 31: expected the committed chunk .*c/0/0/1"
    ):
        temperature(store)
    with pytest.raises(FileNotFoundError, match=r"zarr would read it as nan, silently"):
        analyzer.open_run(store)["parameters/lin/weight"].compute()


def test_missing_array(store: Path) -> None:
    shutil.rmtree(store / "parameters/conv1/bias")
    with pytest.raises(errors.MissingChunkError, match=r"parameters/conv1/bias, steps 0 to 15"):
        temperature(store)


def test_missing_steps(store: Path) -> None:
    shutil.rmtree(store / "step")
    with pytest.raises(errors.MissingChunkError, match=r"step, steps of frames 0 to 15.*zarr would read it as -1"):
        analyzer.open_run(store)


def test_replaced_store(make: Callable[..., Path]) -> None:
    run = analyzer.open_run(make(run_id="a" * 32))
    make(run_id="b" * 32)
    with pytest.raises(errors.StoreChangedError, match=r"expected the run a{32}, got b{32}"):
        run.thermo.temperature().compute()


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
