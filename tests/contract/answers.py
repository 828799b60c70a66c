"""Every command's answer about recorded runs, written to files: to compare two versions of the analyzer bit for bit.

    python -m tests.contract.answers RUN.zarr ... --sweep 'runs/*.zarr' --output before
    (the other version)                                             ... --output after
    python -m tests.contract.answers --compare before after

Run it from the tree whose analyzer is asked. All commands run in one process: loading what computes takes longer than a
question about a small run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KINDS = ("model", "layer", "module", "parameter", "row", "column", "output", "input", "head", "element")


def questions(run: str, cache: str) -> Iterator[tuple[str, list[str]]]:
    """Name and arguments of every command about a run: decoded, then kept, then from kept sums."""
    name, plain, kept = Path(run).stem, ["--no-cache"], ["--cache", cache]
    form = ["--format", "json"]
    for by in KINDS:
        for n, how in enumerate((plain, kept, kept)):
            yield f"{name}-temperature-{by}-{n}", ["temperature", run, "--by", by, *form, *how]
        yield f"{name}-velocity-{by}", ["velocity", run, "--by", by, *form, *plain]
    options = {
        "epoch": ["--window", "epoch", "--by", "row"],
        "window": ["--window", "37", "--start", "11", "--convention", "md"],
        "lags": ["--lag", "1,3,10,epoch"],
        "auto": ["--start", "auto"],
        "mass": ["--mass", "*.bias=2", "--k-b", "3", "--remove-drift"],
        "group": ["--group", "biases=*.bias", "--group", "weights=*.weight"],
        "range": ["--exclude", "*.bias", "--start", "20%", "--stop", "80%"],
    }
    for title, some in options.items():
        yield f"{name}-temperature-{title}", ["temperature", run, *some, *form, *plain]
    for command in ("equilibration", "rows", "distribution", "check"):
        yield f"{name}-{command}", [command, run, *form, *plain]
        yield f"{name}-{command}-table", [command, run, *plain]
    yield f"{name}-info", ["info", run, *form]
    yield f"{name}-verify", ["verify", run]


def fits(sweep: str, cache: str) -> Iterator[tuple[str, list[str]]]:
    """Name and arguments of every fit of a sweep."""
    for model in ("power", "parabola", "square", "stiff", "linear"):
        yield f"fit-{model}", ["fit", sweep, "--model", model, "--format", "json", "--cache", cache]
    yield "fit-lags", ["fit", sweep, "--lag", "1,3,10", "--format", "json", "--cache", cache]


def write(runs: list[str], sweep: str | None, output: Path) -> None:
    """Write the standard output of every command to a file of its name."""
    from analyzer.cli import cli

    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        asked = [question for run in runs for question in questions(run, cache)]
        for name, arguments in [*asked, *(fits(sweep, cache) if sweep else ())]:
            text = io.StringIO()
            with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
                cli.main(arguments, prog_name="analyzer")
            (output / f"{name}.txt").write_text(text.getvalue().replace(cache, "CACHE"))


def compare(before: Path, after: Path) -> int:
    """Print what differs between two folders; return how many numbers do."""
    documents = texts = 0
    differing: list[str] = []
    for path in sorted(before.iterdir()):
        one, other = path.read_text(), (after / path.name).read_text()
        try:
            old, new = json.loads(one), json.loads(other)
        except ValueError:
            texts += one != other
            continue
        documents += 1
        differing += [f"{path.name}: {place}" for place in _numbers(old, new, "")]
    print(*differing, sep="\n")
    print(f"{documents} json documents, {len(differing)} numbers or names differ; {texts} other texts differ")
    return len(differing)


def _numbers(old: Any, new: Any, place: str) -> Iterator[str]:
    """Where two documents differ, but for texts."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for key in old:
            yield from _numbers(old[key], new[key], f"{place}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for n, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from _numbers(a, b, f"{place}[{n}]")
    elif not (isinstance(old, str) and isinstance(new, str)) and old != new:
        yield f"{place}: {old!r} → {new!r}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", help="stores")
    parser.add_argument("--sweep", help="pattern of the stores of a sweep")
    parser.add_argument("--output", type=Path, help="folder of the answers")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("BEFORE", "AFTER"), help="two such folders")
    options = parser.parse_args()
    if options.compare:
        sys.exit(compare(*options.compare) > 0)
    write(options.runs, options.sweep, options.output)


if __name__ == "__main__":
    main()
