"""Pages whose text stands elsewhere in the repository, beside the code that it is about.

A page says so in a comment, `<!-- the text of recorder/FORMAT.md -->`. Pages are also read where they lie, without
having been built: so they link files of the repository, and the build leads these links to pages. A link to a file that
is adopted leads to the page of its text, a link to a source that a page is made from (`MADE`, notebooks) to that page.
Links to other files offer the file itself. Other Markdown is only named.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
MADE = {
    "analyzer/__init__.py": "python-analyzer.rst",
    "recorder/__init__.py": "python-recorder.rst",
    "recorder/recorder.py": "python/recorder.Recorder.rst",
    "recorder/integrations/lightning.py": "python/recorder.integrations.lightning.RecorderCallback.rst",
    "recorder/integrations/transformers.py": "python/recorder.integrations.transformers.RecorderCallback.rst",
    "analyzer/cli": "commands.rst",
    "analyzer/errors.py": "errors.rst",
    "examples/gallery": "gallery.rst",
}
"""Pages of `docs/generated` by the source that they are made from."""
MARK = re.compile(r"<!-- the text of (\S+) -->\n?")


def adopted(docs: Path) -> dict[Path, Path]:
    """Return the page of each file that a page adopts, and of each source that pages are made from."""
    marks = {page: MARK.search(page.read_text(encoding="utf-8")) for page in sorted(docs.rglob("*.md"))}
    found = {ROOT / mark[1]: page for page, mark in marks.items() if mark}
    found |= {ROOT / source: docs / "generated" / page for source, page in MADE.items()}
    notebooks = (ROOT / "examples/notebooks").glob("*.ipynb")
    return found | {notebook: docs / "generated/notebooks" / notebook.name for notebook in notebooks}


def with_links(text: str, home: Path, page: Path, pages: dict[Path, Path]) -> str:
    """Return the text with its relative links, which count from `home`, as they count from `page`."""

    def relative(link: re.Match[str]) -> str:
        target, hash_, anchor = link[2].partition("#")
        if not target or "://" in target:
            return link[0]
        there = Path(os.path.normpath(home.parent / target))
        if there not in pages and there.is_dir():
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
