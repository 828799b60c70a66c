"""Below each block of code of a page stands what it printed, and each figure that it drew: it was run for this build.

The blocks are run as the tests run those of README.md, by `tests/docs/pages.py`. A page is run when it is read.
Notebooks are executed by MyST-NB; what came out of them is looked over.
"""

from __future__ import annotations

import os
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger

from tests.docs.pages import CODE, execute, page_folder, page_of
from tests.docs.world import make_world

STEPS, BRANCH_STEPS = 2_000, 500
logger = getLogger(__name__)


def show_outputs(app: Sphinx, doctree: nodes.document) -> None:
    """Run the blocks of a page, and put below each of them what came out."""
    docname = app.env.docname
    path = Path(app.env.doc2path(docname))
    if path.suffix == ".ipynb":
        look_over(docname, doctree)
    if path.suffix != ".md":
        return
    page = page_of(path)
    blocks = [block for block in page.blocks if block.language in CODE]
    if not blocks:
        return
    literal = [node for node in doctree.findall(nodes.literal_block) if node.get("language") in CODE]
    if [node.astext().strip() for node in literal] != [block.text.strip() for block in blocks]:
        raise RuntimeError(f"{docname}: blocks of code that were read are not those of the page")
    world = make_world(Path(app.doctreedir).parent / "world", STEPS, BRANCH_STEPS)
    with page_folder(world, docname.replace("/", "-")) as folder:
        results = execute(page, folder)
        for node, block in zip(literal, blocks, strict=True):
            result = results.get(block.line)
            if result is None:
                continue
            shown: list[nodes.Node] = []
            if result.shown:
                text = result.shown
                shown.append(nodes.literal_block(text, text, language="none"))
            for figure in result.figures:
                image = nodes.image(
                    uri=os.path.relpath(figure, path.parent), alt=f"{figure.name}: drawn by the block above"
                )
                shown.append(image)
            if shown:
                node.parent.insert(node.parent.index(node) + 1, nodes.container("", *shown, classes=["output"]))


def look_over(docname: str, doctree: nodes.document) -> None:
    """Raise where an executed notebook warned, or has no picture. A cell that fails ends the build."""
    blocks = doctree.findall(nodes.literal_block)
    said = [block.astext() for block in blocks if "stderr" in block["classes"]]
    if warned := [text for text in said if not text.startswith("recorder: ")]:
        raise RuntimeError(f"{docname}: expected no warning, got {warned[0]!r}")
    if next(doctree.findall(nodes.image), None) is None:
        raise RuntimeError(f"{docname}: expected a picture, got none")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx. Before the images of a page are collected (priority 500)."""
    app.connect("doctree-read", show_outputs, priority=400)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
