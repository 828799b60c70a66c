"""`python -m analyzer` and the console script `analyzer`."""

from __future__ import annotations

import gc
import sys

_YOUNG = 100_000
"""Objects made between two collections of garbage. Imports make many that stay, and Python's 700 looks through them
again and again: a third of the time of a short command."""


def main() -> None:
    """Run the command line."""
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
    try:
        from analyzer.cli import cli

        cli(prog_name="analyzer")
    except KeyboardInterrupt:  # while modules were loaded; later it is the command line's to answer
        print("Interrupted: no output was written.", file=sys.stderr)
        sys.exit(130)
    finally:
        gc.freeze()  # the process ends: its memory need not be searched for garbage once more


if __name__ == "__main__":
    main()
