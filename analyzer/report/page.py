"""The page: sections, styles and scripts in one HTML text that loads nothing from outside.

uPlot draws the charts (MIT licence, assets/uPlot.LICENSE.txt). Its 51 KB are part of the page, a seventieth of plotly's
size; it zooms, shows values under the pointer and draws thousands of points at once. Maps are drawn by assets/maps.js.

Names in a store may contain anything, even scripts. Three things keep them from running in a reader's browser: the
template escapes all text, the page's scripts set text and never HTML, and the page's content security policy allows
only scripts and styles with the SHA-256 that it lists.
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

from analyzer.errors import (
    AnalyzerError,
    BranchWarning,
    EquilibriumWarning,
    FitWarning,
    NonFiniteWarning,
    ReportError,
    SettingsWarning,
    StoreNotFoundError,
    StrideWarning,
)
from analyzer.query.names import column_names
from analyzer.report.checks import checks
from analyzer.report.content import Chart, Content, Gallery, Map, Note, Section, Table
from analyzer.report.curves import losses, temperatures
from analyzer.report.dynamics import directions, motion, spectra
from analyzer.report.equilibrium import equilibrium
from analyzer.report.factors import factors
from analyzer.report.fits import fits
from analyzer.report.overview import last_loss, overview
from analyzer.report.rows import rows
from analyzer.report.subject import Asked, Subject, within_budget
from analyzer.report.text import NONE, number, value_text
from analyzer.report.velocities import velocities
from analyzer.text import printable
from analyzer.version import version


@dataclass(frozen=True)
class Part:
    """A section of the report and the function that writes it.

    Attributes
    ----------
    anchor
        Its name in links: letters and dashes.
    write
        Returns the section's contents, from a run or from all runs. If it raises an error, the section shows its
        message.
    """

    anchor: str
    title: str
    write: Callable[[Any, Asked], list[Content]]


RUN_PARTS = (
    Part("overview", "Overview", overview),
    Part("loss", "Loss", losses),
    Part("temperature", "Temperature", temperatures),
    Part("equilibrium", "Equilibrium", equilibrium),
    Part("rows", "Rows, hot and cold", rows),
    Part("factors", "Rows × columns", factors),
    Part("velocities", "Velocities", velocities),
    Part("dynamics", "Dynamics", motion),
    Part("spectrum", "Spectrum", spectra),
    Part("modes", "Modes", directions),
    Part("checks", "Physical checks", checks),
)
"""Sections of each run, in order. A new section is a function that returns contents, and a line here."""
SWEEP_PARTS = (Part("fits", "Fits over the sweep", fits),)
"""Sections of several runs together. Their functions receive all runs that could be read."""
LARGEST = 5_000_000
"""Most bytes of a page."""
_MOST_HYPERPARAMETERS = 6


@dataclass(frozen=True)
class RunPart:
    """The sections of one run."""

    name: str
    sections: Sequence[Section]


@dataclass(frozen=True)
class Failure:
    """A run or a section that the page cannot show.

    Attributes
    ----------
    run, section
        Name of the run, empty for all runs together; title of the section, empty for a run that was not opened.
    why
        The error, in one sentence.
    foreseen
        Whether the analyzer refused to answer, for example for a run that is too short. Any other error is a fault of
        this program or of the machine.
    """

    run: str
    section: str
    why: str
    foreseen: bool


def page(
    locations: Sequence[str],
    asked: Asked | None = None,
    told: Callable[[float], None] | None = None,
    failed: Callable[[Failure], None] | None = None,
) -> str:
    """Write the report of one or several runs.

    Parameters
    ----------
    locations
        Paths and URLs of stores.
    asked
        Options of the report.
    told
        Called after each section with the number of sections that are done.
    failed
        Called with each section and each run that the page cannot show.

    Returns
    -------
    str
        HTML that loads nothing from outside. If something cannot be shown, because a chunk is damaged, the run is too
        short or weights are not finite, the section says so. An error in one section does not affect the others.

    Raises
    ------
    AnalyzerError
        No run could be opened, a path does not exist, or the page would be larger than 5 MB.
    """
    asked = asked or Asked()
    failures: list[Failure] = []
    subjects = _opened(locations, asked, failures)
    refused = [failure.why for failure in failures]
    asked = within_budget(subjects, asked)
    done = 0

    def next_one() -> None:
        nonlocal done
        done += 1
        if told is not None:
            told(done)

    common: list[Section] = []
    if len(locations) > 1:
        compared = Part("runs", "Runs", lambda subjects, _: _runs(subjects, refused))
        common.append(_written(compared, subjects, asked, "", failures))
        for part in SWEEP_PARTS if len(subjects) > 1 else ():
            common.append(_written(part, subjects, asked, "", failures))
            next_one()
    parts = []
    for subject in subjects:
        sections = []
        for part in RUN_PARTS:
            sections.append(_written(part, subject, asked, subject.name, failures))
            next_one()
        parts.append(RunPart(subject.name, sections))
    if failed is not None:
        for failure in failures:
            failed(failure)
    text = render(common, parts)
    size = len(text.encode("utf-8", "replace"))
    if size > LARGEST:
        raise ReportError(
            f"Report: expected a page of at most {LARGEST / 1e6:g} MB, got {size / 1e6:.1f} MB for {len(subjects)} "
            "runs. Larger pages are slow in a browser. Report fewer runs at a time, or coarser groups: --by model",
            size=size,
        )
    return text


def sections_of(runs: int) -> int:
    """Return the number of sections in a report of `runs` runs."""
    return runs * len(RUN_PARTS) + (len(SWEEP_PARTS) if runs > 1 else 0)


def _opened(locations: Sequence[str], asked: Asked, failures: list[Failure]) -> list[Subject]:
    """Open the runs; return those that could be opened. The others are added to the failures.

    A path that does not exist is probably a typing error, so that error is raised.
    """
    subjects: list[Subject] = []
    first: Exception | None = None
    for location, name in zip(locations, _names(locations), strict=True):
        try:
            subjects.append(Subject(location, name, asked))
        except StoreNotFoundError:
            raise
        except Exception as error:  # the other runs are still reported
            failures.append(Failure(name, "", sentence_of(error), isinstance(error, AnalyzerError)))
            first = first or error
    if not subjects and first is not None:
        raise first
    return subjects


def sentence_of(error: Exception) -> str:
    """Return the message of an error in one line: that of our own errors, or a sentence about any other."""
    if isinstance(error, AnalyzerError):
        return str(error)
    text = " ".join(str(error).split())
    found = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, (OSError, MemoryError)):
        return f"Report: expected a machine that reads and computes, got {found}. Mend the cause, and ask again."
    return (
        f"Report: expected an answer, got {found}. This is a fault of the analyzer. Run the command of this section "
        "alone, and report the fault with its output."
    )


def _names(locations: Sequence[str]) -> list[str]:
    """Return the last part of each path, or whole paths if the last parts are not unique."""
    last = [PurePath(location.rstrip("/")).name or location for location in locations]
    return last if len(set(last)) == len(last) else list(locations)


def _written(part: Part, what: Any, asked: Asked, name: str, failures: list[Failure]) -> Section:
    """Write a section, or the error that prevented it. Warnings of the analyzer come first."""
    loud = (BranchWarning, EquilibriumWarning, FitWarning, NonFiniteWarning, SettingsWarning, StrideWarning)
    with warnings.catch_warnings(record=True) as heard:
        for category in loud:
            warnings.simplefilter("always", category)
        try:
            contents = part.write(what, asked)
            _check_drawn(contents)
        except Exception as error:  # no error of any kind may stop the other sections
            why = sentence_of(error)
            contents = [Note(why, problem=True)]
            failures.append(Failure(name, part.title, why, isinstance(error, AnalyzerError)))
    said = dict.fromkeys(str(warning.message) for warning in heard if issubclass(warning.category, loud))
    return Section(part.anchor, part.title, [*(Note(text, problem=True) for text in said), *contents])


def _check_drawn(contents: Sequence[Content]) -> None:
    """Compute the numbers of all figures now, so that an error there belongs to the section and not to the page."""
    for content in contents:
        for figure in content.figures if isinstance(content, Gallery) else (content,):
            if isinstance(figure, (Chart, Map)) and not figure.empty:
                figure.data()


def _runs(subjects: Sequence[Subject], refused: Sequence[str]) -> list[Content]:
    """Return a table that compares the runs of a report, and a note on each run that could not be opened."""
    known = [subject.store.attrs.get("hyperparameters") for subject in subjects]
    settings = [one if isinstance(one, dict) else {} for one in known]
    names = list(dict.fromkeys(str(key) for one in settings for key in one))
    varying = [name for name in names if len({value_text(one.get(name)) for one in settings}) > 1]
    shown = varying[:_MOST_HYPERPARAMETERS]
    titles = column_names(shown, ("run", "status", "frames", "last_loss", "last loss"))
    columns = ("run", "status", "frames", *(titles[name].replace("_", " ") for name in shown), "last loss")
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
    return [*(Note(f"Not opened: {why}", problem=True) for why in refused), table]


def _visible(value: object) -> object:
    """Return a text with escapes for characters that nobody sees, but which can turn the order of others around."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "\n".join(map(printable, value.split("\n")))


def render(common: Sequence[Section], parts: Sequence[RunPart]) -> str:
    """Return the HTML page of all sections."""
    environment = Environment(
        loader=PackageLoader("analyzer.report", "templates"),
        autoescape=True,
        finalize=_visible,
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
