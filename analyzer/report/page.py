"""The page: sections of every run and of the sweep, styles and scripts, in one HTML text that loads nothing.

Charts are drawn by uPlot (MIT licence, assets/uPlot.LICENSE.txt), 51 KB that stand in the page: it zooms, hovers and
draws thousands of points at once, in a seventieth of plotly's bundle. Maps are a canvas of our own.

A name in a store may be anything. Three walls stand between it and a reader's browser: the template escapes all text,
scripts set text and never HTML, and a policy in the page runs only scripts and styles whose SHA-256 it names.
"""

from __future__ import annotations

import warnings
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from pathlib import PurePath
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analyzer.errors import AnalyzerError, EquilibriumWarning, NonFiniteWarning, ReportError, StoreNotFoundError
from analyzer.report.blocks import Block, Note, Section, Table
from analyzer.report.checks import checks
from analyzer.report.curves import losses, temperatures
from analyzer.report.equilibrium import equilibrium
from analyzer.report.fits import fits
from analyzer.report.overview import last_loss, overview
from analyzer.report.rows import rows
from analyzer.report.subject import Asked, Subject, within_budget
from analyzer.report.text import NONE, number, value_text
from analyzer.report.velocities import velocities
from analyzer.version import version


@dataclass(frozen=True)
class Part:
    """How a section comes about.

    Attributes
    ----------
    anchor
        Its name in links: letters and dashes.
    write
        From a run, or from all runs, its blocks. An `AnalyzerError` is told in the section's place.
    """

    anchor: str
    title: str
    write: Callable[[Any, Asked], list[Block]]


RUN_PARTS = (
    Part("overview", "Overview", overview),
    Part("loss", "Loss", losses),
    Part("temperature", "Temperature", temperatures),
    Part("equilibrium", "Equilibrium", equilibrium),
    Part("rows", "Rows, hot and cold", rows),
    Part("velocities", "Velocities", velocities),
    Part("checks", "Physical checks", checks),
)
"""Of each run, in order. A further section is a function that gives blocks, and a line here."""
SWEEP_PARTS = (Part("fits", "Fits over the sweep", fits),)
"""Of several runs together: their functions are given all that could be read."""
LARGEST = 5_000_000
"""Bytes of a page."""
_MOST_HYPERPARAMETERS = 6


@dataclass(frozen=True)
class RunPart:
    """The sections of one run."""

    name: str
    sections: Sequence[Section]


def page(locations: Sequence[str], asked: Asked | None = None, told: Callable[[float], None] | None = None) -> str:
    """The report of one run, or of several.

    Parameters
    ----------
    locations
        Paths and URLs of stores.
    asked
        What is shown.
    told
        Is told how many sections are done.

    Returns
    -------
    str
        HTML that loads nothing. What cannot be shown of a run is said in its place: a damaged chunk, a run too short,
        weights that are not finite.

    Raises
    ------
    AnalyzerError
        No run could be opened, or the page would be larger than 5 MB.
    """
    asked = asked or Asked()
    subjects, refused = _opened(locations, asked)
    asked = within_budget(subjects, asked)
    done = 0

    def next_one() -> None:
        nonlocal done
        done += 1
        if told is not None:
            told(done)

    common: list[Section] = []
    if len(locations) > 1:
        common.append(_runs(subjects, refused))
        for part in SWEEP_PARTS if len(subjects) > 1 else ():
            common.append(_written(part, subjects, asked))
            next_one()
    parts = []
    for subject in subjects:
        sections = []
        for part in RUN_PARTS:
            sections.append(_written(part, subject, asked))
            next_one()
        parts.append(RunPart(subject.name, sections))
    text = render(common, parts)
    size = len(text.encode("utf-8", "replace"))
    if size > LARGEST:
        raise ReportError(
            f"Report: expected a page of at most {LARGEST / 1e6:g} MB, got {size / 1e6:.1f} MB for {len(subjects)} "
            "runs. Browsers grow slow on it. Report fewer runs at a time, or coarser groups: --by model",
            size=size,
        )
    return text


