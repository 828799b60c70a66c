"""`python -m analyzer` and the console script `analyzer`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from analyzer.cli import cli

        cli(prog_name="analyzer")
    except KeyboardInterrupt:  # while modules were loaded; later it is the command line's to answer
        print("Interrupted: no output was written.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
