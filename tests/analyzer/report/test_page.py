"""`analyzer report`: the page says what the analyzer says, loads nothing, and tells what it cannot show."""

from __future__ import annotations

import glob
import json
import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analyzer
from analyzer import errors
from analyzer.report.equilibrium import equilibrium
from analyzer.report.page import LARGEST, RUN_PARTS, Failure, page
from analyzer.store.schema import read_store
from tests.analyzer.shell import invoke
from tests.stores import chunk_file, segment, write_store

RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
LOADING = {"src", "href", "srcset", "data", "action", "formaction", "poster", "background", "ping", "manifest"}


class Page(HTMLParser):
    """A page taken apart: tables and pictures by section, text, elements. Lifetime: the tests of one page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[list[str]]]] = {}
        self.pictures: dict[str, list[dict[str, Any]]] = {}
        self.notes: dict[str, list[str]] = {}
        self.text = ""
        self._section = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.elements.append((tag, known))
        if tag not in ("meta", "link", "br"):
            self._open.append(tag + (":json" if known.get("type") == "application/json" else ""))
        if tag == "section":
            self._section = str(known["id"])
            for place in (self.tables, self.pictures, self.notes):
                place[self._section] = []
        elif tag == "table":
            self.tables[self._section].append([])
        elif tag == "tr":
            self.tables[self._section][-1].append([])
        elif tag in ("td", "th"):
            self.tables[self._section][-1][-1].append("")
        elif tag == "p" and self._section:
            self.notes[self._section].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().partition(":")[0] == tag

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside in ("td", "th"):
            self.tables[self._section][-1][-1][-1] += data
        elif inside == "script:json":
            self.pictures[self._section].append(json.loads(data))
        elif inside == "p" and self._section:
            self.notes[self._section][-1] += data
        if inside not in ("script", "script:json", "style"):
            self.text += f" {data} "

    def column(self, section: str, title: str, table: int = 0) -> list[str]:
        head, *rows = self.tables[section][table]
        return [row[head.index(title)] for row in rows]


def read(text: str) -> float:
    """The number that a cell begins with, "5.488×10⁻⁸ weight²"; NaN for a dash."""
    if text == "–":
        return np.nan
    found = re.match(r"([−\d.,]+)(?:×10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", text)
    assert found is not None, text
    power = int(found[2].translate(RAISED)) if found[2] else 0
    return float(found[1].replace(",", "").replace("−", "-")) * 10.0**power


def close(shown: list[str], truth: Any, digits: int = 4) -> None:
    np.testing.assert_allclose([read(cell) for cell in shown], truth, rtol=0.51 * 10.0 ** (1 - digits))


def report(tmp_path: Path, *arguments: object) -> Page:
    file = tmp_path / "report.html"
    result = invoke("report", *arguments, "-o", file)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert f"Wrote {file}" in result.stderr
    assert file.stat().st_size < LARGEST
    return Page(file.read_text(encoding="utf-8"))


def walks(seed: int, steps: int, scale: float = 1e-3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)

    def walk(*shape: int) -> np.ndarray:
        heat = scale * np.geomspace(1, 2, shape[0]).reshape(-1, *(1,) * len(shape))
        return np.cumsum(heat * rng.standard_normal((*shape, steps)), axis=-1).astype(np.float32)

    return {"conv1.lin.weight": walk(8, 3), "conv1.bias": walk(8), "lin.weight": walk(10, 8)}


of_one_run = pytest.mark.xdist_group("report of one run")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """700 steps in two segments with a gap, a loss that falls, epochs."""
    steps = np.delete(np.arange(701), np.arange(300, 310))
    frames = {name: values[..., : steps.size] for name, values in walks(1, 701).items()}
    loss = 1 + np.exp(-steps / 100) + 0.01 * np.random.default_rng(2).standard_normal(steps.size)
    return write_store(
        tmp_path_factory.mktemp("long") / "long.zarr",
        frames,
        steps=steps,
        scalars={"loss": loss, "epoch": (steps // 50).astype(float), "learning_rate": np.full(steps.size, 1e-3)},
        segments=[segment(0, 0), segment(300, 310)],
        chunk_steps=64,
        hyperparameters={"learning_rate": 1e-3, "batch_size": 32},
    )


@pytest.fixture(scope="module")
def page_of_long(long: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return report(tmp_path_factory.mktemp("page"), long)


@of_one_run
def test_numbers_are_those_of_the_analyzer(long: Path, page_of_long: Page) -> None:
    page = page_of_long
    run = analyzer.open_run(long)
    truth = run.thermo.temperature(by="layer").compute()
    assert page.column("run-0-temperature", "layer") == list(truth["group"].values)
    for title, name in (
        ("temperature", "temperature"),
        ("± standard error", "standard_error"),
        ("n eff", "n_eff"),
        ("temperature of the drift", "temperature_drift"),
        ("floor", "floor"),
    ):
        close(page.column("run-0-temperature", title), truth[name].values[:, 0])
    found = run.thermo.equilibration(by="layer")
    assert page.column("run-0-equilibrium", "verdict") == found["verdict"].values[:, 0].tolist()
    close(page.column("run-0-equilibrium", "t₀ (step)"), found["equilibrium_step"].values[:, 0], 9)
    for title, name in (("mean from t₀", "mean"), ("drift per step", "drift"), ("g (steps)", "inefficiency")):
        close(page.column("run-0-equilibrium", title), found[name].values[:, 0])
    rows = run.thermo.rows()
    assert page.column("run-0-rows", "parameter") == rows["tested"].values.tolist()
    assert page.column("run-0-rows", "do they differ") == rows["verdict"].values.tolist()
    close(page.column("run-0-rows", "hottest ÷ coldest"), rows["hottest_over_coldest"].values, 3)
    hottest = [cell.split(", ")[0] for cell in page.column("run-0-rows", "hottest rows")]
    first = rows["row"].values[rows["rank"].values[:, 0] == 1]
    assert hottest == [str(row) for row in first]
    checks = run.thermo.check()
    for table, name in enumerate(dict.fromkeys(checks["check"].values.tolist())):
        some = checks.isel(finding=np.flatnonzero(checks["check"].values == name)[:12])
        assert page.column("run-0-checks", "group", table) == [str(g) or "–" for g in some["group"].values]
        assert page.column("run-0-checks", "verdict", table) == [str(v) or "–" for v in some["verdict"].values]
        close(page.column("run-0-checks", "measured", table), some["measured"].values)


def test_curves_are_those_of_the_analyzer(long: Path, page_of_long: Page) -> None:
    page = page_of_long
    run = analyzer.open_run(long)
    (chart,) = page.pictures["run-0-temperature"]
    answer = run.thermo.temperature(by="layer", window=3, errors=False).compute()
    assert 100 < len(chart["x"]) <= 300
    np.testing.assert_allclose(chart["x"], 0.5 * (answer["start_step"] + answer["stop_step"]))
    for line, row in zip(chart["lines"], answer["temperature"].values, strict=True):
        np.testing.assert_allclose(np.array(line["y"], dtype=float), row, rtol=1e-4)
    assert [line["label"] for line in chart["lines"]] == ["conv1", "lin"]
    assert (chart["xTitle"], chart["units"]) == ("step (middle of windows of 3)", "weight² step⁻²")
    stationary = float(run.thermo.equilibration()["equilibrium_step"].max())
    assert chart["marks"] == [[310.0, "resumed"], [stationary, "t₀"]]
    (loss,) = page.pictures["run-0-loss"]
    logged = run["loss"].values
    np.testing.assert_allclose(loss["lines"][0]["y"][0], logged[:3].mean(), rtol=1e-4)
    np.testing.assert_allclose(loss["lines"][0]["high"][-1], logged[690:].max(), rtol=1e-4)
    assert any("learning_rate is 0.001000 throughout" in note for note in page.notes["run-0-loss"])
    ranking, elements = page.pictures["run-0-rows"][:2]
    rows = run.thermo.rows().isel(window=0)
    own = rows.isel(group=rows["parameter"].values == "conv1.lin.weight").sortby("rank")
    np.testing.assert_allclose(ranking["lines"][0]["y"], own["temperature"], rtol=1e-4)
    np.testing.assert_allclose(
        ranking["lines"][0]["high"], own["temperature"] + 1.959964 * own["standard_error"], rtol=1e-4
    )
    assert ranking["lines"][0]["tips"] == [f"row {row}" for row in own["row"].values]
    squares = run.thermo.velocity_summary(by="element", parameter="conv1.lin.weight").compute()
    np.testing.assert_allclose(values_of(elements), squares["mean_squared_velocity"].values[:, 0], rtol=1e-4)


def values_of(data: dict[str, Any]) -> np.ndarray:
    """The numbers of a map, as the page's script finds them."""
    share = (np.frombuffer(b64decode(data["levels"]), "<u2") - 1.0) / 65_533
    return data["low"] * (data["high"] / data["low"]) ** share if data["log"] else data["high"] * share


