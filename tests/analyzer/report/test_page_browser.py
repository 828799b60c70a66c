"""The report in a real browser: pictures are drawn, hovered and zoomed, the theme switches, nothing is complained of.

Where no Chromium with its driver is installed these tests are skipped: apt-get install chromium chromium-driver.
"""

from __future__ import annotations

import re
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from analyzer.report.content import Map, Section
from analyzer.report.page import RunPart, render
from tests.analyzer.report.test_page import hostile, walks
from tests.analyzer.shell import invoke
from tests.patience import PATIENCE
from tests.stores import write_store

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="no Chromium with chromedriver on the PATH: apt-get install chromium chromium-driver",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    # Without a sandbox, since containers run as root; what is opened is a page of our own.
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    driver.set_page_load_timeout(PATIENCE)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("single")
    loss = 1 + np.exp(-np.arange(400) / 80)
    return written(folder, write_store(folder / "run.zarr", walks(1, 400), scalars={"loss": loss}))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    rates = (1e-3, 2e-3, 3e-3, 4e-3, 6e-3)
    return written(
        folder,
        *(
            write_store(folder / f"{n}.zarr", walks(n, 60, rate), hyperparameters={"learning_rate": rate})
            for n, rate in enumerate(rates)
        ),
    )


def written(folder: Path, *stores: Path) -> Path:
    file = folder / "report.html"
    result = invoke("report", *stores, "-o", file)
    assert result.exit_code == 0, result.output
    return file


Open = Callable[..., webdriver.Chrome]


@pytest.fixture
def show(browser: webdriver.Chrome) -> Iterator[Open]:
    """Opens a page in a window of a width, light or dark; in the end nothing may have been complained of."""

    def opened(page: Path, width: int = 1280, scheme: str = "light") -> webdriver.Chrome:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        browser.get(page.as_uri())
        browser.execute_script("localStorage.clear()")
        browser.refresh()
        return browser

    browser.get_log("browser")
    yield opened
    # That pixels are read back again and again is what `colours` does, not the page.
    assert [entry for entry in browser.get_log("browser") if "getImageData" not in entry["message"]] == []


