"""The command line. Modules here import click alone at the top: help and `info` must not wait for numba and xarray."""

from __future__ import annotations

import os
from typing import Any

import click

from analyzer.cli.cache import cache
from analyzer.cli.check import check
from analyzer.cli.distribution import distribution
from analyzer.cli.equilibration import equilibration
from analyzer.cli.fit import fit
from analyzer.cli.info import info
from analyzer.cli.quantities import temperature, velocity
from analyzer.cli.report import report
from analyzer.cli.rows import rows
from analyzer.cli.text import printable
from analyzer.cli.verify import verify
from analyzer.errors import AnalyzerError


class Commands(click.Group):
    """A group in which a refusal of the analyzer is one line on stderr and exit code 1, Ctrl-C one line and 130."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AnalyzerError as error:
            raise click.ClickException(printable(str(error))) from error
        except click.ClickException as error:
            vars(error)["message"] = printable(error.message)  # what users wrote is repeated, too
            raise
        except BrokenPipeError:
            raise  # whoever reads has seen enough, as in `| head`: click ends without a word
        except OSError as error:
            raise click.ClickException(printable(_of_a_file(error))) from error
        except MemoryError as error:
            raise click.ClickException(
                f"Memory: expected enough for this question, got none left ({error or 'no more is said'}). Nothing was "
                "answered. Take fewer --workers, a coarser --by or longer windows."
            ) from error
        except KeyboardInterrupt:
            click.echo("Interrupted: no output was written.", err=True)
            raise click.exceptions.Exit(130) from None


def _of_a_file(error: OSError) -> str:
    """A failure of the system, in a sentence: those that a command foresees say more."""
    if error.filename is None:
        return f"System: expected to read and write, got: {error.strerror or error}. Nothing was answered. Try again."
    return (
        f"{os.fsdecode(error.filename)}: expected a path that can be read and written, got: {error.strerror}. Nothing "
        "was answered. Check the path and its permissions."
    )


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from analyzer.version import version

        click.echo(f"analyzer {version()}")
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


for command in (info, temperature, velocity, equilibration, rows, distribution, check, fit, report, verify, cache):
    cli.add_command(command)
