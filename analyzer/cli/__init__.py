"""The command line. Modules of commands import click alone at the top: help and `info` must not wait for xarray."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import click

from analyzer.cli.text import make_encodable, of_a_file, printable, say, warnings_in_a_line
from analyzer.errors import AnalyzerError, named_if_missing

COMMANDS = {
    "cache": "Sums kept beside a store: fill, show or drop them.",
    "check": "Physical checks: what is measured beside what is expected, with a verdict if one is valid.",
    "distribution": "How velocities are distributed, beside the Maxwell–Boltzmann curve.",
    "dynamics": "How weights move: velocity correlation and mean squared displacement by lag.",
    "equilibration": "From which step on temperatures, displacements and the loss are stationary.",
    "fit": "Temperatures of a sweep, fitted against a hyperparameter.",
    "info": "What a store holds: status, frames, parameters, sizes.",
    "modes": "In which directions weights move, and whether a random walk would look the same.",
    "report": "One HTML page: overview, curves, equilibrium, rows, fits.",
    "rows": "Rows from hot to cold, and whether they differ.",
    "spectrum": "Which frequencies the velocities have: Welch's spectral density.",
    "temperature": "Temperatures of groups of weights, by window.",
    "velocity": "Mean and mean squared velocities of groups of weights, by window.",
    "verify": "Read every chunk: checksums, finite weights, steps, gaps.",
    "watch": "Watch a run while it is recorded: one live table, refreshed at each commit.",
}
"""Commands and their summaries. Each is a function in a module of its own name, in `analyzer.cli.commands`."""


class Loaded(Mapping[str, click.Command]):
    """The commands by name. The module of one is loaded when it is asked for: help and the others do without."""

    def __getitem__(self, name: str) -> click.Command:
        if name not in COMMANDS:
            raise KeyError(name)
        command: click.Command = getattr(import_module(f"{__name__}.commands.{name}"), name)
        command.short_help = COMMANDS[name]
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


_HELP: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""Raised by click 8.2 and later if a command without arguments shows its help. The help has many lines."""


class Commands(click.Group):
    """A group that turns errors into one line on stderr: exit code 1 for a refusal, 130 for Ctrl-C."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, *arguments: Any, **rest: Any) -> Any:
        make_encodable()
        return super().main(*arguments, **rest)

    def make_context(self, *arguments: Any, **rest: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **rest)
        except click.ClickException as error:
            raise _shown(error) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings_in_a_line(), named_if_missing():
                return super().invoke(ctx)
        except AnalyzerError as error:
            raise _shown(click.ClickException(str(error))) from error
        except click.ClickException as error:
            raise _shown(error) from error.__cause__
        except BrokenPipeError:
            raise  # the reader has closed the pipe, as `| head` does: click then ends without a message
        except OSError as error:
            raise _shown(click.ClickException(of_a_file(error))) from error
        except UnicodeEncodeError as error:
            raise _shown(click.ClickException(
                f"System: expected file names in UTF-8, got {error.encoding}, which cannot hold the "
                f"name {ascii(error.object)[:200]}. Nothing was answered. Set PYTHONUTF8=1, and try again."
            )) from error  # fmt: skip
        except MemoryError as error:
            raise click.ClickException(
                f"Memory: expected enough for this question, got none left ({error or 'no details given'}). Nothing "
                "was answered. Take fewer --workers, a coarser --by or longer windows."
            ) from error
        except KeyboardInterrupt:
            # Libraries may leave objects half made. What Python prints about errors in their `__del__` helps nobody.
            sys.unraisablehook = _say_nothing
            say("Interrupted: no output was written.", err=True)
            raise click.exceptions.Exit(130) from None


def _say_nothing(_: object) -> None:
    pass


def _shown(error: click.ClickException) -> click.ClickException:
    """The error, ready to print: texts of users in its message are made safe, and it goes to the stream of `say`."""
    if not isinstance(error, _HELP):
        vars(error)["message"] = printable(error.message)
    vars(error)["show"] = partial(error.show, file=sys.stderr)
    return error


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from analyzer.version import version

        say(f"analyzer {version()}")
        ctx.exit()


@click.group(
    cls=Commands,
    commands=Loaded(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version."
)
def cli() -> None:
    """Temperatures of neural networks, from recorded trajectories.

    \b
    analyzer info runs/gcn.zarr
    analyzer temperature runs/gcn.zarr --by row --window epoch
    analyzer velocity runs/gcn.zarr --by element --parameter conv2.lin.weight
    """
