"""Damaged stores and senseless options: an answer, or one sentence about what is wrong; never a traceback.

Each case is a small store, damaged at random (bytes, JSON values, names that mean something to a file system, a
terminal or a plot, shapes that no memory holds), and a command of `analyzer` with random options, run through the
command line's entry in a child process with a limit of address space and a time limit for each case. Exit code 0, 1 or
2; on 1 one line on stderr; no control character that a store smuggled in; no file outside the case's folder.

Measured (AMD EPYC, 2 cores, shared, three children at once): 10,000 cases in 687 s of their own, 0.07 s each, no fault
left; 2,500 more with `check` and `distribution` among the commands, none. Earlier passes over as many found these, all
mended: chunks that are folders or loops of links; run and hyperparameter names that a tree cannot hold (`run.zarr`, a
slash); lengths that filled memory before a chunk was missed (of `step`, of rows, in `verify`, in the header of kept
sums); metadata of other types; sizes, counts and constants beyond float64; warnings of numpy on stderr; paths and run
ids that leave the store; control characters in listings.

`FUZZ_CASES=10000 pytest tests/fuzz` runs more, `python -m tests.fuzz.child N N+1` one alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CASES = int(os.environ.get("FUZZ_CASES", "300"))


@pytest.mark.timeout(1800 + 10 * CASES)
def test_an_answer_or_a_sentence() -> None:
    wrong, told = [], 0
    for number, begin, end in outcomes(CASES):
        told += end is not None and not end["faults"]
        if end is None or end["faults"]:
            said = "ended the process" if end is None else "; ".join(end["faults"])
            wrong.append(f"case {number}: {said}\n    analyzer {begin.get('arguments')}\n    {begin.get('damage')}")
    assert not wrong, f"{len(wrong)} of {CASES} cases:\n" + "\n".join(wrong)
    assert told == CASES


def outcomes(cases: int) -> Iterator[tuple[int, dict[str, Any], dict[str, Any] | None]]:
    """What every case said before and after it; a child that a case has ended is followed by another."""
    first = 0
    while first < cases:
        begin: dict[str, Any] = {}
        done = first
        for line in lines(first, cases):
            told = json.loads(line)
            if "begin" in told:
                begin = told
            else:
                done = told["end"] + 1
                yield told["end"], begin, told
        if done < cases:
            assert begin, "the child did not come to its first case"
            yield done, begin, None
            done += 1
        first = done


def lines(first: int, last: int) -> Iterator[str]:
    """What a child prints."""
    command = [sys.executable, "-W", "default", "-m", "tests.fuzz.child", str(first), str(last)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        yield from child.stdout
