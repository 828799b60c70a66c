"""Names and values of users, through both packages: one table (`tests.contract.names`) says what each makes of them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import analyzer
from analyzer.errors import DamagedStoreError
from analyzer.store.names import is_path, scalar_name
from analyzer.store.schema import read_store
from recorder import Recorder
from recorder.errors import UsageError
from recorder.names import LONGEST_NAME, parameter_path, recorded_name, scalar_path
from recorder.root import check_scalar_name
from recorder.trainer.values import jsonable
from tests.analyzer.shell import invoke
from tests.contract.names import HALF, NO_NAMES, NO_PATHS, PARAMETERS, RECORDED, SCALARS, VALUES, endless
from tests.recorder.runs import open_tree
from tests.stores import write_store


def with_digest(path: str, part: str) -> str:
    """A path of the table, whose zeros stand for the digest of a name."""
    return path.replace("~" + "0" * 16, "~" + hashlib.sha256(part.encode()).hexdigest()[:16])


def small_store(folder: Path) -> Path:
    weights = np.arange(8.0).reshape(2, 4)
    return write_store(folder / "run.zarr", {"layer.bias": weights}, scalars={"loss": np.arange(4.0)})


@pytest.mark.parametrize(("name", "path"), SCALARS.items(), ids=ascii)
def test_a_scalar_has_the_path_of_the_table_and_both_packages_agree_on_it(name, path):
    check_scalar_name(name)
    assert scalar_path(name) == with_digest(path, name)
    assert is_path(scalar_path(name))
    assert scalar_name(scalar_path(name), {"name": name}) == name == recorded_name(name)
    assert len(scalar_path(name).encode()) <= 200


@pytest.mark.parametrize(("name", "recorded"), RECORDED.items(), ids=ascii)
def test_a_name_that_no_store_can_hold_is_recorded_as_one_that_it_can(name, recorded):
    check_scalar_name(name)
    assert recorded_name(name) == recorded
    assert scalar_path(name) == scalar_path(recorded)


def test_a_very_long_name_is_cut_and_stays_apart_from_others():
    names = [recorded_name("é" * 600 + end) for end in "ab"]
    assert names[0] != names[1]
    assert all(len(name.encode()) <= LONGEST_NAME for name in names)


@pytest.mark.parametrize("name", NO_NAMES, ids=repr)
def test_what_is_no_name_is_refused(name):
    with pytest.raises(UsageError, match="expected a name for each value"):
        check_scalar_name(name)


@pytest.mark.parametrize(("name", "path"), PARAMETERS.items(), ids=ascii)
def test_a_parameter_has_the_path_of_the_table(name, path):
    assert parameter_path(name) == with_digest(path, name.partition(".")[0])
    assert is_path(parameter_path(name))


@pytest.mark.parametrize("path", NO_PATHS, ids=ascii)
def test_a_path_that_leads_out_of_the_store_is_damage(tmp_path, path):
    assert not is_path(path)
    store = small_store(tmp_path)
    root = json.loads((store / "zarr.json").read_text())
    members = root["consolidated_metadata"]["metadata"]
    members[path] = members["step"]
    (store / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(DamagedStoreError, match="paths of arrays"):
        read_store(store)


@pytest.mark.parametrize(("value", "expected"), VALUES.values(), ids=list(VALUES))
def test_a_hyperparameter_becomes_the_json_of_the_table(value, expected):
    made = jsonable(value)
    assert made == expected
    assert json.loads(json.dumps(made, allow_nan=False).encode()) == expected
    assert type(made) in (str, int, float, bool, list, dict, type(None))


def test_a_value_that_holds_itself_ends():
    json.dumps(jsonable(endless()), allow_nan=False)


def test_a_store_of_all_names_and_values_is_read_by_name_while_it_grows_and_after_a_resumption(tmp_path):
    names = [*SCALARS, *RECORDED]
    model, store = nn.Linear(2, 2), tmp_path / "run.zarr"
    given = {key: value for key, (value, _) in VALUES.items()}
    for mode in ("w-", "a"):
        with Recorder(store, model, hyperparameters=given, mode=mode, chunk_steps=16) as recorder:
            recorder.start()
            for turn in range(2):
                with torch.no_grad():
                    model.weight.add_(1.0)
                recorder.step()
                recorder.log(**{name: 100 * turn + number for number, name in enumerate(names)})
    held = {scalar.name: scalar for scalar in read_store(store).scalars}
    run, plain = analyzer.open_run(store), open_tree(store)
    assert set(held) == {recorded_name(name) for name in names}
    for number, name in enumerate(names):
        path = held[recorded_name(name)].path
        (variable,) = (v for v, a in run.data_vars.items() if a.attrs["long_name"] == recorded_name(name))
        expected = [np.nan, number, 100 + number, number, 100 + number]
        scalar = run.thermo.scalar(recorded_name(name))
        np.testing.assert_array_equal(scalar.to_numpy(), expected)
        assert (scalar.name, scalar.dims) == (recorded_name(name), ("step",))
        np.testing.assert_array_equal(run[variable].to_numpy(), expected)
        np.testing.assert_array_equal(plain.to_dataset()[path].to_numpy(), expected)
        assert (plain.to_dataset()[path].attrs.get("name") or path) == recorded_name(name)
    assert run["損失"].attrs["long_name"] == "損失"
    assert run.attrs["hyperparameters"] == {key: expected for key, (_, expected) in VALUES.items()}
    known = json.loads(invoke("info", store, "--format", "json").stdout)
    assert set(known["scalars"]) == set(held)
    assert known["last"]["train/loss"] == 100 + names.index("train/loss")
    assert invoke("verify", store).exit_code == 0


def test_parameters_of_all_names_are_read_by_name(tmp_path):
    names = [name for name in PARAMETERS if name.count(".") == 1]
    model = nn.ModuleDict({name.partition(".")[0]: nn.Linear(1, 1, bias=False) for name in names})
    store = tmp_path / "run.zarr"
    for mode in ("w-", "a"):
        with Recorder(store, model, mode=mode) as recorder:
            recorder.start()
            with torch.no_grad():
                model["step"].weight.add_(1.0)
            recorder.step()
    assert [p.name for p in read_store(store).parameters] == names
    answer = analyzer.open_run(store).thermo.temperature(by="parameter", cache=False)
    assert answer["parameter"].to_numpy().tolist() == names
    assert open_tree(store)["step"].to_numpy().tolist() == [0, 1, 2]


def test_a_store_of_version_1_with_such_names_opens(tmp_path):
    """Earlier recorders wrote names as they were, without the attribute, and lone surrogates into attributes."""
    store = small_store(tmp_path)
    root = json.loads((store / "zarr.json").read_text())
    members = root["consolidated_metadata"]["metadata"]
    for name in ("loss\u3000train", "acc\u00a0top1", "loss\u200b", "loss\n", "50%ab"):
        members[name] = members["loss"]
        (store / name).symlink_to(store / "loss")
    root["attributes"]["hyperparameters"] = {"data": HALF, HALF: 1}
    (store / "zarr.json").write_text(json.dumps(root))
    run = analyzer.open_run(store)
    np.testing.assert_array_equal(run["loss\n"].to_numpy(), run["loss"].to_numpy())
    np.testing.assert_array_equal(run["50%ab"].to_numpy(), run["loss"].to_numpy())
    assert run.attrs["hyperparameters"] == {"data": "/data/\\udce9t\\udce9", "/data/\\udce9t\\udce9": 1}
    assert invoke("info", store).exit_code == 0


WITHOUT_UTF8 = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_names_are_recorded_where_python_takes_ascii_for_file_names(tmp_path: Path) -> None:
    """The C locale; a store, a layer and a logged value with names that are no ASCII."""
    code = """
