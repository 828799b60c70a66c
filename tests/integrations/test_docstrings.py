"""The callbacks are documented as the rest is, and their examples run."""

from __future__ import annotations

import doctest
import importlib
import warnings

import pytest
from numpydoc.validate import validate

from tests.test_docstrings import LEFT_OUT

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("library", ["lightning", "transformers"])
def test_a_callback_is_documented_and_its_example_runs(tmp_path, monkeypatch, library):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(library)
        module = importlib.import_module(f"recorder.integrations.{library}")
    name = f"{module.__name__}.RecorderCallback"
    faults = [f"{code}: {text}" for code, text in validate(name)["errors"] if code not in LEFT_OUT]
    assert faults == []
    (example,) = (found for found in doctest.DocTestFinder().find(module) if found.examples)
    assert doctest.DocTestRunner(verbose=False).run(example).failed == 0
