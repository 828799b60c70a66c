"""The root document of a run that is open, while another run takes its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

import analyzer
from analyzer import errors
from analyzer.store import roots
from tests.analyzer.engine.kept.test_contents import answer
from tests.stores import edit_root


def test_replaced_store(make: Callable[..., Path]) -> None:
    run = analyzer.open_run(make(run_id="a" * 32))
    make(run_id="b" * 32)
    with pytest.raises(errors.StoreChangedError, match=r"expected the run a{32}, got b{32}"):
        run.thermo.temperature().compute()


def test_the_root_document_is_read_again_only_when_it_changed(store: Path) -> None:
    run = analyzer.open_run(store)
    answer(run, cache=False)
    with mock.patch.object(roots, "root_text", wraps=roots.root_text) as reader:
        answer(run, cache=False)
        assert not reader.call_args_list
        edit_root(store, lambda root: root["attributes"].update(heartbeat="2026-01-01T00:00:30Z"))
        answer(run, cache=False)
        assert reader.call_args_list