def sections_of(runs: int) -> int:
    """How many sections a report of so many runs has."""
    return runs * len(RUN_PARTS) + (len(SWEEP_PARTS) if runs > 1 else 0)


def _opened(locations: Sequence[str], asked: Asked) -> tuple[list[Subject], dict[str, str]]:
    """The runs, and why others are none. A path without anything is a slip of the pen, and refused at once."""
    subjects: list[Subject] = []
    refused: dict[str, str] = {}
    first: AnalyzerError | None = None
    for location, name in zip(locations, _names(locations), strict=True):
        try:
            subjects.append(Subject(location, name, asked))
        except StoreNotFoundError:
            raise
        except AnalyzerError as error:
            refused[location] = str(error)
            first = first or error
    if not subjects and first is not None:
        raise first
    return subjects, refused


def _names(locations: Sequence[str]) -> list[str]:
    """The last part of each path, if that tells them apart."""
    last = [PurePath(location.rstrip("/")).name or location for location in locations]
    return last if len(set(last)) == len(last) else list(locations)


def _written(part: Part, what: Any, asked: Asked) -> Section:
    """A section, or what kept it from being written; what the analyzer warned of stands above it."""
    loud = (EquilibriumWarning, NonFiniteWarning)
    with warnings.catch_warnings(record=True) as heard:
        for category in loud:
            warnings.simplefilter("always", category)
        try:
            blocks = part.write(what, asked)
        except AnalyzerError as error:
            blocks = [Note(str(error), problem=True)]
    said = dict.fromkeys(str(warning.message) for warning in heard if issubclass(warning.category, loud))
    return Section(part.anchor, part.title, [*(Note(text, problem=True) for text in said), *blocks])


def _runs(subjects: Sequence[Subject], refused: dict[str, str]) -> Section:
    """The runs of a report beside each other."""
    known = [subject.store.attrs.get("hyperparameters") for subject in subjects]
    settings = [one if isinstance(one, dict) else {} for one in known]
    names = list(dict.fromkeys(str(key) for one in settings for key in one))
    varying = [name for name in names if len({value_text(one.get(name)) for one in settings}) > 1]
    shown = varying[:_MOST_HYPERPARAMETERS]
    columns = ("run", "status", "frames", *(name.replace("_", " ") for name in shown), "last loss")
    lines = []
    for subject, one in zip(subjects, settings, strict=True):
        loss = None if subject.tree is None else last_loss(subject)
        lines.append(
            (
                subject.name,
                subject.store.status or NONE,
                number(subject.store.frames),
                *(value_text(one[name]) if name in one else NONE for name in shown),
                NONE if loss is None else number(loss[1]),
            )
        )
    table = Table(columns, lines, numeric=frozenset(columns[2:]))
    notes = [Note(f"Not opened: {why}", problem=True) for why in refused.values()]
    return Section("runs", "Runs", [*notes, table])


def render(common: Sequence[Section], parts: Sequence[RunPart]) -> str:
    """Sections as a page."""
    environment = Environment(
        loader=PackageLoader("analyzer.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":"), "ensure_ascii": False}
    style = _asset("uPlot.min.css") + _asset("page.css")
    script = "".join(_asset(name) for name in ("uPlot.iife.min.js", "format.js", "charts.js", "maps.js", "page.js"))
    return environment.get_template("page.html.j2").render(
        common=common,
        parts=parts,
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=version(),
        licence=Markup(_asset("uPlot.LICENSE.txt").replace("--", "- -")),
    )


def _asset(name: str) -> str:
    text = files("analyzer.report").joinpath("assets", name).read_text(encoding="utf-8").replace("\r\n", "\n")
    return text if text.endswith("\n") else text + "\n"


def _digest(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode("ascii")
