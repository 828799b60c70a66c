"""The gallery: each script runs, what its text claims is what it finds, and its picture is like the committed one."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import analyzer
from tests.scripts import Scripts

GALLERY = Path(__file__).parents[2] / "examples" / "gallery"
SCRIPTS = sorted(GALLERY.glob("*.py"))
MOST_LINES = 40
MOST_BYTES = 80_000


def exponent_is_two(folder: Path, found: tuple[float, float, float]) -> None:
    value, low, high = found
    assert low < value < high
    # ⟨v²⟩ = η²σ²·2/(2 − ηλ), with λ = 1/2 for a mean over four outputs: b is 2.01 over these rates.
    assert value == pytest.approx(2.01, abs=0.05)
    assert high - low < 0.1
    for store in sorted(folder.glob("rate-*.zarr")):
        assert_reliable(store)


def rows_differ(folder: Path, found: tuple[str, float]) -> None:
    verdict, ratio = found
    assert verdict == "differ"
    assert ratio > 8
    run = analyzer.open_run(folder / "gcn.zarr")
    assert not run.thermo.rows(parameter="0.lin.weight")["unreliable"].values.any()
    frames = run.thermo.parameter("0.lin.weight").values.astype(np.float64)
    measured = (np.diff(frames) ** 2).mean(axis=(1, 2))
    assert ratio == pytest.approx(measured.max() / measured.min(), rel=1e-6)


def memory_is_that_of_momentum(folder: Path, found: dict[float, list[float]]) -> None:
    lags = np.arange(31)
    assert set(found) == {0.0, 0.9}
    for momentum, values in found.items():
        np.testing.assert_allclose(values, momentum**lags, atol=0.06)
        assert_reliable(folder / f"momentum-{momentum}.zarr")
    assert found[0.9][1] == pytest.approx(0.9, abs=0.01)


def one_order_has_lines(folder: Path, found: dict[str, float]) -> None:
    # White noise of a batch has no line; the lines of one order hold all that its batches differ in.
    assert found["same order"] > 20
    assert 0.5 < found["shuffled"] < 2


def the_walk_is_told_from_the_training(folder: Path, found: dict[str, float]) -> None:
    assert found["random walk"] > 0.8
    assert found["training"] < 0.3


def each_stretch_has_its_equilibrium(folder: Path, found: tuple[list[str], float]) -> None:
    verdicts, ratio = found
    assert verdicts == ["stationary", "stationary"]
    # ⟨v²⟩ as in the sweep: a hundred, times (2 − 0.01 λ)/(2 − 0.1 λ)
    assert ratio == pytest.approx(102.3, rel=0.06)
    assert_reliable(folder / "schedule.zarr", window="rate", start=200)


CLAIMS: dict[str, Callable[[Path, Any], None]] = {
    "temperature_and_rate": exponent_is_two,
    "hot_and_cold_rows": rows_differ,
    "momentum": memory_is_that_of_momentum,
    "epoch_line": one_order_has_lines,
    "walk_or_training": the_walk_is_told_from_the_training,
    "after_a_rate_step": each_stretch_has_its_equilibrium,
}


def assert_reliable(store: Path, **options: Any) -> None:
    """The error bar of the whole model is not flagged."""
    answer = analyzer.open_run(store).thermo.temperature(by="model", **options)
    assert not answer["unreliable"].values.any(), store.name


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("L"), dtype=np.float64)


def blurred(image: np.ndarray) -> np.ndarray:
    """Means of squares of 48 pixels: where the ink is, whatever the last digits are."""
    height, width = (length // 48 for length in image.shape)
    return image[: height * 48, : width * 48].reshape(height, 48, width, 48).mean(axis=(1, 3))


def test_every_script_has_a_claim_that_is_tested() -> None:
    assert [script.stem for script in SCRIPTS] == sorted(CLAIMS)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_short_and_has_a_title_a_text_and_a_small_picture(script: Path) -> None:
    tree = ast.parse(text := script.read_text(encoding="utf-8"))
    title, blank, *rest = (ast.get_docstring(tree) or "").split("\n")
    assert title.endswith(".")
    assert (blank, bool(rest)) == ("", True)
    code = text.split("\n")[tree.body[0].end_lineno :]
    assert len([line for line in code if line.strip()]) <= MOST_LINES
    picture = script.with_suffix(".png")
    assert picture.stat().st_size < MOST_BYTES
    assert pixels(picture).shape[1] == 768


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch_geometric, while it is imported
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_what_a_script_claims_is_what_it_finds(script: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location(f"gallery_{script.stem}", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    CLAIMS[script.stem](tmp_path, module.main(tmp_path))
    drawn, committed = pixels(tmp_path / f"{script.stem}.png"), pixels(script.with_suffix(".png"))
    assert drawn.shape == committed.shape
    assert drawn.std() > 5, "an empty picture"
    np.testing.assert_allclose(blurred(drawn), blurred(committed), atol=64)
    assert np.abs(blurred(drawn) - blurred(committed)).mean() < 4


@pytest.mark.xdist_group("scripts")
def test_a_script_runs_in_the_folder_where_one_is(scripts: Scripts, tmp_path: Path) -> None:
    done = scripts.run(GALLERY / "walk_or_training.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "'random walk': 0.9" in done.stdout
    assert (tmp_path / "walk_or_training.png").is_file()
