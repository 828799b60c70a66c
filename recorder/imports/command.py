"""`recorder import`: shows what it will do, imports, and shows what it made."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from recorder.budget import format_bytes, parse_bytes
from recorder.imports.build import build
from recorder.imports.series import Choices, describe, look
from recorder.patterns import listing
from recorder.text import printable
from recorder.writer.fresh import check_place


def run(
    checkpoints: Sequence[str],
    store: Path,
    *,
    include: Sequence[str],
    exclude: Sequence[str],
    compression: str,
    memory_limit: str | None,
    overwrite: bool,
    dry_run: bool,
    **names: Any,
) -> None:
    """Show which file becomes which step, then make the store; `names` are further choices."""
    limit = None if memory_limit is None else parse_bytes(memory_limit)
    if not dry_run:
        check_place(store, overwrite=overwrite)
    series = look(checkpoints, Choices(include=include or None, exclude=exclude or None, **names))
    for line in describe(series):
        tell(line)
    for sentence in series.said:
        tell(sentence)
    if dry_run:
        return
    with click.progressbar(
        length=len(series.members),
        label="importing",
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
        show_pos=True,
    ) as bar:
        made = build(
            series,
            store,
            overwrite=overwrite,
            compression=compression,
            memory_limit=limit,
            progress=bar.update,
            tell=tell,
        )
    if made.unchanged and len(made.unchanged) < len(series.schema.parameters):
        tell(
            f"never changed, perhaps because they are buffers: {listing(made.unchanged)}. They count as weights at "
            "rest. Leave them out with --exclude"
        )
    rate = made.raw_bytes / max(made.seconds, 1e-9) / 1e6
    print(
        f"{printable(str(store))}: {made.frames:,} frames of {made.weights:,} weights, {format_bytes(made.raw_bytes)} "
        f"as {format_bytes(made.stored_bytes)}, {rate:,.0f} MB/s"
    )


def tell(sentence: str) -> None:
    print(f"recorder: {printable(sentence)}" if sentence[:1] != " " else printable(sentence), file=sys.stderr)