@of_one_run
def test_factors_are_those_of_the_analyzer(long: Path, page_of_long: Page) -> None:
    page, section = page_of_long, "run-0-factors"
    truth = analyzer.open_run(long).thermo.factors()
    names = truth["tested"].values.tolist()
    assert page.column(section, "parameter") == names
    close(page.column(section, "explained (%)"), 100 * truth["separable_share"].values)
    close(page.column(section, "by chance (%)"), 100 * truth["chance_share"].values, 2)
    pictures = {picture["title"]: picture for picture in page.pictures[section]}
    assert len(pictures) == 3 * len(names)
    for name in names:
        for kind in ("row", "column"):
            own = truth[f"{kind}_factor"].values[truth[f"{kind}_of"].values == name]
            chart = pictures[f"{name}: {kind}s by factor"]
            np.testing.assert_allclose(chart["lines"][0]["y"], np.sort(own)[::-1], rtol=1e-4)
            assert chart["lines"][0]["tips"] == [f"{kind} {n}" for n in np.argsort(-own).tolist()]
        picture = pictures[f"{name}: ratio to the fit"]
        ratio = truth["element_ratio"].values[truth["element_of"].values == name]
        assert (picture["rows"] * picture["columns"], picture["low"] <= ratio.min()) == (ratio.size, True)
        assert picture["high"] == pytest.approx(ratio.max())