def figure(browser: webdriver.Chrome, selector: str) -> Any:
    """A figure that has been scrolled to and drawn."""
    found = browser.find_element(By.CSS_SELECTOR, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
    WebDriverWait(browser, PATIENCE).until(lambda _: found.find_elements(By.CSS_SELECTOR, ".plot canvas"))
    WebDriverWait(browser, PATIENCE).until(lambda _: colours(browser, found) > 1)  # uPlot draws in the next task
    return found


def colours(browser: webdriver.Chrome, found: Any) -> int:
    """How many colours a figure's canvas shows: an empty one has one."""
    script = """
        const canvas = arguments[0].querySelector(".plot canvas");
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        return new Set(new Uint32Array(pixels.buffer)).size;
    """
    return int(browser.execute_script(script, found))


def range_of(browser: webdriver.Chrome, found: Any) -> dict[str, float]:
    """What part of a picture is shown."""
    script = "const r = drawn.get(arguments[0]).range(); return {...r, min: r.min ?? r.left, max: r.max ?? r.right}"
    return dict(browser.execute_script(script, found))


def hover(browser: webdriver.Chrome, target: Any, across: int = 0, down: int = 0) -> None:
    ActionChains(browser, duration=20).move_to_element_with_offset(target, across, down).perform()


def drag(browser: webdriver.Chrome, target: Any, start: tuple[int, int], end: tuple[int, int]) -> None:
    chain = ActionChains(browser, duration=20).move_to_element_with_offset(target, *start).click_and_hold()
    chain.move_to_element_with_offset(target, *end).release().perform()


def tip(found: Any) -> str:
    return str(found.find_element(By.CSS_SELECTOR, ".tip").text)


def press(found: Any, title: str) -> None:
    found.find_element(By.CSS_SELECTOR, f'button[title="{title}"]').click()


def test_every_picture_is_drawn(single: Path, show: Open) -> None:
    browser = show(single)
    figures = browser.find_elements(By.CSS_SELECTOR, "figure")
    counts = {
        "loss": 1,
        "temperature": 1,
        "rows": 4,
        "factors": 6,
        "velocities": 2,
        "dynamics": 2,
        "spectrum": 1,
        "modes": 1,
    }
    for section, count in counts.items():  # of two parameters and two layers
        assert len(browser.find_elements(By.CSS_SELECTOR, f"#run-0-{section} figure")) == count, section
    assert len(figures) == sum(counts.values())
    for n in range(len(figures)):
        found = figures[n]
        browser.execute_script("arguments[0].scrollIntoView()", found)
        WebDriverWait(browser, PATIENCE).until(lambda _, f=found: f.find_elements(By.CSS_SELECTOR, ".plot canvas"))
        WebDriverWait(browser, PATIENCE).until(lambda _, f=found: colours(browser, f) > 10, found.text)


def test_a_chart_is_hovered_and_zoomed(single: Path, show: Open) -> None:
    browser = show(single)
    found = figure(browser, "#run-0-temperature figure.chart")
    over = found.find_element(By.CSS_SELECTOR, ".u-over")
    hover(browser, over)
    text = tip(found)
    assert text.startswith("step ")
    for layer in ("conv1: ", "lin: "):
        assert layer in text
    assert "×10" in text
    whole = range_of(browser, found)
    drag(browser, over, (-200, 0), (200, 0))
    part = range_of(browser, found)
    assert whole["min"] < part["min"] < part["max"] < whole["max"]
    press(found, "Show all")
    assert range_of(browser, found) == whole
    press(found, "Zoom in")
    part = range_of(browser, found)
    assert part["max"] - part["min"] == pytest.approx((whole["max"] - whole["min"]) / 2)
    press(found, "Zoom out")
    assert range_of(browser, found) == whole


def test_series_of_points_beside_a_curve_are_told_apart(single: Path, show: Open) -> None:
    browser = show(single)
    found = figure(browser, "#run-0-velocities figure.chart")
    names = [button.text for button in found.find_elements(By.CSS_SELECTOR, ".legend button")]
    assert names == ["Maxwell–Boltzmann", "over the rms of the group", "each weight over its own rms"]
    swatches = found.find_elements(By.CSS_SELECTOR, ".legend button > *")
    assert len({swatch.value_of_css_property("border-top-color") for swatch in swatches}) == 3


def test_the_legend_hides_a_line(single: Path, show: Open) -> None:
    browser = show(single)
    found = figure(browser, "#run-0-temperature figure.chart")
    button = found.find_element(By.XPATH, ".//*[@class='legend']/button[contains(., 'conv1')]")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    hover(browser, found.find_element(By.CSS_SELECTOR, ".u-over"))
    assert "lin: " in tip(found)
    assert "conv1: " not in tip(found)


def test_a_map_is_hovered_and_zoomed(single: Path, show: Open) -> None:
    browser = show(single)
    found = figure(browser, "#run-0-rows figure.map")
    canvas = found.find_element(By.CSS_SELECTOR, "canvas")
    hover(browser, canvas)
    assert tip(found).startswith("row ")
    assert "⟨v²⟩: " in tip(found)
    drag(browser, canvas, (-40, -40), (40, 60))
    part = range_of(browser, found)
    assert (part["top"], part["bottom"]) != (0, 8)
    assert 0 <= part["top"] < part["bottom"] <= 8
    ActionChains(browser).double_click(canvas).perform()
    assert range_of(browser, found)["bottom"] == 8


def test_a_map_of_groups_has_their_names(show: Open, tmp_path: Path) -> None:
    names, edges = [f"net{n}" for n in range(9)], np.linspace(0, 500, 6)
    found = Map("T", "", "step", np.arange(45.0).reshape(9, 5), "temperature", "", row_names=names,
                column_names=[f"steps {n}00" for n in range(5)], edges=edges.tolist(),
                marks=[(250, "resumed")])  # fmt: skip
    file = tmp_path / "page.html"
    file.write_text(render([], [RunPart("run", [Section("map", "Map", [found])])]), encoding="utf-8")
    browser = show(file, width=400)
    drawn = figure(browser, "figure.map")
    hover(browser, drawn.find_element(By.CSS_SELECTOR, "canvas"))
    assert re.fullmatch(r"net4, steps \d00\ntemperature: 2[0-4]", tip(drawn)), "the middle of nine rows"
    press(drawn, "Zoom in")
    assert range_of(browser, drawn)["bottom"] - range_of(browser, drawn)["top"] < 9
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400


def test_a_ranked_row_says_which_it_is(single: Path, show: Open) -> None:
    browser = show(single)
    found = figure(browser, "#run-0-rows figure.chart")
    hover(browser, found.find_element(By.CSS_SELECTOR, ".u-over"))
    assert tip(found).startswith("rank ")
    assert "row " in tip(found)


def test_the_theme_is_the_reader_s(single: Path, show: Open, tmp_path: Path) -> None:
    browser = show(single, scheme="dark")
    dark = ground(browser)
    assert max(dark) < 60
    button = browser.find_element(By.ID, "theme")
    assert button.text.endswith("light")
    button.click()
    assert min(ground(browser)) > 200
    figure(browser, "#run-0-temperature figure.chart")
    file = tmp_path / "page.png"
    browser.save_screenshot(str(file))
    assert distinct_bytes(file) > 20
    browser.refresh()
    assert min(ground(browser)) > 200  # it is remembered
    browser.find_element(By.ID, "theme").click()
    assert ground(browser) == dark


def ground(browser: webdriver.Chrome) -> list[int]:
    colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    return [int(part) for part in colour[4:-1].split(",")]


def distinct_bytes(file: Path) -> int:
    """Different bytes among the pixels of a PNG: a blank page has few."""
    data, place, packed = file.read_bytes(), 8, b""
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        if data[place + 4 : place + 8] == b"IDAT":
            packed += data[place + 8 : place + 8 + length]
        place += 12 + length
    return len(set(zlib.decompress(packed)))


def test_a_phone_scrolls_down_only(single: Path, show: Open) -> None:
    browser = show(single, width=380)
    found = figure(browser, "#run-0-temperature figure.chart")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 380
    assert found.find_element(By.CSS_SELECTOR, ".uplot").size["width"] <= 380


def test_a_run_is_chosen_and_its_pictures_drawn(sweep: Path, show: Open) -> None:
    browser = show(sweep)
    found = figure(browser, "#fits figure.chart")
    assert colours(browser, found) > 10
    shown = [part.is_displayed() for part in browser.find_elements(By.CSS_SELECTOR, "article.run")]
    assert shown == [True, False, False, False, False]
    Select(browser.find_element(By.ID, "run")).select_by_visible_text("2.zarr")
    shown = [part.is_displayed() for part in browser.find_elements(By.CSS_SELECTOR, "article.run")]
    assert shown == [False, False, True, False, False]
    assert colours(browser, figure(browser, "#run-2-temperature figure.chart")) > 10


def test_hostile_names_do_nothing(show: Open, tmp_path: Path) -> None:
    browser = show(written(tmp_path, hostile(tmp_path)))
    for n, found in enumerate(browser.find_elements(By.CSS_SELECTOR, "figure")):
        browser.execute_script("arguments[0].scrollIntoView()", found)
        WebDriverWait(browser, PATIENCE).until(lambda _, f=found: f.find_elements(By.CSS_SELECTOR, ".plot canvas"))
    found = figure(browser, "#run-0-temperature figure.chart")
    hover(browser, found.find_element(By.CSS_SELECTOR, ".u-over"))
    assert '"><img src=x onerror=alert(2)>: ' in tip(found)
    assert not browser.find_elements(By.CSS_SELECTOR, "main img, main svg, main script:not([type])")