import sys, torch
from recorder import Recorder
assert sys.getfilesystemencoding() == "ascii"
model = torch.nn.ModuleDict({"層": torch.nn.Linear(2, 2)})
for mode in ("w-", "a"):
    with Recorder(sys.argv[1], model, mode=mode) as recorder:
        recorder.start()
        for step in range(5):
            recorder.step()
            recorder.log(**{"損失": step})
"""
    store = tmp_path / "é.zarr"
    (tmp_path / "train.py").write_text(code, "utf-8")
    command = [sys.executable, str(tmp_path / "train.py"), str(store)]
    ended = subprocess.run(command, env=WITHOUT_UTF8, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    run = analyzer.open_run(store)
    assert run.sizes["step"] == 11
    assert run["損失"].values[1:].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    for package, command in (("analyzer", "verify"), ("recorder", "recover")):
        told = subprocess.run(
            [sys.executable, "-m", package, command, str(store)],
            env=WITHOUT_UTF8, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "Traceback" not in told.stderr
        assert told.returncode == 0 or "Set PYTHONUTF8=1, and try again." in told.stderr


def test_a_name_that_this_systems_file_names_lack_is_said_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso-8859-1")
    model = nn.Linear(2, 2)
    with Recorder(tmp_path / "run.zarr", model) as recorder:
        recorder.start()
        for step in range(3):
            recorder.step()
            recorder.log(**{"損失": step, "é": step})
    assert capfd.readouterr().err.count("expected a name that file names in iso-8859-1 can hold") == 1
    assert {"é"} == {name for name in open_tree(tmp_path / "run.zarr") if not name.isascii()}
