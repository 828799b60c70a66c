"""The `recorder` command: plan a recording before its training, recover one after a crash."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from recorder.codecs import CODECS, DEFAULT
from recorder.errors import RecorderError
from recorder.names import user_path
from recorder.text import make_encodable, printable
from recorder.version import VERSION


class Commands(click.Group):
    """A group of commands. A known error ends each with one line and exit code 1."""

    def main(self, *arguments: Any, **rest: Any) -> Any:
        make_encodable()
        return super().main(*arguments, **rest)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except RecorderError as error:
            print(printable(f"{type(error).__name__}: {error}"), file=sys.stderr)
            sys.exit(1)
        except UnicodeEncodeError as error:
            told = (
                f"System: expected file names in UTF-8, got a system that has {error.encoding}. The name "
                f"{ascii(error.object)[:200]} has no form in it. Set PYTHONUTF8=1, and try again."
            )
            print(told, file=sys.stderr)
            sys.exit(1)
        except click.ClickException as error:
            vars(error)["message"] = printable(error.message)  # what users wrote is repeated in it
            raise


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="recorder", message="%(prog)s %(version)s")
def main() -> None:
    """Recover and plan recordings. Recording itself happens in the training script: `from recorder import Recorder`.

    \b
    recorder recover runs/gcn.zarr
    recorder plan --elements 11786 --steps 187500 --steps-per-second 50
    """


@main.command(short_help="Bring the frames that a dead recording left in its spool into its store.")
@click.argument("store", type=click.Path(path_type=Path))
def recover(store: Path) -> None:
    """Bring the frames that a dead recording left in its spool into STORE, and close it.

    Safe to repeat. A run that is still being written is refused.

    \b
    recorder recover runs/gcn.zarr
    """
    from recorder.writer.recovery import recover as recover_store

    store = user_path(store)

    def tell(sentence: str) -> None:
        print(f"recorder: {printable(sentence)}", file=sys.stderr, flush=True)

    result = recover_store(store, tell)
    for message in result.messages:
        tell(message)
    if result.rejected:
        tell(f"{result.rejected:,} frames failed their checksum and are left out")
    print(f"{printable(str(store))}: {result.frames:,} frames, {result.recovered:,} of them recovered from the spool")


@main.command(short_help="Say what a recording will take before it is made.")
@click.option("--elements", type=click.IntRange(min=1), required=True, help="Number of weights of the model.")
@click.option("--steps", type=click.IntRange(min=1), required=True, help="Number of optimizer steps of the run.")
@click.option("--steps-per-second", type=click.FloatRange(min=0, min_open=True), help="Speed of the training.")
@click.option("--stride", type=click.IntRange(min=1), default=1, show_default=True, help="Record every STRIDE-th step.")
@click.option(
    "--dtype", type=click.Choice(["float16", "bfloat16", "float32", "float64"]), default="float32", show_default=True,
    help="Type of the weights.",
)  # fmt: skip
@click.option(
    "--compression", type=click.Choice(list(CODECS)), default=DEFAULT, show_default=True,
    help=f"All are lossless. {' '.join(f'{codec.name}: {codec.purpose}.' for codec in CODECS.values())}",
)  # fmt: skip
@click.option("--spool-limit", help="Most bytes that the spool may take; default: 1 GiB, up to 4 GiB if needed.")
@click.option("--store", type=click.Path(path_type=Path), default=Path(), help="Where the run would go; default: here.")
def plan(
    elements: int,
    steps: int,
    steps_per_second: float | None,
    stride: int,
    dtype: str,
    compression: str,
    spool_limit: str | None,
    store: Path,
) -> None:
    """Say what a recording will take before it is made: size, rate, spool.

    Exit code 1 when it would not fit the disk.

    \b
    recorder plan --elements 11786 --steps 187500 --steps-per-second 50
    """
    from recorder.budget import parse_bytes, plan_budget
    from recorder.schema import Parameter, Plane, Schema
    from recorder.trainer.plan import check_plan
    from recorder.writer.rate import describe_rate

    parameter = Parameter("model", (elements,), dtype, "", "", "", "", ("",))
    schema = Schema((parameter,), (Plane(dtype, "cpu", elements),))
    budget = plan_budget(schema, 1, spool_limit=None if spool_limit is None else parse_bytes(spool_limit))
    print(check_plan(user_path(store), schema, budget, -(-steps // stride), compression))
    if steps_per_second is not None:
        print(describe_rate(schema, steps_per_second / stride, compression))


if __name__ == "__main__":
    main()
