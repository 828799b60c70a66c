"""Ask the analyzer what the claims need about the finished runs, and keep its answers in small files.

python -m examples.paper.analyse --scale small          # then: python -m examples.paper.results
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .answers import answered, read
from .asked import asked_fits
from .commands import analyzer_command
from .independent import recompute
from .place import Place, read_json, write_json
from .plan import BATCH, RATE, SCALES, Branch, Scale, branches, judged_apart, rate_sweep, sweeps
from .series import energy, windows
from .stayed import stayed
from .tabled import fits_of_answers
from .weights import account as shipped_account
from .weights import shipped

HERE = Path(__file__).parent
MODELS = ("gcn", "gat", "cnn")
OTHER_DATA = ("position", "radius")
"""Folders of trainings that saw more features or other edges; their accuracies are shown beside the others."""


def there(place: Place, runs: Sequence[Branch]) -> list[Branch]:
    """Return the runs that are finished."""
    return [run for run in runs if place.account(run.name).exists()]


def opened(place: Place, run: Branch) -> Path:
    """Return what to open of a finished run: its store, or its kept sums where the trajectory was deleted."""
    store = place.store(run.name)
    return store if store.exists() else store.with_name(store.name + ".moments")


def training_of(place: Place) -> dict[str, Any] | None:
    """The account of the training; None before it is finished."""
    told: dict[str, Any] | None = read_json(place.account("training")) if place.account("training").exists() else None
    return told


def accounts(place: Place, scale: Scale, kind: str, into: Path) -> None:
    """Write what every run cost into one file."""
    known = [read_json(place.account(run.name)) for run in there(place, branches(scale, kind))]
    training = training_of(place)
    planned = len(branches(scale, kind))
    write_json(into / "accounts.json", {"planned": planned, "training": training, "branches": known})


def fits(place: Place, scale: Scale, into: Path, pictures: Path) -> None:
    """Make all fits with the analyzer's command, from the runs' trajectories or kept sums."""
    for optimizer in ("sgd", "adam"):
        done = there(place, sweeps(scale, optimizer))
        accounts = [read_json(place.account(run.name)) for run in done]
        for asked in asked_fits(scale, optimizer, done, stayed(done, accounts, training_of(place))):
            analyzer_command(
                "fit", *(opened(place, run) for run in asked.runs), *asked.words,
                output=into / f"{optimizer}-{asked.name}.json",
                plot=pictures / f"{optimizer}-{asked.name}.png" if asked.drawn else None,
            )  # fmt: skip


def looked_at(place: Place, scale: Scale, runs: Sequence[Branch], into: Path) -> None:
    """Ask single runs for rows, checks, equilibrium, windows, energy, and temperatures in plain numpy.

    Runs at the training's batch size and rate answer for rows, one seed of the sweep of rates for equilibrium, and one
    run of each optimizer for the rest. The answers name the run by its path from the folder of all runs.
    """
    with contextlib.chdir(place.root.parents[1]):
        near = Place(Path(*place.root.parts[-2:]))
        for run in runs:
            _looked_at_one(near, scale, run, into)


def _looked_at_one(place: Place, scale: Scale, run: Branch, into: Path) -> None:
    optimizer, what = run.optimizer, opened(place, run)
    if (run.learning_rate, run.batch_size) == (RATE, BATCH):
        words = () if run.seed == 0 else ("--parameter", "conv2*weight")
        analyzer_command("rows", what, *words, output=into / f"rows-{optimizer}-{run.seed}.json")
    if (run.learning_rate, run.batch_size, run.seed) == (RATE, BATCH, 0):
        analyzer_command(
            "rows", what, "--parameter", "conv2.lin.weight", output=into / f"figure-4-{optimizer}.json",
            plot=into / "figures" / f"{optimizer}-rows.png",
        )  # fmt: skip
        analyzer_command("rows", what, "--by", "head", output=into / f"heads-{optimizer}.json")
        analyzer_command("check", what, output=into / f"check-{optimizer}.json")
        write_json(into / f"windows-{optimizer}.json", windows(what))
        write_json(into / f"energy-{optimizer}.json", energy(what))
    if run.seed == 0 and run in rate_sweep(scale, optimizer):
        analyzer_command("equilibration", what, output=into / f"equilibrium-{run.name}.json")
    if run in judged_apart(scale) and place.store(run.name).exists():
        write_json(into / f"independent-{run.name}.json", recompute(place.store(run.name)))


def other_data(place: Place, scale: Scale, kind: str, results: Path) -> None:
    """Write the results of the trainings on other features or edges."""
    for what in OTHER_DATA:
        apart = Place(place.root.with_name(f"{kind}-{what}"))
        if apart.account("training").exists():
            accounts(apart, scale, kind, results / f"{kind}-{what}")


def from_runs(place: Place, scale: Scale, kind: str, results: Path) -> None:
    """Ask the analyzer about all finished runs of a model anew."""
    into = results / kind
    runs = there(place, branches(scale, kind))
    if not runs:
        if place.account("training").exists():
            accounts(place, scale, kind, into)
        return
    if into.exists():
        for old in into.glob("*.json"):
            if old.name != "prune.json":
                old.unlink()
        shutil.rmtree(into / "figures", ignore_errors=True)
    accounts(place, scale, kind, into)
    fits(place, scale, into, into / "figures")
    looked_at(place, scale, runs, into)
    if place.store("training").exists():
        analyzer_command("equilibration", place.store("training"), output=into / "equilibrium-training.json")


def from_answers(place: Place, scale: Scale, kind: str, into: Path) -> None:
    """Collect the answers of the finished branches of a model, and fit their temperatures."""
    done = answered(into, branches(scale, kind))
    training = training_of(place) or (shipped_account(kind) if shipped(kind) else None)
    if not done and training is None:
        return
    known = [read(into, run)["account"] for run in done]
    write_json(into / "accounts.json", {"planned": len(branches(scale, kind)), "training": training, "branches": known})
    fits_of_answers(scale, into, training)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--model", choices=MODELS, action="append", help="repeatable (default: those that are trained)")
    parser.add_argument("--output", type=Path, default=Path("runs/paper"), help="where run.py put the runs")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where the answers go")
    options = parser.parse_args(argv)
    scale, results = SCALES[options.scale], options.results.resolve() / options.scale
    output = options.output.resolve()
    for kind in options.model or MODELS:
        other_data(Place(output / scale.name / kind), scale, kind, results)
        if scale.shipped:
            from_answers(Place(output / scale.name / kind), scale, kind, results / kind)
        elif options.output.exists():
            with contextlib.chdir(output):  # names in the answers are then the same wherever the runs are
                from_runs(Place(Path(scale.name, kind)), scale, kind, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
