"""`python -m analyzer` and the console script `analyzer`."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from analyzer.cli import cli

    cli(prog_name="analyzer")


if __name__ == "__main__":
    main()
