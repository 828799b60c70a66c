"""Look over the documentation as it was built: `python -m tests.docs.site docs/_build/html`.

Every link inside leads to a page and a place that exist. No page loads anything from a network. Pages have an example:
a block of code, an output, or a figure.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

WITHOUT_EXAMPLE = ("genindex.html", "search.html", "py-modindex.html", "vocabulary.html",
                   "tutorials/paper-results.html", "generated/python/")  # fmt: skip
"""Pages that need no example: those of Sphinx, words, verdicts, and those made from docstrings."""
LOADS = {
    "script": "src",
    "img": "src",
    "link": "href",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
}
"""The attribute of each element by which a browser loads something."""
NOT_LOADED = {"next", "prev", "search", "index", "canonical", "author", "copyright"}
"""Kinds of `link` that only name a page."""


@dataclass
class Found(HTMLParser):
    """What one page has: places, links, what it loads, and whether it shows code, an output or a figure."""

    places: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    example: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        given = {name: value or "" for name, value in attrs}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        self.example |= tag == "pre" or (tag == "img" and "_images/" in given.get("src", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") in NOT_LOADED:
            self.links.append(given["href"])
        elif tag in LOADS and LOADS[tag] in given:
            self.loads.append(given[LOADS[tag]])


def faults(site: Path) -> Iterator[str]:
    """Yield one sentence for each fault of a site."""
    pages = {page: _found(page) for page in sorted(site.rglob("*.html")) if "_static" not in page.parts}
    if not pages:
        yield f"{site}: expected pages, got none. Build them: make docs."
    for page, found in pages.items():
        name = page.relative_to(site).as_posix()
        for load in found.loads:
            parts = urlsplit(load)
            if parts.scheme not in ("", "data") or parts.netloc:
                yield f"{name}: loads {load} from a network"
            elif not parts.scheme and not (page.parent / unquote(parts.path)).exists():
                yield f"{name}: loads {load}, which is not there"
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
            if not target.exists():
                yield f"{name}: links to {link}, which is not there"
            elif parts.fragment and target.suffix == ".html":
                there = next((f for p, f in pages.items() if p.resolve() == target), None)
                if there is not None and unquote(parts.fragment) not in there.places:
                    yield f"{name}: links to {link}, and there is no such place"
        if not name.startswith(WITHOUT_EXAMPLE) and not found.example:
            yield f"{name}: has no example"
    for style in sorted(site.rglob("*.css")):
        text = style.read_text(encoding="utf-8")
        if "@import url(http" in text or "url(http" in text or "url(//" in text:
            yield f"{style.relative_to(site)}: loads from a network"


def _found(page: Path) -> Found:
    found = Found()
    found.feed(page.read_text(encoding="utf-8"))
    return found


def main(arguments: list[str]) -> int:
    """Print all faults, or how many pages were looked over."""
    site = Path(arguments[0])
    told = list(faults(site))
    for fault in told:
        print(fault, file=sys.stderr)
    pages = [page for page in site.rglob("*.html") if "_static" not in page.parts]
    print(f"{len(pages)} pages, {len(told)} faults")
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
