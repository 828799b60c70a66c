"""The command line. Modules of commands import click alone at the top: help and `info` must not wait for xarray."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from typing import Any

import click

from analyzer.cli.text import make_encodable, of_a_file, printable, say, warnings_in_a_line
from analyzer.errors import AnalyzerError, named_if_missing

COMMANDS = (
    "info",
    "watch",
    "temperature",
    "velocity",
    "equilibration",
    "rows",
    "distribution",
    "dynamics",
    "spectrum",
    "modes",
    "check",
    "fit",
    "report",
    "verify",
    "cache",
)
"""Commands. Each is a function of this name in a module of this name, in `analyzer.cli.commands`."""


_HELP: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""Raised by click 8.2 and later if a command without arguments shows its help. The help has many lines."""


class Commands(click.Group):
    """A group that turns errors into one line on stderr: exit code 1 for a refusal, 130 for Ctrl-C."""

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


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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


for name in COMMANDS:
    cli.add_command(getattr(import_module(f"{__name__}.commands.{name}"), name))
