"""Pages whose text stands elsewhere in the repository, beside the code that it is about.

A page says so in a comment, `<!-- the text of recorder/FORMAT.md -->`. On every page, links to files that are adopted
lead to their pages. Links to other files of the repository offer the file itself. Other Markdown is only named.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
MARK = re.compile(r"<!-- the text of (\S+) -->\n?")


def adopted(docs: Path) -> dict[Path, Path]:
    """Return the page of each file that a page adopts."""
    marks = {page: MARK.search(page.read_text(encoding="utf-8")) for page in sorted(docs.rglob("*.md"))}
    return {ROOT / mark[1]: page for page, mark in marks.items() if mark}


def with_links(text: str, home: Path, page: Path, pages: dict[Path, Path]) -> str:
    """Return the text with its relative links, which count from `home`, as they count from `page`."""

    def relative(link: re.Match[str]) -> str:
        target, hash_, anchor = link[2].partition("#")
        if not target or "://" in target:
            return link[0]
        there = Path(os.path.normpath(home.parent / target))
        if there.is_dir():
            there /= "README.md"
        there = pages.get(there, there)
        if there.suffix == ".md" and not there.is_relative_to(DOCS):
            return link[1][1:-1]
        return f"{link[1]}({os.path.relpath(there, page.parent)}{hash_}{anchor})"

    return re.sub(r"(\[[^\[\]]*\])\(([^)\s]+)\)", relative, text)


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the adopted text in the place of its mark."""
    page = Path(app.env.doc2path(docname))
    if page.suffix != ".md":
        return
    mark = MARK.search(source[0])
    file = ROOT / mark[1] if mark else page
    app.env.note_dependency(file)
    text = file.read_text(encoding="utf-8") if mark else source[0]
    text = with_links(text, file, page, adopted(Path(app.srcdir)))
    source[0] = source[0].replace(mark[0], text) if mark else text


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
