"""Ask the analyzer about the finished runs what the claims need, and keep its answers in small files.

python -m examples.paper.analyse --scale small          # then: python -m examples.paper.results
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from .commands import analyzer_command
from .independent import recompute
from .place import Place, read_json, write_json
from .plan import BATCH, RATE, SCALES, Branch, Scale, batch_sweep, branches, grid, rate_sweep
from .series import energy, windows

HERE = Path(__file__).parent
MODELS = ("gcn", "gat", "cnn")
COMPARED = ("--compare", "square", "--compare", "stiff", "--compare", "parabola", "--compare", "linear")
AGAINST_INVERSE = ("--model", "linear", "--compare", "parabola", "--compare", "proportional", "--compare", "power")
FEWEST = 3
"""Fewest values of a hyperparameter for which a curve is fitted."""


def there(place: Place, runs: Sequence[Branch]) -> list[Branch]:
    """Return the runs that are finished."""
    return [run for run in runs if place.account(run.name).exists()]


def opened(place: Place, run: Branch) -> Path:
    """Return what to open of a finished run: its store, or its kept sums where the trajectory was deleted."""
    store = place.store(run.name)
    return store if store.exists() else store.with_name(store.name + ".moments")


def accounts(place: Place, scale: Scale, kind: str, into: Path) -> None:
    """Write what every run cost into one file."""
    known = [read_json(place.account(run.name)) for run in there(place, branches(scale, kind))]
    training = read_json(place.account("training")) if place.account("training").exists() else None
    planned = len(branches(scale, kind))
    write_json(into / "accounts.json", {"planned": planned, "training": training, "branches": known})


def fits(place: Place, scale: Scale, into: Path, pictures: Path) -> None:
    """Fit temperatures against learning rate, batch size and both, at every lag, for SGD and Adam."""
    lags = ",".join(map(str, (*scale.lags, "epoch")))
    for optimizer in ("sgd", "adam"):
        rates, batches = (there(place, sweep(scale, optimizer)) for sweep in (rate_sweep, batch_sweep))
        values = len({run.learning_rate for run in rates}), len({run.batch_size for run in batches})
        asked: list[tuple[str, list[Branch], tuple[str, ...], bool]] = []
        against: tuple[str, ...]
        if values[0] >= FEWEST:
            against = ("--against", "learning_rate")
            asked.append(("rate", rates, (*against, *COMPARED), True))
            asked.append(("rate-lags", rates, (*against, "--lag", lags), True))
        if values[1] >= FEWEST:
            against, inverse = ("--against", "batch_size"), ("--against", "inverse_batch_size")
            asked.append(("batch", batches, (*against, "--model", "inverse_power"), False))
            asked.append(("batch-lags", batches, (*against, "--model", "inverse_power", "--lag", lags), True))
            asked.append(("inverse", batches, (*inverse, *AGAINST_INVERSE), True))
            asked.append(("inverse-epoch", batches, (*inverse, *AGAINST_INVERSE, "--lag", "epoch"), True))
        if min(values) >= FEWEST:
            both = [*rates, *batches, *(there(place, grid(scale)) if optimizer == "sgd" else ())]
            joint = ("--against", "learning_rate", "--against", "batch_size", "--model", "joint")
            asked.append(("joint", list(dict.fromkeys(both)), joint, False))
        for name, runs, words, drawn in asked:
            analyzer_command(
                "fit", *(opened(place, run) for run in runs), *words, output=into / f"{optimizer}-{name}.json",
                plot=pictures / f"{optimizer}-{name}.png" if drawn else None,
            )  # fmt: skip


def looked_at(place: Place, scale: Scale, into: Path, pictures: Path) -> None:
    """Ask for rows, checks, equilibrium, windows and energy of the runs at the training's batch size and rate."""
    for optimizer in ("sgd", "adam"):
        seeds = range(scale.rate_seeds[optimizer])
        own = there(place, [Branch(optimizer, RATE, BATCH, seed) for seed in seeds])
        for run in own:
            analyzer_command(
                "rows", opened(place, run), *(() if run.seed == 0 else ("--parameter", "conv2*weight")),
                output=into / f"rows-{optimizer}-{run.seed}.json",
            )  # fmt: skip
        if own:
            first = opened(place, own[0])
            analyzer_command(
                "rows", first, "--parameter", "conv2.lin.weight", output=into / f"figure-4-{optimizer}.json",
                plot=pictures / f"{optimizer}-rows.png",
            )  # fmt: skip
            analyzer_command("rows", first, "--by", "head", output=into / f"heads-{optimizer}.json")
            analyzer_command("check", first, output=into / f"check-{optimizer}.json")
            write_json(into / f"windows-{optimizer}.json", windows(first))
            write_json(into / f"energy-{optimizer}.json", energy(first))
        for run in there(place, [run for run in rate_sweep(scale, optimizer) if run.seed == 0]):
            analyzer_command("equilibration", opened(place, run), output=into / f"equilibrium-{run.name}.json")
    training = place.store("training")
    if training.exists():
        analyzer_command("equilibration", training, output=into / "equilibrium-training.json")


def judged_apart(place: Place, scale: Scale, into: Path) -> None:
    """Recompute the temperatures of three runs from the raw arrays in plain numpy."""
    chosen = there(place, [
        Branch("sgd", scale.rates["sgd"][0], BATCH, 0),
        Branch("sgd", scale.rates["sgd"][-1], BATCH, 0),
        Branch("adam", RATE, BATCH, 0),
    ])  # fmt: skip
    stores = [place.store(run.name) for run in chosen if place.store(run.name).exists()]
    write_json(into / "independent.json", [recompute(store) for store in stores])


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--model", choices=MODELS, action="append", help="repeatable (default: those that are trained)")
    parser.add_argument("--output", type=Path, default=Path("runs/paper"), help="where run.py put the runs")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where the answers go")
    options = parser.parse_args(argv)
    scale, results = SCALES[options.scale], options.results.resolve() / options.scale
    with contextlib.chdir(options.output):  # names in the answers are then the same wherever the runs are
        for kind in options.model or MODELS:
            place = Place(Path(scale.name, kind))
            apart = Place(Path(scale.name, f"{kind}-position"))
            if apart.account("training").exists():
                accounts(apart, scale, kind, results / f"{kind}-position")
            into, pictures = results / kind, results / kind / "figures"
            if not there(place, branches(scale, kind)):
                if place.account("training").exists():
                    accounts(place, scale, kind, into)
                continue
            if into.exists():
                for old in into.glob("*.json"):
                    if old.name != "prune.json":
                        old.unlink()
                shutil.rmtree(pictures, ignore_errors=True)
            accounts(place, scale, kind, into)
            fits(place, scale, into, pictures)
            looked_at(place, scale, into, pictures)
            judged_apart(place, scale, into)
    return 0


if __name__ == "__main__":
    sys.exit(main())
