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
    except KeyboardInterrupt:  # while modules are loaded; later the command line itself answers it
        print("Interrupted: no output was written.", file=sys.stderr)
        sys.exit(130)
    finally:
        gc.freeze()  # the process ends: a last collection would cost time and free nothing that matters


if __name__ == "__main__":
    main()
