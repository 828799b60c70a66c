"""Runs cases one after the other in this process, and says of each what was wrong.

python -m tests.fuzz.child FROM TO

A case may take `SECONDS` of this process's time (a busy machine decides nothing), six times as long by the clock, and
`BYTES` of address space more than the interpreter has with all its modules: what wants more gets a MemoryError. One
line of JSON for each case on stdout, before it and after it; a case without the second has ended the process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from analyzer.cli import cli, execution
from tests.fuzz.cases import ABROAD, Case, case_of, write_templates
from tests.stores import scratch

SECONDS = 100
BYTES = 1 << 30
"""The stores have 100 kB; the largest picture and table take some tens of megabytes."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_ASIDE = ("Warning: ", "Wrote ", "Dropped ", "Decoding ")
_OTHERS = ": sums of another run, perhaps all that is left of it; they stay. "  # what `cache` says of folders it leaves


class TooLong(BaseException):
    """The time of a case is over. It is no `Exception`, because the program might catch that."""


def main(first: int, last: int) -> None:
    """Run the cases first, …, last - 1."""
    out = os.fdopen(os.dup(1), "w", buffering=1)  # stdout itself belongs to the cases
    faulthandler.enable()
    execution.free_memory = lambda: BYTES  # what the program takes for its limit, unless told otherwise
    with scratch() as place:
        home = Path(place)
        write_templates(home)
        _warm(home)
        known = {path.name for path in home.iterdir()} | {"cases"}
        _limit_memory()
        for number in range(first, last):
            folder = home / "cases" / str(number)
            case = case_of(number, home, folder)
            out.write(json.dumps({"begin": number, "damage": case.damage, "arguments": case.arguments}) + "\n")
            begun = time.monotonic()
            faults, code, said = run(case, folder)
            strays = {path.name for path in home.iterdir()} - known
            strays |= {path.name for path in folder.parent.iterdir()} - {str(number)}
            strays |= {ABROAD} if Path(ABROAD).exists() else set()
            faults += [f"left its folder: {name}" for name in sorted(strays)]
            known |= strays  # said once
            seconds = round(time.monotonic() - begun, 3)
            out.write(
                json.dumps({"end": number, "seconds": seconds, "code": code, "said": said, "faults": faults}) + "\n"
            )
            os.chdir(home)
            shutil.rmtree(folder.parent, ignore_errors=True)


def run(case: Case, folder: Path) -> tuple[list[str], int, str]:
    """What was wrong with a case (nothing, if it went as it should), its exit code, and the end of what it said."""
    os.chdir(folder)
    faulthandler.dump_traceback_later(6 * SECONDS, exit=True)  # for waits, and loops that signals do not reach
    try:
        with _time_limit(), warnings.catch_warnings(), contextlib.suppress(BrokenPipeError):
            result = CliRunner().invoke(cli, list(case.arguments))
    except TooLong:
        return [f"took more than {SECONDS} s: {_place(sys.exc_info()[1])}"], -1, ""
    finally:
        faulthandler.cancel_dump_traceback_later()
    faults = []
    if isinstance(result.exception, TooLong):
        return [f"took more than {SECONDS} s: {_place(result.exception)}"], -1, ""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        faults.append(f"traceback: {type(result.exception).__name__}: {result.exception}: {_place(result.exception)}")
    if result.exit_code not in (0, 1, 2):
        faults.append(f"exit code {result.exit_code}")
    faults += judge(result.exit_code, result.stdout, result.stderr, verify=case.arguments[0] == "verify")
    return faults, result.exit_code, result.stderr[-200:]


def judge(code: int, stdout: str, stderr: str, *, verify: bool) -> list[str]:
    """What is wrong with what was printed: errors of more than one line, warnings of Python, control characters."""
    faults = []
    lines = stderr.splitlines()
    own = [line for line in lines if not line.startswith(_ASIDE) and _OTHERS not in line]
    if code == 0 and own:
        faults.append(f"exit 0, but stderr says: {own[0][:200]}")
    # Of several stores each has its line, and so has the sum of them; each begins with what it is about.
    about = [line.split(": ")[1] for line in own if line.startswith("Error: ")]
    one_error = bool(own) and len(set(about)) == len(own)
    found_faults = verify and not own and stdout.strip().endswith("faults")
    if code == 1 and not (one_error or found_faults):
        faults.append(f"exit 1 without one line of error: {own[:3]}")
    if code == 1 and ("Memory: expected enough" in stderr or "MemoryError" in stderr or "Unable to allocate" in stderr):
        faults.append(f"unbounded memory: {own[0][:200]}")
    if code == 2 and not any(line.startswith("Error: ") for line in own):
        faults.append(f"exit 2 without a word: {own[:3]}")
    if found := _CONTROL.search(stdout if stdout[:1] != "{" else ""):
        faults.append(f"control character {found[0]!r} on stdout")
    if found := _CONTROL.search(stderr):
        faults.append(f"control character {found[0]!r} on stderr")
    if max(map(len, lines), default=0) > 8000:
        faults.append(f"a line of {max(map(len, lines)):,} characters on stderr")
    return faults


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def over(*_: Any) -> None:
        faulthandler.dump_traceback(sys.__stderr__ or 2)
        raise TooLong

    before = signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _place(error: BaseException | None) -> str:
    """The innermost lines of our own code."""
    frames = traceback.extract_tb(error.__traceback__ if error else None)
    ours = [f for f in frames if "/analyzer/" in f.filename] or list(frames)
    return " < ".join(f"{f.filename.rpartition('/analyzer/')[2]}:{f.lineno} {f.name}" for f in reversed(ours[-4:]))


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _warm(home: Path) -> None:
    """Load what commands load, and compile: neither is to count as a case's time or memory."""
    store, out = str(home / "plain.zarr"), tempfile.mkdtemp(dir=home)
    for arguments in (
        ["temperature", store, "--plot", f"{out}/a.png", "--output", f"{out}/a.nc", "--window", "20"],
        ["rows", store, "--plot", f"{out}/a.svg", "--output", f"{out}/a.parquet"],
        ["temperature", str(home / "heads.zarr"), "--by", "element", "--plot", f"{out}/a.pdf"],
        ["equilibration", store],
        ["velocity", store, "--raw", "--output", f"{out}/raw.nc"],
        ["velocity", store, "--raw", "--output", f"{out}/raw.zarr"],
        ["fit", str(home / "sweep" / "*.zarr"), "--plot", f"{out}/fits.png"],
        ["distribution", store, "--plot", f"{out}/a.png"],
        ["check", store],
        ["verify", store],
        ["cache", "drop", store],
    ):
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, (arguments, done.output, done.exception)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
