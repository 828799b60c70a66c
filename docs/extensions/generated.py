"""Pages of the reference that are written from the code, in `docs/generated`, before anything is read.

- `python-analyzer`, `python-recorder`: the public names, for autosummary;
- `commands`: one page for each command;
- `errors`: every error of both packages, with the texts that it is raised with;
- `gallery`: one section for each script in `examples/gallery`.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
from pathlib import Path

from raised import PACKAGES, messages
from sphinx.application import Sphinx
from sphinx.config import Config

ROOT = Path(__file__).parents[2]


def write(file: Path, text: str) -> None:
    """Write a page; one that is the same stays untouched, so that it is not read again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def title(text: str, mark: str = "=") -> str:
    """Return a title of reStructuredText."""
    return f"{text}\n{mark * len(text)}\n\n"


def python_pages(folder: Path) -> None:
    """Write the lists of public names."""
    import analyzer
    import recorder
    from analyzer.accessor import ThermoAccessor

    kinds = {name: getattr(analyzer, name) for name in analyzer._PUBLIC}
    functions = [name for name, value in kinds.items() if inspect.isfunction(value)]
    others = [name for name in kinds if name not in functions]
    text = title("Python: analyzer") + (
        'Every function that takes a run is also a method of an opened run: ``analyzer.temperature(run, by="row")``\n'
        'and ``run.thermo.temperature(by="row")`` are one function. Examples in docstrings are run by the tests.\n\n'
        ".. code-block:: python\n\n"
        "    import analyzer\n\n"
        '    run = analyzer.open_run("runs/demo.zarr")\n'
        '    T = run.thermo.temperature(by="layer").load()\n\n'
    )
    text += title("Functions", "-") + _summary("analyzer", functions)
    text += title("Errors and warnings", "-")
    text += _summary("analyzer", others) + "All of them, with their texts: :doc:`errors`.\n\n"
    own = [n for n in vars(ThermoAccessor) if not n.startswith("_") and n not in functions]
    text += title("Methods of ``run.thermo`` alone", "-")
    text += _summary("analyzer.accessor", [f"ThermoAccessor.{name}" for name in own])
    write(folder / "python-analyzer.rst", text)
    methods = [name for name in vars(recorder.Recorder) if not name.startswith("_")]
    classes = [name for name in recorder.__all__ if name != "__version__"]
    text = title("Python: recorder") + (
        "One class does the recording. What runs before and after it are commands: :doc:`commands/recorder`.\n\n"
        ".. code-block:: python\n\n    from recorder import Recorder\n\n"
        '    with Recorder("runs/gcn.zarr", model, optimizer) as recorder:\n        ...\n\n'
    )
    text += _summary("recorder", classes)
    text += title("Methods of a recorder", "-") + _summary("recorder", [f"Recorder.{name}" for name in methods])
    text += title("Callbacks for trainers of other libraries", "-")
    for library in ("lightning", "transformers"):
        text += _summary(f"recorder.integrations.{library}", ["RecorderCallback"])
    write(folder / "python-recorder.rst", text)


def _summary(module: str, names: list[str]) -> str:
    listed = "".join(f"   {name}\n" for name in names)
    return f".. currentmodule:: {module}\n\n.. autosummary::\n   :toctree: python/\n   :nosignatures:\n\n{listed}\n"


def command_pages(folder: Path) -> None:
    """Write one page for each command, and a list of them."""
    from commands import COMMANDS, names

    text = title("Commands") + (
        "Data goes to stdout, all else to stderr. Exit codes: 0 done; 1 refused, with one clear sentence about what is "
        "wrong and what\nto do; 2 wrong usage. Each page is the command's own ``--help``.\n\n"
        ".. code-block:: sh\n\n    analyzer info runs/demo.zarr\n    analyzer temperature runs/demo.zarr --by layer\n\n"
    )
    for program, group in COMMANDS.items():
        text += title(program, "-") + ".. toctree::\n   :maxdepth: 1\n\n"
        for name in names(group, program):
            page = name.replace(" ", "-")
            text += f"   commands/{page}\n"
            write(folder / "commands" / f"{page}.rst", title(name) + f".. command:: {name}\n")
        text += "\n"
    write(folder / "commands.rst", text)


