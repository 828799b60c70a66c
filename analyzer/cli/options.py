"""Options that the commands share, and their parameter types."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analyzer.query.kinds import WHOLE, listed
from analyzer.store.names import user_path

if TYPE_CHECKING:
    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType  # generic only from click 8.4 on

FORMATS = ("table", "csv", "json", "netcdf", "parquet")
MOST_WORKERS = 10_000
PICTURES = (".png", ".pdf", ".svg")
_MOST_INCHES = 100


class StepsOrEpoch(_Type):
    """Parses a number of steps, or "epoch"."""

    name = "STEPS|epoch"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "epoch" or isinstance(value, int):
            return value
        try:
            return int(value)
        except ValueError:
            self.fail(f"expected a number of steps or 'epoch', got {value!r}.", param, ctx)


class WindowOption(StepsOrEpoch):
    """Parses a number of steps, "epoch" or "rate"."""

    name = "STEPS|epoch|rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "rate" or isinstance(value, tuple) else super().convert(value, param, ctx)


class Lags(StepsOrEpoch):
    """Parses one lag; or several with commas between them, to a tuple."""

    name = "STEPS|epoch[,…]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, (int, tuple)) or "," not in value:
            return value if isinstance(value, tuple) else super().convert(value, param, ctx)
        return tuple(super(Lags, self).convert(one.strip(), param, ctx) for one in value.split(","))


class Bound(_Type):
    """Checks a step or a percentage of the range; with `auto`, "auto" is allowed too."""

    def __init__(self, auto: bool = False) -> None:
        self._auto = auto
        self.name = "STEP|PERCENT%|auto" if auto else "STEP|PERCENT%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if self._auto and value == "auto":
            return value
        if re.fullmatch(r"\d+|\d+(\.\d*)?%|\d+/\d+%", str(value)) is None:
            auto = ", or auto" if self._auto else ""
            self.fail(f"expected a step or a percentage such as 50%{auto}, got {value!r}.", param, ctx)
        return value


class UserPath(click.Path):
    """A path in which `~` is the home, even where the shell does not replace it, as in --output=~/a.csv."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(user_path(value), param, ctx)


class Picture(_Type):
    """Checks that a file has a suffix that matplotlib can write."""

    name = "FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if Path(value).suffix.lower() not in PICTURES:
            self.fail(f"expected a file ending in {', '.join(PICTURES)}, got {value!r}.", param, ctx)
        return user_path(value)


class Inches(_Type):
    """Parses a width and a height in inches, such as 8x4.5, to a pair."""

    name = "WIDTHxHEIGHT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*[x,×]\s*(\d+(?:\.\d+)?)", str(value))
        if found is None or not all(1 <= float(side) <= _MOST_INCHES for side in found.groups()):
            self.fail(f"expected inches from 1 to {_MOST_INCHES}, as in 8x4.5, got {value!r}.", param, ctx)
        return float(found[1]), float(found[2])


class Style(_Type):
    """Checks a matplotlib style: a name that matplotlib does not know is refused before anything is computed."""

    name = "STYLE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from analyzer.plots.style import wrong_style  # loads matplotlib, which only a picture needs

        path = user_path(value)
        if (wrong := wrong_style(path)) is not None:
            self.fail(wrong, param, ctx)
        return path


class Bytes(_Type):
    """Parses a size such as 2GB or 512MiB, or a plain number of bytes, to bytes."""

    name = "BYTES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B?", value)
        if found is None or float(found[1]) <= 0:
            self.fail(f"expected a size such as 2GB or 512MiB, got {value!r}.", param, ctx)
        power = "kMGT".find(found[2]) + 1 if found[2] else 0
        size = float(found[1]) * (1024 if found[3] else 1000) ** power
        return int(min(size, 1 << 62))  # more than any machine has


class Masses(_Type):
    """Parses a mass, or GLOB=MASS, to a glob (None without one) and a number."""

    name = "MASS|GLOB=MASS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        glob, equals, number = str(value).rpartition("=")
        try:
            return (glob if equals else None, float(number))
        except ValueError:
            self.fail(f"expected a number or GLOB=NUMBER, got {value!r}.", param, ctx)


class Groups(_Type):
    """Parses NAME=GLOB, a group of the user's own and the parameters in it, to a pair."""

    name = "NAME=GLOB"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        title, equals, glob = str(value).partition("=")
        if not (title and equals and glob):
            self.fail(f"expected NAME=GLOB, as in biases='*.bias', got {value!r}.", param, ctx)
        return title, glob


