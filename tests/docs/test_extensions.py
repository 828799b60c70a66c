"""The extensions of the documentation: pages made from the code, texts that are adopted, outputs that are shown."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import pytest
from docutils import nodes
from docutils.utils import new_document

import analyzer
import analyzer.errors
import recorder.errors
from tests.docs.pages import commands, execute, page_of, written_of
from tests.examples.markdown import Block

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Gives the extensions by name, as conf.py finds them."""
    monkeypatch.syspath_prepend(DOCS / "extensions")
    names = ("adopted", "commands", "docstrings", "executed", "generated", "raised")
    holder = ModuleType("extensions")
    for name in names:
        setattr(holder, name, importlib.import_module(name))
    yield holder
    for name in names:
        sys.modules.pop(name, None)


def test_every_public_name_is_in_the_reference(extension: ModuleType, tmp_path: Path) -> None:
    extension.generated.python_pages(tmp_path)
    text = (tmp_path / "python-analyzer.rst").read_text()
    for name in analyzer._PUBLIC:
        assert f"   {name}\n" in text
    assert "   ThermoAccessor.parameter\n" in text
    recorded = (tmp_path / "python-recorder.rst").read_text()
    assert "   Recorder.temperatures\n" in recorded
    assert "   RecorderCallback\n" in recorded


def test_every_command_has_a_page(extension: ModuleType, tmp_path: Path) -> None:
    extension.generated.command_pages(tmp_path)
    listed = (tmp_path / "commands.rst").read_text()
    names = [f"{program} {name}" for program, group in commands().items() for name in group.commands]
    for name in [*names, "analyzer cache fill"]:
        page = name.replace(" ", "-")
        assert f"commands/{page}\n" in listed
        assert f".. command:: {name}\n" in (tmp_path / f"commands/{page}.rst").read_text()


def test_a_page_of_a_command_has_its_help(extension: ModuleType) -> None:
    text = "\n".join(node.astext() for node in extension.commands.nodes_of("analyzer temperature"))
    for part in ("analyzer temperature [OPTIONS]", "--window STEPS|EPOCH|RATE", "paper: T = K/(k_B d)"):
        assert part in text
    assert "analyzer temperature runs/gcn.zarr --start auto" in text, "an example of the help"
    assert "\b" not in text


def test_every_error_is_there_with_its_texts(extension: ModuleType, tmp_path: Path) -> None:
    extension.generated.error_page(tmp_path)
    text = (tmp_path / "errors.rst").read_text()
    described = {part.partition("\n")[0]: part for part in text.split("\n.. _")}
    for module in (analyzer.errors, recorder.errors):
        for name, kind in vars(module).items():
            if isinstance(kind, type) and kind.__module__ == module.__name__:
                part = described[f"{module.__name__.partition('.')[0]}-{name}:"]
                assert f"\n{name}\n~" in part
                assert "\n- " in part or kind.__subclasses__(), f"{name}: expected its sentences, got none"
    for sentence in (
        "expected at least … runs for … coefficient(s), got …",
        "The shared frames count twice. Choose a range after them",  # what a function returns
        "of … runs are left out (…), since the fit holds … fixed",  # what is appended to a list
        "expected NAME=GLOB, as in biases='\\*.bias', got ….",  # wrong usage
    ):
        assert sentence in text.replace("\\:", ":"), sentence


def test_the_text_of_an_error_is_found_wherever_it_stands(extension: ModuleType, tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        """LONG = "a text that has a name of its own"
def told(n):
    return f"a text that a function returns for {n}"
def f(n, lines):
    lines.append(f"a text that is appended, with {n}")
    if said := told(n):
        raise FirstError(said)
    raise SecondError(f"{n}: {told(n)}")
    raise ThirdError(LONG, n=n)
    warnings.warn(f"{', '.join(lines)}", FourthWarning)
    raise FifthError(f"a text where the error is {'raised' if n else n}", n)
    raise SixthError(n)
    self.fail("expected what an option takes")
def g(n):
    found = f"a text of one function alone, {n}"
    return made(SeventhError, n, found)
def h(n):
    found = f"a text of another function, {n}"
    return made(EighthError, n, found)
"""
    )
    assert sorted(extension.raised.messages_of([module])) == sorted([
        ("FirstError", "a text that a function returns for …"),
        ("SecondError", "a text that a function returns for …"),
        ("ThirdError", "a text that has a name of its own"),
        ("FourthWarning", "a text that is appended, with …"),
        ("FifthError", "a text where the error is …"),
        ("SixthError", ""),
        ("UsageError", "expected what an option takes"),
        ("SeventhError", "a text of one function alone, …"),
        ("EighthError", "a text of another function, …"),
    ])  # fmt: skip


def test_the_gallery_is_what_the_folder_holds(
    extension: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extension.generated, "ROOT", tmp_path)
    gallery = tmp_path / "examples/gallery"
    gallery.mkdir(parents=True)
    script = '"""A random walk.\n\n`rows` ranks * them.\n\npython examples/gallery/walk.py\n"""\n\nprint()\n'
    (gallery / "walk.py").write_text(script)
    extension.generated.gallery_page(tmp_path / "docs/generated")
    text = (tmp_path / "docs/generated/gallery.rst").read_text()
    for part in (
        "A random walk\n-------------",
        "`rows` ranks \\* them.",
        "    python examples/gallery/walk.py\n",
        ".. image:: ../../examples/gallery/walk.png",
        ".. literalinclude:: ../../examples/gallery/walk.py\n   :language: python\n   :lines: 8-",
    ):
        assert part in text
    assert script.splitlines()[8 - 1] == "print()"


