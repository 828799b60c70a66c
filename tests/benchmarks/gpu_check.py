"""All that only a GPU can tell, in one command of at most eight minutes.

    make gpu-check                                   # in the project's own environment, which is made first
    make gpu-check GPU_PYTHON=python3                # with the packages of another one
    python -m tests.benchmarks.gpu_check --wheels    # the packages that it needs beside torch, as NAME==VERSION

Each part is a process with a limit of its own. What it finds is written to the file as it comes, so that a run that is
cut off leaves what it had; a table comes last. Without a GPU it says so and exits 0. Exit status 1: a part failed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SECONDS = 480.0

# Distributions that the parts need beside torch (with its CUDA libraries and Triton), and those that these need; a test
# compares. Versions are those of constraints.txt. Nothing of this project needs to be installed.
WHEELS = (
    "aiohappyeyeballs", "aiohttp", "aiosignal", "attrs", "certifi", "charset-normalizer", "click", "cloudpickle",
    "dask", "distributed", "donfig", "execnet", "frozenlist", "google-crc32c", "hypothesis", "idna", "imageio",
    "iniconfig", "lazy-importer", "lazy-loader", "llvmlite", "locket", "msgpack", "multidict", "numba", "numcodecs",
    "numpy", "packaging", "pandas", "partd", "pcodec", "pillow", "pluggy", "propcache", "psutil", "pygments",
    "pyparsing", "pytest", "pytest-timeout", "pytest-xdist", "python-dateutil", "pyyaml", "requests", "scikit-image",
    "scipy", "six", "sortedcontainers", "tblib", "tifffile", "toolz", "torch-geometric", "tornado", "tqdm", "urllib3",
    "xarray", "xxhash", "yarl", "zarr", "zict", *(("importlib-metadata", "zipp") if sys.version_info < (3, 12) else ()),
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A process of the check.

    Attributes
    ----------
    name : str
    seconds : float
        Its limit.
    command : tuple of str
        What Python runs.
    """

    name: str
    seconds: float
    command: tuple[str, ...]


@dataclass
class Outcome:
    """How a part went. Lifetime: one check."""

    name: str
    state: str = "left out: no time"
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    last_words: str = ""


STAGING = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/recorder/trainer/feeds/test_device_feed.py",
           "tests/recorder/trainer/feeds/test_device_streams.py", "tests/examples/test_paper_driver.py",
           "tests/examples/test_paper_train.py::test_captured_updates_are_the_eager_ones")  # fmt: skip

PARTS = (
    Part("staging", 60, STAGING),
    *(Part(name, seconds, ("-m", "tests.benchmarks.gpu_parts", name)) for name, seconds in (
        ("exactness", 120), ("slowdown", 90), ("speed", 110), ("many", 50), ("large", 45),
    )),
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/gpu-check.txt"), help="file (default: %(default)s)")
    parser.add_argument("--wheels", action="store_true", help="print the packages that the check needs, and end")
    options = parser.parse_args(argv)
    if options.wheels:
        print("\n".join(pins()))
        return 0
    if "torch" not in missing() and (name := gpu()) is None:
        print("gpu-check: there is no GPU that torch can use, so nothing was checked.")
        return 0
    if absent := missing():
        print(f"gpu-check: expected the packages that it needs, {' '.join(absent)} are missing. Install them in the "
              "versions that --wheels prints.", file=sys.stderr)  # fmt: skip
        return 1
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with options.output.open("w", encoding="utf-8") as file:

        def write(line: str) -> None:
            print(line, flush=True)
            print(line, file=file, flush=True)

        write(str(name))
        return run(PARTS, SECONDS, write)


def run(parts: Sequence[Part], seconds: float, write: Callable[[str], None]) -> int:
    """Run parts one after the other, in at most so many seconds. Returns the exit status."""
    until = time.monotonic() + seconds
    outcomes = []
    for part in parts:
        outcome = Outcome(part.name)
        outcomes.append(outcome)
        limit = min(part.seconds, until - time.monotonic())
        if limit > 1:
            run_part(part, limit, outcome, write)
        write(f"{part.name}: {outcome.state}, {outcome.seconds:.0f} s")
    write(table(outcomes))
    return 0 if all(outcome.state == "passed" for outcome in outcomes) else 1


def run_part(part: Part, limit: float, outcome: Outcome, write: Callable[[str], None]) -> None:
    """Run a part, and end it with all that it started when its time is up."""
    began = time.monotonic()
    overdue = threading.Event()
    with subprocess.Popen(
        [sys.executable, *part.command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:

        def end() -> None:
            os.killpg(process.pid, signal.SIGKILL)

        def end_in_time() -> None:
            overdue.set()
            end()

        timer = threading.Timer(limit, end_in_time)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                write(f"{part.name}: {line.rstrip()}")
                if line.startswith("{"):
                    outcome.rows.append(json.loads(line))
                elif line.strip():
                    outcome.last_words = line.strip()
            process.wait()
        except BaseException:
            end()
            raise
        finally:
            timer.cancel()
    outcome.seconds = time.monotonic() - began
    if process.returncode == 0:
        outcome.state = "passed"
    elif overdue.is_set():
        outcome.state = f"cut off after {limit:.0f} s"
    else:
        outcome.state = f"failed, exit status {process.returncode}"


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a table of each part: its state, then its rows, or its last line where it has none."""
    lines = []
    for outcome in outcomes:
        lines += ["", f"## {outcome.name}: {outcome.state}, {outcome.seconds:.0f} s", ""]
        if not outcome.rows:
            lines.append(outcome.last_words or "It wrote nothing.")
            continue
        columns = list(dict.fromkeys(column for row in outcome.rows for column in row))
        cells = [columns, ["---"] * len(columns)]
        cells += [[shown(row.get(column, "")) for column in columns] for row in outcome.rows]
        lines += ["| " + " | ".join(line) + " |" for line in cells]
    return "\n".join(lines)


def shown(value: object) -> str:
    """Return a value as a table shows it."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def gpu() -> str | None:
    """Return the name of the GPU and torch's version; None where torch can use none."""
    import torch

    return f"{torch.cuda.get_device_name()}, torch {torch.__version__}" if torch.cuda.is_available() else None


def missing() -> list[str]:
    """Return the packages that are not installed."""
    absent = []
    for name in ("torch", *WHEELS):
        try:
            version(name)
        except PackageNotFoundError:
            absent.append(name)
    return absent


def pins() -> list[str]:
    """Return the packages with their versions, as in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    known = {line.partition("==")[0].lower().replace("_", "-"): line for line in lines}
    return [known[name] for name in WHEELS]


if __name__ == "__main__":
    sys.exit(main())
