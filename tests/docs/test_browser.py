"""What is looked for in a browser: pages wider than a phone, faint texts, searches that find nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from tests.docs.browser import faults, opened

HEAD = '<meta name="viewport" content="width=device-width"><style>@media (prefers-color-scheme: dark) '
GOOD = HEAD + "{body {background: #111; color: #eee}}</style><body><p class=bd-article><code>text</code></p>"
FAINT = HEAD + "{body {background: #555; color: #666}}</style><body><div class=bd-article><p>text</p></div>"
WIDE = HEAD + "{}</style><body><div class=bd-article><p style='width: 900px'>text</p></div>"
MIXED = HEAD + "{}</style><body><div class=bd-article><p style='background: color(srgb 0.9 0.9 0.9)'>text</p></div>"
LINK = "<p class=search-summary></p><ul class=search><a href='rows.html'></a></ul>"
SEARCH = HEAD + "{}</style><div id=search-results>" + LINK + "</div>"


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    found = opened()
    if found is None:
        pytest.skip("no Chromium with chromedriver on the PATH: apt-get install chromium chromium-driver")
    yield found
    found.quit()


def test_what_is_seen(driver: webdriver.Chrome, tmp_path: Path) -> None:
    for name, text in {"good": GOOD, "faint": FAINT, "wide": WIDE, "mixed": MIXED, "search": SEARCH}.items():
        (tmp_path / f"{name}.html").write_text(text)

    def seen(*pages: str, **searched: str) -> list[str]:
        return list(faults(tmp_path, driver, pages, searched))

    assert seen("good.html", "mixed.html", hot="rows") == []
    (faint,) = seen("faint.html")
    assert faint.startswith("faint.html: expected a contrast of 4.0 or more, got 1.")
    assert faint.endswith("(dark): 'text'")
    wide = seen("wide.html")
    assert [text.partition(" pixels")[0] for text in wide] == ["wide.html: expected at most 400"] * 2
    assert seen(hot="columns") == ["search: expected a page of 'columns' for 'hot', got 1 others"]