def test_adopted_texts_lead_to_pages(extension: ModuleType) -> None:
    pages = extension.adopted.adopted(DOCS)
    root = DOCS.parent
    assert pages[root / "recorder/FORMAT.md"] == DOCS / "reference/format.md"
    for file in pages:
        assert file.exists()

    def links(text: str) -> str:
        return str(extension.adopted.with_links(text, root / "SECURITY.md", DOCS / "explanation/security.md", pages))

    assert links("[f](recorder/FORMAT.md#trust)") == "[f](../reference/format.md#trust)"
    assert links("[e](examples/demo.py)") == "[e](../../examples/demo.py)"
    assert links("[w](https://example.org)") == "[w](https://example.org)"
    assert links("[d](examples/data/README.md)") == "d", "Markdown that is no page"
    assert links("[g](examples/gallery)") == "[g](../generated/gallery.rst)", "what a page is made from"
    assert links("[n](examples/notebooks/sweep-and-fit.ipynb)") == "[n](../generated/notebooks/sweep-and-fit.ipynb)"


def test_sources_of_generated_pages_have_them(extension: ModuleType, tmp_path: Path) -> None:
    """The names of autosummary are those of its lists; the other pages are written."""
    generated = extension.generated
    for write in (generated.python_pages, generated.command_pages, generated.error_page, generated.gallery_page):
        write(tmp_path)
    listed = " ".join(page.read_text() for page in tmp_path.glob("python-*.rst"))
    for source, page in extension.adopted.MADE.items():
        assert (DOCS.parent / source).exists()
        module, _, name = Path(page).stem.rpartition(".")
        assert (tmp_path / page).exists() or (
            f".. currentmodule:: {module}\n" in listed and f"   {name}\n" in listed
        ), page


def test_what_a_block_printed_is_shown(tmp_path: Path) -> None:
    page = page_of(DOCS / "questions.md")
    blocks = [
        Block(1, "python", "x = 1\nprint(x)\n", ""),
        Block(5, "python", "print(x + 1)\nprint(3)\n", "shown: 1 lines"),
        Block(9, "python", "raise ValueError\n", "not run: it fails"),
        Block(13, "sh", "analyzer info none.zarr\n", "refused"),
    ]
    results = execute(type(page)(page.path, page.text, blocks), tmp_path)
    assert results.keys() == {1, 5, 13}
    assert (results[1].shown, results[5].shown) == ("1", "2\n…")
    assert "expected a store, got nothing at that path" in results[13].shown


@pytest.mark.parametrize(
    ("language", "text", "comment"),
    [
        ("python", "raise ValueError('no')\n", ""),
        ("sh", "analyzer info none.zarr\n", ""),
        ("sh", "analyzer --version\n", "refused"),
    ],
)
def test_a_block_that_fails_fails_its_page(tmp_path: Path, language: str, text: str, comment: str) -> None:
    page = page_of(DOCS / "questions.md")
    with pytest.raises((ValueError, AssertionError)):
        execute(type(page)(page.path, page.text, [Block(1, language, text, comment)]), tmp_path)


def test_a_command_that_writes_nothing_fails_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.csv").touch()
    (tmp_path / "rows.csv").write_text("row")
    written_of("analyzer rows run.zarr --output rows.csv", "page:1")
    written_of("analyzer rows run.zarr --plot none.png --dry-run", "page:1")
    for line in ("analyzer rows run.zarr -o empty.csv", "analyzer rows run.zarr -o rows.csv --plot none.png"):
        with pytest.raises(AssertionError, match=r"page:1: .*\nexpected (empty\.csv|none\.png), got none"):
            written_of(line, "page:1")


@pytest.mark.parametrize(
    ("said", "picture", "fault"),
    [
        (["recorder: 3 frames"], True, None),
        (["recorder: 3 frames", "FutureWarning: soon"], True, "expected no warning, got 'FutureWarning: soon'"),
        ([], False, "expected a picture, got none"),
    ],
)
def test_a_notebook_that_warns_or_draws_nothing_ends_the_build(
    extension: ModuleType, said: list[str], picture: bool, fault: str | None
) -> None:
    document = new_document("notebook")
    document += nodes.literal_block("print(1)", "print(1)")
    document += [nodes.literal_block(text, text, classes=["output", "stderr"]) for text in said]
    if picture:
        document += nodes.container("", nodes.image(uri="a.png"))
    raises = pytest.raises(RuntimeError, match=f"walks: {fault}") if fault else nullcontext()
    with raises:
        extension.executed.look_over("walks", document)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Paths, or one pattern such as runs/*.zarr.", r"Paths, or one pattern such as runs/\*.zarr."),
        ("The norm |w|, as `a*b` and *not* |v|.", r"The norm \|w\|, as `a*b` and *not* \|v\|."),
        ("**facts", "**facts"),
        (">>> 2 * 3", ">>> 2 * 3"),
    ],
)
def test_markup_by_accident_is_escaped(extension: ModuleType, line: str, expected: str) -> None:
    assert extension.docstrings.escaped([line]) == [expected]
