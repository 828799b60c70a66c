"""The `recorder` command: plan a recording, recover one after a crash, import checkpoints, annotate and trim stores."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from recorder.codecs import CODECS, DEFAULT
from recorder.errors import RecorderError, named_if_missing
from recorder.names import user_path
from recorder.text import make_encodable, printable
from recorder.version import VERSION


class Commands(click.Group):
    """A group of commands. A known error is printed as one line, and the exit code is 1."""

    def main(self, *arguments: Any, **rest: Any) -> Any:
        make_encodable()
        return super().main(*arguments, **rest)

    def invoke(self, context: click.Context) -> Any:
        try:
            with named_if_missing():
                return super().invoke(context)
        except RecorderError as error:
            print(printable(f"{type(error).__name__}: {error}"), file=sys.stderr)
            sys.exit(1)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            place, reason = error.filename or "a file", error.strerror or error
            told = f"System: {place}: expected to read and write it, got: {reason}. Mend that, then try again."
            print(printable(told), file=sys.stderr)
            sys.exit(1)
        except UnicodeEncodeError as error:
            told = (
                f"System: expected file names in UTF-8, got {error.encoding}, which cannot hold the "
                f"name {ascii(error.object)[:200]}. Set PYTHONUTF8=1, and try again."
            )
            print(told, file=sys.stderr)
            sys.exit(1)
        except click.ClickException as error:
            vars(error)["message"] = printable(error.message)  # it repeats what the user typed
            raise


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="recorder", message="%(prog)s %(version)s")
def main() -> None:
    """Recover, plan, import, annotate and trim recordings.

    Recording itself happens in the training script: `from recorder import Recorder`.

    \b
    recorder recover runs/gcn.zarr
    recorder import checkpoints/ -o runs/gcn.zarr
    recorder annotate runs/gcn.zarr seed=0
    recorder trim runs/gcn.zarr --every 10 -o runs/smaller.zarr
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

    result = recover_store(store, _tell)
    for message in result.messages:
        _tell(message)
    if result.rejected:
        _tell(f"frames left out because their checksum did not match: {result.rejected:,}")
    plural = "s" * (result.frames != 1)
    place = printable(str(store))
    print(f"{place}: {result.frames:,} frame{plural}, {result.recovered:,} of them recovered from the spool")


_COMPRESSION = click.option(
    "--compression", type=click.Choice(list(CODECS)), default=DEFAULT, show_default=True,
    help=f"All are lossless. {' '.join(f'{codec.name}: {codec.purpose}.' for codec in CODECS.values())}",
)  # fmt: skip
_OUTPUT = click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The new store.", metavar="STORE"
)
_OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace an existing store, once the new one is whole.")


@main.command("import", short_help="Make a store of a series of checkpoint files.")
@click.argument("checkpoints", nargs=-1, required=True)
@_OUTPUT
@click.option("--key", help="Name under which a torch file holds the weights; default: found if there is only one.")
@click.option("--prefix", default="", help="Take only tensors whose names begin with PREFIX, and remove it from them.")
@click.option("--step-pattern", metavar="REGEX", help=r"The step is the first group, as in 'ckpt_(\d+)'.")
@click.option("--steps-per-epoch", type=click.IntRange(min=1), help="Updates in an epoch, if the names count epochs.")
@click.option("--model", metavar="MODULE:FACTORY", help="Function that makes the model, which tells layers and axes.")
@click.option("--include", multiple=True, metavar="GLOB", help="Take only parameters that match; may be repeated.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out parameters that match; may be repeated.")
@_COMPRESSION
@click.option("--memory-limit", help="Most memory to use, such as 4GiB; default: three quarters of the free memory.")
@_OVERWRITE
@click.option("--dry-run", is_flag=True, help="Show which file becomes which step, and write nothing.")
def import_(checkpoints: tuple[str, ...], output: Path, dry_run: bool, **options: Any) -> None:
    """Make a store of CHECKPOINTS: files, folders and patterns of .safetensors, .pt, .pth, .ckpt, .bin and .npz.

    The step of a checkpoint is the one that its file holds, else the number in its name. Checkpoints of Lightning and
    transformers, and shards with an index, are recognised. No code in a file is run. An import that fails leaves
    nothing behind.

    \b
    recorder import checkpoints/ -o runs/gcn.zarr
    recorder import 'lightning_logs/**/*.ckpt' -o runs/gcn.zarr --prefix model. --model train:make_model
    """
    from recorder.imports.command import run

    run(checkpoints, user_path(output), dry_run=dry_run, **options)


