"""Train the paper's networks to equilibrium, and record the branches whose temperatures are measured.

python -m examples.paper.run --scale small --model gcn
python -m examples.paper.run --scale trained --model gcn --data mnist-75sp.npz    # from the weights that ship
python -m examples.paper.run --scale full --model gcn --device cuda --data mnist-75sp.npz --minutes 10   # repeatedly

Stop it when you like: what is finished is kept, and the same command goes on from there. If you start it twice, the two
processes share the work. On a GPU one process makes several branches at once: --together 4.
Then: python -m examples.paper.analyse, and python -m examples.paper.results
"""

from __future__ import annotations

import argparse
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

import analyzer
from recorder import RecorderError

from ..data.build import DataError
from ..data.loader import Superpixels, dense, load
from . import answers
from .dense import inputs
from .place import Place, Stop, claim
from .plan import SCALES, Branch, Scale, branches, kept
from .together import Steps, together
from .train import Task, account_of, branch_steps, finished, tell, train

CLASSES = 10
RESULTS = Path(__file__).with_name("results")


def chosen(graphs: Superpixels, count: int) -> Superpixels:
    """The first `count` graphs, equally many of each class, in their own order."""
    if count >= len(graphs):
        return graphs
    rank = torch.zeros(len(graphs), dtype=torch.long)
    for label in range(CLASSES):
        own = graphs.label == label
        rank[own] = torch.arange(int(own.sum()))
    keep = (rank < count // CLASSES).nonzero()[:, 0]
    if len(keep) != count:
        raise DataError(
            f"data: expected {count // CLASSES} train graphs of each class, got fewer: {len(keep):,} of {count:,}. "
            "The scale needs them. Choose a smaller --scale or other --data."
        )
    return graphs.take(keep)


def task_of(options: argparse.Namespace, scale: Scale, stop: Stop) -> Task:
    """Load the data onto the device, and say where everything goes."""
    train_graphs, test_graphs = (dense(graphs) for graphs in load(options.data))
    if len(train_graphs) < scale.graphs:
        raise DataError(
            f"data: expected {scale.graphs:,} train graphs for --scale {scale.name}, got {len(train_graphs):,}. "
            "Make all of them with: python examples/data/build.py --help, and name the file with --data."
        )
    ready = [
        inputs(options.model, graphs, position=options.position, device=options.device)
        for graphs in (chosen(train_graphs, scale.graphs), chosen(test_graphs, scale.test_graphs))
    ]
    name = options.model + ("-position" if options.position else "")
    name += "" if train_graphs.edges == "knn" else f"-{train_graphs.edges}"
    return Task(
        kind=options.model,
        edges=train_graphs.edges,
        features=3 if options.position else 1,
        scale=scale,
        place=Place(options.output.resolve() / scale.name / name),
        train=ready[0],
        test=ready[1],
        stop=stop,
        together=options.together,
        answers=options.results.resolve() / scale.name / name if scale.shipped else None,
    )


def work(task: Task, *, keep: bool, only_training: bool) -> bool:
    """Train, then make every branch that is not there yet. Returns whether all is done."""
    if not train(task) or only_training:
        return task.place.trained.exists()
    todo = branches(task.scale, task.kind)
    for run, done in together(_started(task, todo), task.together):
        if done:
            settle(task, run, keep=keep or (task.scale.shipped and run in kept(task.scale)))
    left = [run.name for run in todo if not finished(task, run)]
    tell(f"{task.kind}: all {len(todo)} branches are there" if not left else f"{task.kind}: {len(left)} branches left")
    return not left


def _started(task: Task, todo: Sequence[Branch]) -> Iterator[tuple[Branch, Steps[bool]]]:
    """Start what is not there yet, one branch whenever there is room for it."""
    for number, run in enumerate(todo, start=1):
        if finished(task, run):
            continue
        if task.stop:
            return
        tell(f"{task.kind} branch {number} of {len(todo)}: {run.name}")
        yield run, branch_steps(task, run)


def settle(task: Task, run: Branch, *, keep: bool) -> None:
    """Keep a run's sums, and its answers where the scale asks for them. The trajectory goes unless `keep` is true."""
    store = task.place.store(run.name)
    with claim(store, wait=False) as mine:
        if not mine:  # another process is at it
            return
        analyzer.temperature(analyzer.open_run(store), by="model", errors=False).compute()  # any answer keeps all sums
        if task.answers is not None and not finished(task, run):
            from .analyse import looked_at  # with the libraries that draw, which no other scale needs here

            looked_at(task.place, task.scale, [run], task.answers)
            answers.write(task.answers, run, task.scale, store, account_of(task, run.name))  # last: now it is finished
        if not keep:
            shutil.rmtree(store)


def refused(options: argparse.Namespace) -> str:
    """Say what this machine cannot do; "" if it can do all."""
    if options.device != "cpu" and not torch.cuda.is_available():
        return f"--device: expected a GPU for {options.device}, torch finds none. Leave it out to train on the CPU."
    if options.together < 1:
        return f"--together: expected at least 1, got {options.together}."
    if options.together > 1 and options.device == "cpu":
        return (
            f"--together: expected 1 on a CPU, got {options.together}: a branch fills a core. Start the command "
            f"{options.together} times instead, the processes share the work."
        )
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--model", choices=("gcn", "gat", "cnn"), default="gcn")
    parser.add_argument("--data", default="shipped", help="shipped, superpixels (downloads), idx:DIR, or FILE.npz")
    parser.add_argument("--output", type=Path, default=Path("runs/paper"), help="folder (default: runs/paper)")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path(__file__).with_name("results"),
        help="of finished branches, at scale trained",
    )
    parser.add_argument("--position", action="store_true", help="the centres of superpixels as two more features")
    parser.add_argument("--only-training", action="store_true", help="make no branches")
    parser.add_argument("--keep-trajectories", action="store_true", help="beside their sums")
    parser.add_argument("--minutes", type=float, help="stop between two epochs after so long")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda: steps are then replays of a CUDA graph")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU (default: 1; start two processes)")
    parser.add_argument("--together", type=int, default=1, help="branches at once in this process, on a GPU")
    options = parser.parse_args(argv)
    if refusal := refused(options):
        print(refusal, file=sys.stderr)
        return 1
    torch.set_num_threads(options.threads)
    try:
        with Stop(options.minutes) as stop:
            task = task_of(options, SCALES[options.scale], stop)
            done = work(task, keep=options.keep_trajectories, only_training=options.only_training)
    except (DataError, RecorderError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if done else 3


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
    sys.exit(main())