@of_one_run
def test_overview(long: Path, page_of_long: Page) -> None:
    page = page_of_long
    words = " ".join(page.text.split())
    for text in (
        "status complete",
        "frames 691, every step",
        "steps 0 to 700",
        "epochs 0 to 14",
        "segments 2 segments",
        "gaps, no frame between steps 299 to 310",
        "learning_rate 0.001",
        "batch_size 32",
    ):
        assert text in words, text
    loss = analyzer.open_run(long)["loss"].values[-1]
    assert f"last loss {loss:.3f} at step 700" in words
    assert page.column("run-0-overview", "weights") == ["24", "8", "80"]
    assert page.column("run-0-overview", "shape") == ["8 × 3", "8", "10 × 8"]


@of_one_run
def test_a_range_is_that_of_temperatures_and_rows(long: Path, tmp_path: Path) -> None:
    page = report(tmp_path, long, "--by", "model", "--start", "350", "--stop", "600")
    truth = analyzer.open_run(long).thermo.temperature(by="model", start=350, stop=600).compute()
    close(page.column("run-0-temperature", "temperature"), truth["temperature"].values[:, 0])
    assert page.column("run-0-temperature", "model") == ["model"]
    assert "Steps 350 to 600." in page.text


@of_one_run
def test_it_loads_nothing(page_of_long: Page) -> None:
    page = page_of_long
    for tag, attrs in page.elements:
        assert tag not in {"link", "iframe", "img", "object", "embed", "base", "form", "audio", "video"}, tag
        for name in LOADING & set(attrs):
            assert str(attrs[name]).startswith("#"), (tag, name, attrs[name])
        assert not any(name.startswith("on") or name == "style" for name in attrs), (tag, attrs)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|WebSocket|import\(|sendBeacon", page.source)
    policy = next(attrs["content"] for tag, attrs in page.elements if attrs.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy


HOSTILE = "</script><script>alert(1)</script>"


def hostile(tmp_path: Path) -> Path:
    """Every name and attribute that a page shows would break out of it."""
    frames = walks(3, 100)
    attack = {
        "conv1.lin.weight": {"name": HOSTILE, "layer": '"><img src=x onerror=alert(2)>', "layer_class": "<b>&amp;"},
        "lin.weight": {"name": "{{ 7*7 }}<!--<script>", "layer": "\u2028'\"</style>"},
    }
    return write_store(
        tmp_path / "<img src=x onerror=alert(3)>.zarr",
        frames,
        scalars={"loss": np.linspace(2, 1, 100), "<svg onload=alert(4)>": np.linspace(0, 1, 100)},
        attributes=attack,
        hyperparameters={
            "<script>alert(5)</script>": "<script>alert(6)</script>",
            "note": "end\x1b[2J\u202efdp",
            "learning_rate": 1e-3,
        },
        status="<u>broken</u>",
    )


def test_hostile_names_are_text(tmp_path: Path) -> None:
    page = report(tmp_path, hostile(tmp_path))
    scripts = [attrs for tag, attrs in page.elements if tag == "script"]
    assert len([attrs for attrs in scripts if attrs.get("type") != "application/json"]) == 1
    assert not {tag for tag, _ in page.elements} & {"img", "svg", "u", "b"}
    assert HOSTILE in page.text
    assert "{{ 7*7 }}<!--<script>" in page.text
    assert "<script>alert(6)</script>" in page.text
    assert HOSTILE not in page.source
    titles = [picture["title"] for picture in page.pictures["run-0-rows"]]
    assert f"{HOSTILE}: rows by temperature" in titles
    assert page.source.count("<script>alert") == 0
    assert r"end\x1b[2J\u202efdp" in page.text
    assert not {"\x1b", "\u202e"} & set(page.source)


def test_a_damaged_chunk_is_told_in_its_place(make: Callable[..., Path], tmp_path: Path) -> None:
    store = make()
    file = chunk_file(store, "parameters/lin/weight", 0, 0, 2)
    file.write_bytes(file.read_bytes()[:-6])
    page = report(tmp_path, store)
    for section in ("temperature", "rows"):
        assert any("lin/weight" in note for note in page.notes[f"run-0-{section}"]), section
    assert "weights" in page.text
    assert len(page.tables["run-0-overview"][-1]) == 5
    (chart,) = page.pictures["run-0-loss"]
    assert len(chart["x"]) == 100


@pytest.mark.parametrize("frames", [0, 1, 2, 5, 41])
def test_short_runs(tmp_path: Path, frames: int) -> None:
    short = {name: values[..., :frames] for name, values in walks(4, 64).items()}
    store = write_store(tmp_path / "short.zarr", short, scalars={"loss": np.linspace(2, 1, frames)}, status="running")
    page = report(tmp_path, store)
    assert len(page.notes) == len(RUN_PARTS)
    assert "The status is running" in page.text
    if frames < 2:
        assert any("frames" in note for note in page.notes["run-0-temperature"])
    else:
        truth = analyzer.open_run(store).thermo.temperature().compute()
        close(page.column("run-0-temperature", "temperature"), truth["temperature"].values[:, 0])
    if frames < 41:
        assert "No series has the 40 samples" in page.text or frames < 2


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    frames = walks(5, 200)
    frames["lin.weight"][3, 2, 120:] = np.nan
    loss = np.linspace(2, 1, 200)
    loss[100:] = np.nan
    page = report(tmp_path, write_store(tmp_path / "nan.zarr", frames, scalars={"loss": loss}))
    assert any("lin.weight: NaN or infinite weights from frame 120" in n for n in page.notes["run-0-temperature"])
    assert page.column("run-0-temperature", "temperature")[1] == "–"
    assert read(page.column("run-0-temperature", "temperature")[0]) > 0
    assert any("100 values of 200 are missing or not finite" in n for n in page.notes["run-0-loss"])
    assert "NaN" not in "".join(json.dumps(p) for some in page.pictures.values() for p in some)


def test_a_model_without_rows_or_loss(tmp_path: Path) -> None:
    store = write_store(tmp_path / "plain.zarr", {"a.bias": walks(6, 90)["conv1.bias"]})
    page = report(tmp_path, store)
    assert page.notes["run-0-rows"] == ["No recorded parameter has rows to compare."]
    assert any("No loss was logged" in note for note in page.notes["run-0-loss"])


@pytest.fixture
def sweep(tmp_path: Path) -> list[Path]:
    """Velocities proportional to η, so that T = a·η² but for chance; three rates, two seeds."""
    return [
        write_store(
            tmp_path / f"run[{rate:g}]-{seed}.zarr",
            walks(10 * seed + n, 257, scale=rate),
            scalars={"loss": np.linspace(2, 1, 257)},
            hyperparameters={"learning_rate": rate, "batch_size": 16, "seed": seed},
        )
        for n, rate in enumerate((1e-3, 2e-3, 4e-3))
        for seed in (0, 1)
    ]


def test_a_sweep_is_fitted(sweep: list[Path], tmp_path: Path) -> None:
    page = report(tmp_path, *sweep)
    assert page.column("runs", "learning rate") == ["0.001"] * 2 + ["0.002"] * 2 + ["0.004"] * 2
    assert page.column("runs", "last loss") == ["1.000"] * 6
    truth = analyzer.open_sweep([glob.escape(str(path)) for path in sweep]).thermo.fit(
        against="learning_rate", model="power"
    )
    assert page.column("fits", "equation") == truth["equation"].values.tolist()
    close(page.column("fits", "b (95% interval)"), truth["value"].sel(coefficient="b").values)
    charts = page.pictures["fits"]
    assert [chart["title"] for chart in charts] == truth["group"].values.tolist()
    for chart, heat in zip(charts, truth["temperature"].values, strict=True):
        points = [line for line in chart["lines"] if line["style"] == "points"]
        shown = {
            tip: y for line in points for tip, y in zip(line["tips"], line["y"], strict=True) if tip and y is not None
        }
        assert set(shown) == set(truth["run"].values)
        np.testing.assert_allclose([shown[run] for run in truth["run"].values], heat, rtol=1e-4)
        curve = next(line for line in chart["lines"] if line["style"] == "line")
        place = chart["x"].index(1e-3)
        assert curve["low"][place] < curve["y"][place] < curve["high"][place]
    assert sum(section.endswith("-rows") for section in page.notes) == 6


def test_one_run_among_several_may_be_beyond_opening(sweep: list[Path], tmp_path: Path) -> None:
    (sweep[0] / "zarr.json").write_text("{")
    page = report(tmp_path, *sweep[:3])
    assert any("run[0.001]-0.zarr" in note and "Not opened" in note for note in page.notes["runs"])
    assert len(page.column("runs", "run")) == 2
    assert any("No fit" in note for note in page.notes["fits"])


def test_runs_of_two_models_are_shown_without_fits(sweep: list[Path], tmp_path: Path) -> None:
    other = write_store(tmp_path / "other.zarr", {"a.weight": walks(1, 64)["lin.weight"]})
    page = report(tmp_path, sweep[0], other)
    assert any("expected runs of one model" in note for note in page.notes["fits"])


def test_a_page_too_large_is_refused(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analyzer.report.page.LARGEST", 100_000)
    assert "expected a page of at most 0.1 MB, got 0.1" in refused(store, "-o", tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def refused(*arguments: object) -> str:
    result = invoke("report", *arguments)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.strip().splitlines()) == 1
    return str(result.stderr)


def test_refusals_are_one_sentence(store: Path, tmp_path: Path) -> None:
    assert "expected an existing folder" in refused(store, "-o", tmp_path / "none" / "report.html")
    assert "got a folder" in refused(store, "-o", tmp_path)
    assert "expected at least one store" in refused(tmp_path / "no*.zarr", "-o", tmp_path / "r.html")
    assert "got nothing at that path" in refused(tmp_path / "none.zarr", "-o", tmp_path / "r.html")
    (store / "zarr.json").write_text("{")
    assert "expected zarr.json to hold JSON" in refused(store, "-o", tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_a_page_too_large_is_refused_with_its_size(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analyzer.report.page.LARGEST", 1000)
    with pytest.raises(
        errors.ReportError, match=r"expected a page of at most 0\.001 MB, got 0\.\d MB for 1 runs"
    ) as caught:
        page([str(store)])
    assert caught.value.size > 1000


def test_a_section_that_fails_leaves_the_rest(
    sweep: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a section raises: the page says so in its place, stderr says where, and the exit code is 1."""

    def broken(subject: Any, asked: Any) -> list[Any]:
        if subject.name == sweep[1].name:
            raise ZeroDivisionError("integer division\nor modulo by zero")
        return list(equilibrium(subject, asked))

    parts = [replace(part, write=broken) if part.anchor == "equilibrium" else part for part in RUN_PARTS]
    monkeypatch.setattr("analyzer.report.page.RUN_PARTS", tuple(parts))
    result = invoke("report", *sweep[:2], "-o", tmp_path / "r.html")
    assert result.exit_code == 1
    why = "got ZeroDivisionError: integer division or modulo by zero. This is a fault of the analyzer."
    assert f"Warning: {sweep[1].name}, Equilibrium: not shown. Report: expected an answer, {why}" in result.stderr
    assert "Traceback" not in result.stderr
    found = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert why in found.notes["run-1-equilibrium"][0]
    assert found.column("run-0-equilibrium", "series")
    assert len(found.column("run-1-temperature", "temperature")) == 2
    assert len(found.notes) == 2 * len(RUN_PARTS) + 2


def test_figures_that_fail_fail_in_their_section(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise FloatingPointError("overflow")

    monkeypatch.setattr("analyzer.report.content.is_wide", broken)
    failures: list[Failure] = []
    found = Page(page([str(store)], failed=failures.append))
    assert {failure.section for failure in failures if not failure.foreseen} >= {"Loss", "Temperature"}
    assert found.tables["run-0-overview"]


def test_a_run_that_cannot_be_opened_for_any_reason_leaves_the_others(
    sweep: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(location: str) -> Any:
        if location == str(sweep[0]):
            raise PermissionError(13, "Permission denied", location)
        return read_store(location)

    monkeypatch.setattr("analyzer.report.subject.read_store", refused)
    result = invoke("report", *sweep[:2], "-o", tmp_path / "r.html")
    assert result.exit_code == 1
    assert f"Warning: {sweep[0].name}: not shown. Report: expected a machine that reads" in result.stderr
    found = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "Not opened" in found.notes["runs"][0]
    assert found.column("runs", "run") == [sweep[1].name]


def test_what_was_refused_is_said_on_stderr_too(tmp_path: Path) -> None:
    store = write_store(tmp_path / "one.zarr", {"a.weight": np.zeros((3, 2, 1))}, status="running")
    result = invoke("report", store, "-o", tmp_path / "r.html")
    assert result.exit_code == 0
    (line,) = (line for line in result.stderr.splitlines() if "Temperature" in line)
    assert line.startswith("Warning: one.zarr, ")
    assert "not shown. Run: expected at least two frames, got 1." in line