@main.command(short_help="Set hyperparameters of a finished run.")
@click.argument("store", type=click.Path(path_type=Path))
@click.argument("settings", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--remove", multiple=True, metavar="NAME", help="Remove a hyperparameter; may be repeated.")
def annotate(store: Path, settings: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Set hyperparameters of a finished run, such as those that were forgotten.

    VALUE is read as a number, true, false, none or JSON if it has that form, else as text. Frames and kept sums do not
    change. A run that is still being written is refused.

    \b
    recorder annotate runs/gcn.zarr learning_rate=1e-3 seed=0
    """
    from recorder.writer.finished.annotate import annotate as annotate_store
    from recorder.writer.finished.annotate import parse_value

    if not settings and not remove:
        raise click.UsageError("Nothing to set: give NAME=VALUE, or --remove NAME.")
    if unclear := [text for text in settings if "=" not in text]:
        raise click.UsageError(f"Expected NAME=VALUE, got {unclear[0]!r}.")
    values = {name: parse_value(value) for name, _, value in (text.partition("=") for text in settings)}
    for name, (before, after) in annotate_store(user_path(store), values, remove, _tell).items():
        print(printable(f"{name}: {before!r} → {after!r}"))


@main.command(short_help="Make a smaller store of a run: a range of its steps, every n-th frame.")
@click.argument("store", type=click.Path(path_type=Path))
@_OUTPUT
@click.option("--keep", multiple=True, metavar="FROM:TO", help="Range to keep: 1000:2000 or 50%:; may be repeated.")
@click.option("--every", type=click.IntRange(min=1), default=1, show_default=True, help="Keep every EVERY-th frame.")
@click.option("--memory-limit", help="Most memory to use, such as 4GiB; default: three quarters of the free memory.")
@_OVERWRITE
@click.option("--dry-run", is_flag=True, help="Show what would be kept and lost, and write nothing.")
def trim(
    store: Path,
    output: Path,
    keep: tuple[str, ...],
    every: int,
    memory_limit: str | None,
    overwrite: bool,
    dry_run: bool,
) -> None:
    """Make a smaller store from STORE: a range of its steps, every n-th frame. STORE does not change.

    The command first shows what the smaller store can no longer answer.

    \b
    recorder trim runs/gcn.zarr --keep 50%: --every 10 -o runs/smaller.zarr
    """
    from recorder.budget import format_bytes, parse_bytes
    from recorder.writer.finished.trim import plan_trim, write_trim
    from recorder.writer.fresh import check_place

    place, limit = user_path(output), None if memory_limit is None else parse_bytes(memory_limit)
    if not dry_run:
        check_place(place, overwrite=overwrite)
    planned = plan_trim(user_path(store), keep, every)
    frames = planned.kept.frames.size
    _tell(f"{frames:,} of {planned.run.frames:,} frames are kept, one every {planned.kept.stride:,} steps")
    for sentence in planned.said:
        _tell(f"no longer answered: {sentence}")
    if dry_run:
        return
    with click.progressbar(length=frames, label="trimming", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        writer = write_trim(planned, place, overwrite=overwrite, memory_limit=limit, progress=bar.update, tell=_tell)
    print(f"{printable(str(place))}: {frames:,} frames, {format_bytes(writer.stored_bytes)}")


def _tell(sentence: str) -> None:
    print(f"recorder: {printable(sentence)}", file=sys.stderr, flush=True)


@main.command(short_help="Show the size, rate and spool of a recording before it starts.")
@click.option("--elements", type=click.IntRange(min=1), required=True, help="Number of weights of the model.")
@click.option("--steps", type=click.IntRange(min=1), required=True, help="Number of optimizer steps of the run.")
@click.option("--steps-per-second", type=click.FloatRange(min=0, min_open=True), help="Speed of the training.")
@click.option("--stride", type=click.IntRange(min=1), default=1, show_default=True, help="Record every STRIDE-th step.")
@click.option(
    "--dtype", type=click.Choice(["float16", "bfloat16", "float32", "float64"]), default="float32", show_default=True,
    help="Type of the weights.",
)  # fmt: skip
@_COMPRESSION
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
    """Show the size, rate and spool of a recording before it starts.

    The exit code is 1 if it would not fit on the disk.

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