class Choice(_Type):
    """Parses NAME=VALUE, a hyperparameter and the value that a run must have, to a pair."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        title, equals, text = str(value).partition("=")
        if not (title and equals):
            self.fail(f"expected NAME=VALUE, as in batch_size=16, got {value!r}.", param, ctx)
        for kind in (int, float):
            try:
                return title, kind(text)
            except ValueError:
                continue
        return title, {"true": True, "false": False}.get(text.lower(), text)


def refuse_cluster(scheduler: str, asks: str) -> None:
    """Refuse a cluster for a command that reads many small answers."""
    if scheduler not in ("threads", "processes"):
        raise click.UsageError(
            f"--scheduler: expected threads or processes, got {scheduler}. {asks} reads many small answers. "
            "Leave it out."
        )


_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_GROUP = click.option(
    "--group",
    "groups",
    type=Groups(),
    multiple=True,
    help="Instead of --by: parameters that match GLOB form the group NAME. Repeatable, also with the same NAME.",
)
_START = click.option(
    "--start",
    type=Bound(auto=True),
    help="First frame; auto: where the run is in equilibrium; default: the first of the run.",
)
_WINDOW = click.option(
    "--window",
    type=WindowOption(),
    help="Length of a window; rate: one for each stretch of constant settings; default: the whole range.",
)
_LAG = click.option("--lag", type=StepsOrEpoch(), help="Time over which a velocity is taken; default: the stride.")
LAGS = click.option(
    "--lag",
    type=Lags(),
    help="Time over which a velocity is taken, or several, as in 1,3,10,epoch, from one pass; default: the stride.",
)
_EPOCHS = (
    click.option(
        "--steps-per-epoch",
        type=click.IntRange(min=1),
        metavar="N",
        help="Length of an epoch, instead of the recorded epochs: they end at steps N, 2 N, ...",
    ),
    click.option("--unequal-epochs", is_flag=True, help="Allow --lag epoch where epochs differ in length."),
)
_STOP = click.option("--stop", type=Bound(), help="Last frame; default: the last of the run.")
_SELECTION = (
    click.option("--parameter", multiple=True, metavar="GLOB", help="Only parameters whose names match. Repeatable."),
    click.option("--layer", multiple=True, metavar="GLOB", help="Only layers whose names match. Repeatable."),
    click.option(
        "--exclude",
        multiple=True,
        metavar="GLOB",
        help="Leave these parameters out; they do not count as degrees of freedom. Repeatable.",
    ),
    click.option("--frozen", is_flag=True, help="Also count weights that are not trained; default: leave them out."),
)
_FILES = (
    click.option(
        "--format", "format_", type=click.Choice(FORMATS), help="Default: by the suffix of --output, else table."
    ),
    click.option("--output", type=UserPath(writable=True), help="Write to this file, not to stdout."),
)

WIDE = click.option(
    "--wide", is_flag=True, help="All columns and whole names in a table; default: what fits 100 characters."
)
_PICTURE = (
    click.option("--plot", type=Picture(), help="Also draw a picture: .png, .pdf or .svg."),
    click.option("--figsize", type=Inches(), help="Width and height of the picture in inches, as in 8x4.5."),
    click.option(
        "--dpi", type=click.FloatRange(20, 1200), help="Resolution of the picture in dots per inch; default: 160."
    ),
    click.option("--style", type=Style(), help="A matplotlib style, as in dark_background, or a style file."),
)


def _by(kinds: str) -> _Decorator:
    return click.option("--by", default="layer", show_default=True, metavar="GROUP", help=kinds)


_GROUPS_AND_WINDOWS = (_by(f"{listed()}."), _GROUP, _WINDOW, _START, _STOP)


def _with(command: Callable[..., Any], *options: _Decorator) -> Callable[..., Any]:
    """Add options to a command, whose help lists them in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def query_options(command: Callable[..., Any], lag: _Decorator = _LAG) -> Callable[..., Any]:
    """Add the options that choose velocities, weights, groups and windows."""
    return _with(command, *_GROUPS_AND_WINDOWS, lag, *_SELECTION, *_EPOCHS)


def lag_query_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `query_options` to a command that takes several lags."""
    return query_options(command, LAGS)


def range_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose velocities and weights, to a command with one window and groups of its own."""
    return _with(command, _START, _STOP, _LAG, *_SELECTION, *_EPOCHS)


def series_options(command: Callable[..., Any], auto: bool = False) -> Callable[..., Any]:
    """Add the options that choose weights, whole-parameter groups and a range; with `auto`, from equilibrium on."""
    start = "First frame used; auto: where the run is in equilibrium" if auto else "First frame used"
    return _with(
        command,
        _by(f"{listed(WHOLE)}."),
        _GROUP,
        click.option("--start", type=Bound(auto), help=f"{start}; default: the first of the run."),
        _STOP,
        *_SELECTION,
    )


def dynamics_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose weights, groups and windows, at a lag of one stride."""
    return _with(command, *_GROUPS_AND_WINDOWS, *_SELECTION, _EPOCHS[0])


def modes_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose weights, groups of any kind and a range."""
    return _with(command, _by(f"{listed()}."), _GROUP, _START, _STOP, *_SELECTION)


def epoch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what an epoch is, to a command that takes a lag."""
    return _with(command, *_EPOCHS)


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose parameters."""
    return _with(command, *_SELECTION)


def sample_options(command: Callable[..., Any], weights: int, steps: int) -> Callable[..., Any]:
    """Add the options that say how many velocities are drawn of each group."""
    return _with(
        command,
        click.option(
            "--sample-weights", type=int, default=weights, show_default=True, help="Weights drawn of each group."
        ),
        click.option(
            "--sample-steps",
            type=int,
            default=steps,
            show_default=True,
            help="Steps drawn of each such weight.",
        ),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the sample."),
    )


def file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where the answer goes, and in which format."""
    return _with(command, *_FILES)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `file_options`, the width of a table, and the options to draw."""
    return file_options(_with(command, WIDE, *_PICTURE))


def execution_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of computing, named as in dask: where it runs, which sums it uses, its memory."""
    return _with(
        command,
        click.option(
            "--scheduler",
            default="threads",
            show_default=True,
            metavar="threads|processes|ADDRESS",
            help="Where the work is done; ADDRESS: of a dask.distributed scheduler, as in tcp://host:8786.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(1, MOST_WORKERS),
            help="Number of threads or processes; default: one a core.",
        ),
        click.option("--no-cache", is_flag=True, help="Neither use nor keep sums beside the store."),
        click.option("--cache", type=UserPath(file_okay=False), help="Keep the sums in this folder instead."),
        click.option(
            "--memory-limit",
            type=Bytes(),
            help="Refuse a question that is expected to need more; default: free memory.",
        ),
    )
