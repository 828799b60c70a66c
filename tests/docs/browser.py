"""Look at the documentation as it was built, in a real browser: `python -m tests.docs.browser docs/_build/html`.

On a phone no page is wider than the screen, in light and dark every text stands out from what is behind it, and the
search finds pages without a network. Where no Chromium with its driver is installed, this says so and ends.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.patience import PATIENCE

PAGES = (
    "index.html", "questions.html", "tutorials/first-temperature.html", "how-to/index.html", "how-to/rows.html",
    "explanation/costs.html", "error-bars.html", "coming-from/gromacs.html", "vocabulary.html",
    "generated/gallery.html", "generated/errors.html", "generated/python/analyzer.temperature.html",
    "generated/commands/analyzer-temperature.html", "generated/notebooks/record-and-look.html",
)  # fmt: skip
"""Pages of each kind."""
SEARCHED = {"floor": "temperature", "hot rows": "rows", "resume": "resume"}
"""What is typed, and a word in the address of a page that is found."""
WIDTH, HEIGHT, LEAST_CONTRAST = 400, 800, 4.0
FAINT = """
const channel = c => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4 };
const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
const numbers = text => (text.match(/[\\d.]+/g) || []).map(
  (n, i) => Number(n) * (text.startsWith('color(srgb') && i < 3 ? 255 : 1));
const behind = e => {
  for (; e; e = e.parentElement) {
    const c = numbers(getComputedStyle(e).backgroundColor);
    if (c.length == 3 || c[3] > 0.5) return c;
  }
  return [255, 255, 255];
};
const found = {};
for (const e of document.querySelectorAll('.bd-article *')) {
  const own = [...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim());
  if (!own || !e.getClientRects().length || getComputedStyle(e).visibility == 'hidden' || e.closest('svg')) continue;
  const a = light(numbers(getComputedStyle(e).color)), b = light(behind(e));
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < arguments[0]) found[e.textContent.trim().slice(0, 30)] = contrast.toFixed(1);
}
return Object.entries(found).slice(0, 3);
"""
"""Texts whose contrast to the colour behind them is below a ratio, by the formula of WCAG 2."""


def faults(
    site: Path, driver: webdriver.Chrome, pages: Sequence[str] = PAGES, searched: Mapping[str, str] = SEARCHED
) -> Iterator[str]:
    """Yield one sentence for each fault that is seen."""
    phone = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    for name in pages:
        for theme in ("light", "dark"):
            scheme = [{"name": "prefers-color-scheme", "value": theme}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
            driver.get((site / name).as_uri())
            wide = driver.execute_script("return document.documentElement.scrollWidth")
            if wide > WIDTH:
                yield f"{name}: expected at most {WIDTH} pixels on a phone, got {wide}"
            for text, contrast in driver.execute_script(FAINT, LEAST_CONTRAST):
                yield f"{name}: expected a contrast of {LEAST_CONTRAST} or more, got {contrast} ({theme}): {text!r}"
    for words, page in searched.items():
        driver.get(f"{(site / 'search.html').as_uri()}?q={words}")
        WebDriverWait(driver, PATIENCE).until(
            lambda d: d.find_elements(By.CSS_SELECTOR, "#search-results .search-summary")
        )
        links = [link.get_attribute("href") or "" for link in driver.find_elements(By.CSS_SELECTOR, "ul.search a")]
        if not any(page in link for link in links):
            yield f"search: expected a page of {page!r} for {words!r}, got {len(links)} others"


def opened() -> webdriver.Chrome | None:
    """Return a browser without a window; None where no Chromium with its driver is installed."""
    chromium, program = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if chromium is None or program is None:
        return None
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    # Without a sandbox, since containers run as root; what is opened are pages of our own.
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(program))


def main(arguments: list[str]) -> int:
    """Print all faults, or what was looked at."""
    driver = opened()
    if driver is None:
        print("not looked at in a browser: no Chromium with chromedriver here")
        return 0
    try:
        told = list(faults(Path(arguments[0]).resolve(), driver))
    finally:
        driver.quit()
    for fault in told:
        print(fault, file=sys.stderr)
    print(f"{len(PAGES)} pages and {len(SEARCHED)} searches in a browser, {len(told)} faults")
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
