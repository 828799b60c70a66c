"""What a store or a spool says is checked before anything is removed, written, read or waited for."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recorder.budget import plan_budget
from recorder.errors import StoreFormatError
from recorder.schema import Parameter, Plane, Schema
from recorder.spool_files import Session, create_spool
from recorder.writer import recovery
from recorder.writer.trust import Spool, empty_store, find_spool, read_members, refuse_links, remove_spool

BOOT = "this boot"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = tmp_path / "run.zarr"
    (store / "parameters/w").mkdir(parents=True)
    write_root(store, {"recording": {"session": "a" * 32, "spool": str(tmp_path / "spool")}})
    return store


def array(shape: list[int], chunks: list[int] | None = None, **attributes: Any) -> dict[str, Any]:
    """The document of an array, as far as it says its size."""
    return {
        "shape": shape,
        "dimension_names": [*(f"w_{axis}" for axis in range(len(shape) - 1)), "step"],
        "chunk_grid": {"configuration": {"chunk_shape": chunks or [*shape[:-1], 16]}},
        "attributes": attributes,
    }


def write_root(store: Path, attributes: dict[str, Any], **members: Any) -> None:
    arrays = {
        "step": array([7]),
        "parameters": {"attributes": {}},
        "parameters/w": array([3, 7], name="w", original_dtype="float32"),
        "loss": array([7], first_frame=2),
    }
    root = {
        "attributes": {"format": "parameter-trajectory", "format_version": 1, **attributes},
        "consolidated_metadata": {"metadata": arrays | members},
    }
    store.mkdir(parents=True, exist_ok=True)
    (store / "zarr.json").write_text(json.dumps(root))


@pytest.fixture
def session(store: Path) -> Session:
    schema = Schema((Parameter("w", (3,), "float32", "", "", "", "", ("",)),), (Plane("float32", "cpu", 3),))
    budget = plan_budget(schema, 0, chunk_steps=16)
    return Session("a" * 32, str(store), "w-", BOOT, schema, budget, {}, 0, None)


@pytest.fixture
def spool(tmp_path: Path, session: Session) -> Path:
    create_spool(tmp_path / "spool", session)
    return tmp_path / "spool"


def recording(spool: Path | str, session: str = "a" * 32) -> dict[str, Any]:
    return {"spool": str(spool), "session": session}


# -- spools ------------------------------------------------------------------------------------------


def test_the_spool_of_a_store_is_found(store: Path, spool: Path, session: Session) -> None:
    assert find_spool(store, recording(spool), BOOT) == Spool(spool, session, is_of_this_boot=True)
    found = find_spool(store, recording(spool), "the next boot")
    assert isinstance(found, Spool)
    assert not found.is_of_this_boot


def test_a_store_that_was_moved_finds_its_spool_and_a_copy_does_not(
    store: Path, spool: Path, tmp_path: Path, session: Session
) -> None:
    copy = tmp_path / "copy.zarr"
    copy.mkdir()
    assert "this store is a copy of it: they stay there" in str(find_spool(copy, recording(spool), BOOT))
    store.rename(tmp_path / "moved.zarr")
    assert isinstance(find_spool(tmp_path / "moved.zarr", recording(spool), BOOT), Spool)


def test_a_folder_that_is_no_spool_of_this_store_is_left_alone(
    store: Path, spool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(spool)
    (tmp_path / "thesis").mkdir(mode=0o700)
    (tmp_path / "open").mkdir(mode=0o755)
    for claim, expected in {
        tmp_path / "link": "it is no folder",
        tmp_path / "thesis": "its session.json cannot be read",
        tmp_path / "open": "others may write or read it",
        tmp_path / "nowhere": "is gone",
        "": "names no spool",
        "a\0b": "is gone",
    }.items():
        assert expected in str(find_spool(store, recording(claim), BOOT))
    assert "another recording made it" in str(find_spool(store, recording(spool, "b" * 32), BOOT))
    assert "names no spool" in str(find_spool(store, {"spool": ["x"]}, BOOT))
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert "belongs to another user" in str(find_spool(store, recording(spool), BOOT))


@pytest.mark.parametrize("document", ["{}", "[]", "nonsense", '{"spool_version": 2}', "[" * 100_000])
def test_a_session_that_cannot_be_read_is_a_sentence(store: Path, spool: Path, document: str) -> None:
    (spool / "session.json").write_text(document)
    if document == "{}":  # no version is the first one
        with pytest.raises(StoreFormatError, match="another version of thermotrace filled it"):
            find_spool(store, recording(spool), BOOT)
    else:
        assert "its session.json cannot be read" in str(find_spool(store, recording(spool), BOOT))


def test_only_a_spools_own_files_are_removed(spool: Path) -> None:
    remove_spool(spool)
    assert not spool.exists()
    spool.mkdir()
    for name in ("session.json", "segment-03", "control", "thesis.tex"):
        (spool / name).touch()
    remove_spool(spool)
    assert [path.name for path in spool.iterdir()] == ["thesis.tex"]


def test_replacing_a_store_removes_no_folder_that_it_names(store: Path, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir(mode=0o700)
    (thesis / "thesis.tex").write_text("five years of work")
    recovery._replace(store, {"recording": recording(thesis)}, lambda sentence: None)
    assert (thesis / "thesis.tex").read_text() == "five years of work"
    assert list(store.iterdir()) == []


def test_replacing_a_store_removes_its_spool(store: Path, spool: Path) -> None:
    recovery._replace(store, {"recording": recording(spool)}, lambda sentence: None)
    assert not spool.exists()


# -- stores ------------------------------------------------------------------------------------------


def test_members_of_a_store(store: Path) -> None:
    members = read_members(store)
    assert (members.frames, members.param_groups, members.scalars) == (7, 0, {"loss": 2})
    assert members.parameters == {"w": ([3], "float32")}
    assert members.levels == {"step", "parameters", "loss"}


@pytest.mark.parametrize(
    "path", ["../mine.zarr", "/etc/x", "a/../../b", "", "parameters//w", "./x", "a\0b", "zarr.json/c"]
)
def test_a_path_out_of_the_store_is_refused(store: Path, path: str) -> None:
    write_root(store, {}, **{path: {"shape": [7], "attributes": {"first_frame": 0}}})
    with pytest.raises(StoreFormatError, match=r"expected paths of arrays inside the store.*Nothing was touched"):
        read_members(store)


@pytest.mark.parametrize("members", [
    {"step": {}}, {"step": {"shape": []}}, {"step": {"shape": [-1]}}, {"step": {"shape": [True]}}, {"step": None},
    {"learning_rate": {"shape": [7]}}, {"loss": {"attributes": {"first_frame": "0"}}}, {"x": []},
    {"a/b": {"attributes": {"first_frame": 0}}}, {"parameters/w": {"attributes": {"name": "w", "original_dtype": "x"}}},
    {"step": {"shape": [1 << 70]}}, {"step": array([10**17])}, {"x": array([7, 7], [16])}, {"x": array([7], [0])},
    {"x": array([10**9, 7], [1, 16])}, {"x": array([7]) | {"dimension_names": ["row"]}}, {"x": {"shape": [7]}},
    {"x": array([7]) | {"dimension_names": ["step", "step"]}}, {"x": array([7]) | {"chunk_grid": {}}},
])  # fmt: skip
def test_damaged_metadata_is_an_error_of_the_store(store: Path, members: dict[str, Any]) -> None:
    write_root(store, {}, **members)
    with pytest.raises(StoreFormatError, match=r"cannot be understood .* Nothing was touched"):
        read_members(store)


def test_a_folder_that_is_a_link_is_refused(store: Path, tmp_path: Path) -> None:
    refuse_links(store)
    (tmp_path / "elsewhere").mkdir()
    (store / "parameters/conv1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreFormatError, match=r"parameters/conv1 is a link to .*elsewhere"):
        refuse_links(store)


@pytest.mark.parametrize("path", [
    "notes.txt", ".env", ".git/config", "thesis/chapter.tex", "thesis/c/chapter.tex", "parameters/notes.txt",
    "parameters/conv1/weight/c/0/figure.png", "loss/17", "loss/c/.17", "thesis/.profile",
])  # fmt: skip
def test_a_store_is_not_emptied_of_files_of_others(store: Path, path: str) -> None:
    """Also where its metadata calls their folder an array."""
    write_root(store, {}, thesis=array([7], first_frame=0))
    (store / path).parent.mkdir(parents=True, exist_ok=True)
    (store / path).write_text("mine")
    before = sorted(store.rglob("*"))
    named = re.escape(path.split("/")[0] if path.startswith(".git/") else path)
    with pytest.raises(StoreFormatError, match=rf"it also holds '{named}'\. Nothing was removed"):
        empty_store(store, read_members(store).levels)
    assert sorted(store.rglob("*")) == before


@pytest.mark.parametrize("path", [".zarr.json.tmp", "loss/c/0", "loss/c/.0.tmp", "parameters/zarr.json", ".DS_Store"])
def test_what_a_writer_leaves_goes_with_the_store(store: Path, path: str) -> None:
    write_root(store, {}, loss=array([7], first_frame=0))
    (store / path).parent.mkdir(parents=True, exist_ok=True)
    (store / path).write_text("left")
    empty_store(store, read_members(store).levels)
    assert list(store.iterdir()) == []


def test_a_store_is_emptied_of_its_own_arrays_only(store: Path, tmp_path: Path) -> None:
    (store / "notes.txt").write_text("mine")
    with pytest.raises(StoreFormatError, match=r"it also holds 'notes.txt'\. Nothing was removed"):
        empty_store(store, read_members(store).levels)
    assert (store / "zarr.json").exists()
    (store / "notes.txt").unlink()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    (store / "loss").symlink_to(tmp_path / "precious")
    (store / "parameters/link").symlink_to(tmp_path / "precious")
    empty_store(store, read_members(store).levels)
    assert list(store.iterdir()) == []
    assert (tmp_path / "precious/file").exists()


# -- files -------------------------------------------------------------------------------------------


def test_a_spool_of_another_session_stays_when_a_store_is_replaced(store: Path, spool: Path, session: Session) -> None:
    replace(session, session="b" * 32).save(spool)
    recovery._replace(store, {"recording": recording(spool)}, lambda sentence: None)
    assert (spool / "session.json").exists()
