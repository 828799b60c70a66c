"""The `recorder` command: what concerns a recording outside of its training script."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from recorder.errors import RecorderError


class Commands(click.Group):
    """A group whose commands end a known error with one line and exit code 1."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except RecorderError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            sys.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="thermotrace", prog_name="recorder", message="%(prog)s %(version)s")
def main() -> None:
    """Recover and plan recordings. Recording itself happens in the training script: `from recorder import Recorder`.

    \b
    recorder recover runs/gcn.zarr
    recorder plan --elements 11786 --steps 187500 --steps-per-second 50
    """


@main.command(short_help="Bring what a dead recording left in its spool into its store.")
@click.argument("store", type=click.Path(path_type=Path))
def recover(store: Path) -> None:
    """Bring the frames that a dead recording left in its spool into STORE, and close it.

    Safe to repeat. A run that is still being written is refused.

    \b
    recorder recover runs/gcn.zarr
    """
    from recorder.recovery import recover as recover_store

    result = recover_store(store.absolute())
    for message in result.messages:
        print(f"recorder: {message}", file=sys.stderr)
    if result.rejected:
        print(f"recorder: {result.rejected:,} frames failed their checksum and are left out", file=sys.stderr)
    print(f"{store}: {result.frames:,} frames, {result.recovered:,} of them recovered from the spool")


@main.command(short_help="Say what a recording will take, before it is made.")
@click.option("--elements", type=click.IntRange(min=1), required=True, help="Weights of the model.")
@click.option("--steps", type=click.IntRange(min=1), required=True, help="Optimizer steps of the run.")
@click.option("--steps-per-second", type=click.FloatRange(min=0, min_open=True), help="Speed of the training.")
@click.option("--stride", type=click.IntRange(min=1), default=1, show_default=True, help="Record every STRIDE-th step.")
@click.option(
    "--dtype", type=click.Choice(["float16", "bfloat16", "float32", "float64"]), default="float32", show_default=True,
    help="Of the weights.",
)  # fmt: skip
@click.option("--compression", type=click.Choice(["pcodec", "lz4", "none"]), default="pcodec", show_default=True,
              help="All of them lossless.")  # fmt: skip
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
    """Say what a recording will take, before it is made: size, rate, spool.

    Exit code 1 when it would not fit the disk.

    \b
    recorder plan --elements 11786 --steps 187500 --steps-per-second 50
    """
    from recorder.budget import parse_bytes, plan_budget
    from recorder.plan import check_plan
    from recorder.rate import describe_rate
    from recorder.schema import Parameter, Plane, Schema

    parameter = Parameter("model", (elements,), dtype, "", "", "", "", ("",))
    schema = Schema((parameter,), (Plane(dtype, "cpu", elements),))
    budget = plan_budget(schema, 1, spool_limit=None if spool_limit is None else parse_bytes(spool_limit))
    print(check_plan(store.absolute(), schema, budget, -(-steps // stride), compression))
    if steps_per_second is not None:
        print(describe_rate(schema, steps_per_second / stride, compression))


if __name__ == "__main__":
    main()