def error_page(folder: Path) -> None:
    """Write every public error: what it says of itself, and the texts that it is raised with."""
    from importlib import import_module

    raised: dict[tuple[str, str], list[str]] = {}
    for package, error, message in messages():
        if message:
            raised.setdefault((package, error), []).append(message)
    text = title("Errors and their remedies") + (
        "Every error says what was expected, what was found, and what to do. Commands print it as one sentence and end "
        "with exit code 1;\nwith exit code 2 where the command itself was typed wrongly. The texts below are those of "
        "the code; ``…`` stands for what is filled in.\nSearch this page for the words that you were shown.\n\n"
        ".. code-block:: python\n\n    import analyzer\n\n    try:\n"
        '        analyzer.open_run("runs/none.zarr")\n'
        "    except analyzer.AnalyzerError as error:\n        print(error)\n\n"
    )
    for package in PACKAGES:
        text += title(package, "-")
        for name, kind in vars(import_module(f"{package}.errors")).items():
            if not (inspect.isclass(kind) and kind.__module__ == f"{package}.errors"):
                continue
            text += f".. _{package}-{name}:\n\n" + title(name, "~")
            summary = (kind.__doc__ or "").split("\n\n")[0]
            above = ", ".join(base.__name__ for base in kind.__bases__)
            text += f"{_escaped(' '.join(summary.split()))} Derives from {above}.\n\n"
            text += _listed(raised.get((package, name), []))
    text += title("Wrong usage of a command", "-") + "Exit code 2. The command's ``--help`` shows what it takes.\n\n"
    text += _listed(raised["analyzer", "UsageError"])
    write(folder / "errors.rst", text)


def _listed(texts: list[str]) -> str:
    return "".join(f"- {_escaped(text)}\n" for text in dict.fromkeys(texts)) + "\n"


def _escaped(text: str, kept: str = "") -> str:
    """Escape what reStructuredText would read as a mark, but for the marks in `kept`."""
    return re.sub(r"[\\`*_|<>\[\]:]", lambda mark: mark[0] if mark[0] in kept else f"\\{mark[0]}", text)


def gallery_page(folder: Path) -> None:
    """Write a section for each script of the gallery: its docstring, its figure, its code."""
    text = title("Gallery")
    text += "Each script shows one thing. Every one is run by the tests.\n\n"
    for script in sorted((ROOT / "examples/gallery").glob("[!_]*.py")):
        tree = ast.parse(script.read_text(encoding="utf-8"))
        first, _, rest = (ast.get_docstring(tree) or script.stem).partition("\n")
        text += title(first.rstrip("."), "-")
        described, commands = _described(rest)
        text += "\n\n".join(_escaped(paragraph, kept="`") for paragraph in described) + "\n\n"
        if commands:
            text += ".. code-block:: sh\n\n" + "".join(f"    {line}\n" for line in commands) + "\n"
        text += f".. image:: {os.path.relpath(script.with_suffix('.png'), folder)}\n   :alt: {_escaped(first)}\n\n"
        text += f".. literalinclude:: {os.path.relpath(script, folder)}\n   :language: python\n"
        text += f"   :lines: {(tree.body[0].end_lineno or 0) + 2}-\n\n"
    write(folder / "gallery.rst", text)


def _described(rest: str) -> tuple[list[str], list[str]]:
    """Divide a docstring: its paragraphs, and its lines that are commands."""
    paragraphs, commands = [], []
    for part in re.split(r"\n\s*\n", rest.strip()):
        lines = part.splitlines()
        if lines and all(re.match(r"\s*(python|analyzer|recorder) ", line) for line in lines):
            commands += [line.strip() for line in lines]
        elif part:
            paragraphs.append(" ".join(part.split()))
    return paragraphs, commands


def generate(app: Sphinx, config: Config) -> None:
    """Write all of them, and the notebooks beside them."""
    folder = Path(app.srcdir) / "generated"
    python_pages(folder)
    command_pages(folder)
    error_page(folder)
    gallery_page(folder)
    for notebook in sorted((ROOT / "examples/notebooks").glob("*.ipynb")):
        write(folder / "notebooks" / notebook.name, notebook.read_text(encoding="utf-8"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("config-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
