"""Which runs a scale has, how long they are and in what order they are made. Pure: nothing here trains or writes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

RATE, BATCH = 1e-3, 32  # the training's own; each sweep varies one of them and holds the other
RATES = (7e-4, 1e-3, 1.3e-3, 1.6e-3, 2e-3, 2.5e-3, 3e-3)
BATCHES = (8, 12, 20, 32, 50, 80, 128)


@dataclass(frozen=True, order=True)
class Branch:
    """A run that starts from the trained model.

    Attributes
    ----------
    optimizer : str
        "sgd" (plain) or "adam" (its state carried over from the training).
    learning_rate : float
    batch_size : int
    seed : int
        Together with the other three it decides the order of the graphs. No two runs share an order.
    """

    optimizer: str
    learning_rate: float
    batch_size: int
    seed: int

    @property
    def name(self) -> str:
        """Name of its store."""
        return f"{self.optimizer}-{self.learning_rate:g}-{self.batch_size}-{self.seed}"


@dataclass(frozen=True)
class Schedule:
    """How long a training is.

    Attributes
    ----------
    epochs : int
    decay_every : int
        After so many epochs the learning rate falls to a tenth, each time.
    """

    epochs: int
    decay_every: int


PAPER = Schedule(600, 200)
SHORT = Schedule(18, 6)
"""Of the CNN at full size. After 600 epochs it fits all its training graphs: its loss is 0.000, and T under plain SGD
is 1e-10 to 1e-8 of what rounding alone gives, so that its exponents say nothing of gradients."""


@dataclass(frozen=True)
class Scale:
    """How many graphs, epochs, branches and seeds a reproduction has.

    Attributes
    ----------
    graphs : int
        Graphs of the training: the first of each class in the order of MNIST.
    schedule : Schedule
        The training of GCN and GAT.
    cnn : Schedule
        The training of the CNN.
    discard : int
        Steps at the start of a branch that are not recorded (rounded up to whole epochs).
    steps, branch_epochs : int
        A branch records this many steps, or this many epochs if they are more (rounded up to whole epochs).
    rates, batches : mapping
        Values of each sweep, by optimizer.
    rate_seeds, batch_seeds : mapping
        Seeds of each sweep, by optimizer.
    grid_seeds : int
        Seeds of the factorial grid (SGD): lowest, training's and highest rate × lowest, training's and highest batch
        size.
    lags : tuple of int
        Lags in steps. One epoch is added to them.
    test_graphs : int
        Most test graphs, equally many of each class.
    shipped : bool
        Whether the branches start from the trained networks that ship with the examples. A training that is still to be
        made or finished is then not recorded, and every branch is answered as soon as it is finished.
    """

    name: str
    graphs: int
    schedule: Schedule
    cnn: Schedule
    discard: int
    steps: int
    branch_epochs: int
    lags: tuple[int, ...]
    rates: Mapping[str, tuple[float, ...]] = field(
        default_factory=lambda: {"sgd": RATES, "adam": (RATES[0], RATE, RATES[-1])}
    )
    batches: Mapping[str, tuple[int, ...]] = field(
        default_factory=lambda: {"sgd": BATCHES, "adam": (BATCHES[0], BATCH, BATCHES[-1])}
    )
    rate_seeds: Mapping[str, int] = field(default_factory=lambda: {"sgd": 5, "adam": 2})
    batch_seeds: Mapping[str, int] = field(default_factory=lambda: {"sgd": 3, "adam": 2})
    grid_seeds: int = 2
    test_graphs: int = 10_000
    shipped: bool = False


SCALES = {
    scale.name: scale
    for scale in (
        Scale("full", 60_000, PAPER, SHORT, 1_000, 0, 100, lags=(1, 3, 10, 30, 100, 300)),
        Scale("trained", 60_000, PAPER, SHORT, 1_000, 20_000, 10, lags=(1, 3, 10, 30, 100, 300), shipped=True),
        Scale("small", 2_000, Schedule(60, 20), Schedule(60, 20), 500, 3_000, 40, lags=(1, 3, 10, 30)),
        Scale(
            "toy",
            graphs=200,
            schedule=Schedule(3, 1),
            cnn=Schedule(3, 1),
            discard=4,
            steps=60,
            branch_epochs=4,
            lags=(1, 3),
            rates={"sgd": (7e-4, 1e-3, 3e-3), "adam": (1e-3,)},
            batches={"sgd": (8, 32, 50), "adam": (32,)},
            rate_seeds={"sgd": 2, "adam": 1},
            batch_seeds={"sgd": 2, "adam": 1},
            grid_seeds=1,
            test_graphs=100,
        ),
    )
}


def rate_sweep(scale: Scale, optimizer: str) -> list[Branch]:
    """Runs that differ in their learning rate (and seed), seed by seed."""
    seeds = range(scale.rate_seeds[optimizer])
    return [Branch(optimizer, rate, BATCH, seed) for seed in seeds for rate in scale.rates[optimizer]]


def batch_sweep(scale: Scale, optimizer: str) -> list[Branch]:
    """Runs that differ in their batch size (and seed), seed by seed; one of the sizes is that of the rate sweep."""
    seeds = range(scale.batch_seeds[optimizer])
    return [Branch(optimizer, RATE, batch, seed) for seed in seeds for batch in scale.batches[optimizer]]


def grid(scale: Scale) -> list[Branch]:
    """The factorial grid for the interaction, seed by seed; most of its runs are also in a sweep."""
    rates, batches = scale.rates["sgd"], scale.batches["sgd"]
    chosen = [(rate, batch) for rate in (rates[0], RATE, rates[-1]) for batch in (batches[0], BATCH, batches[-1])]
    return [Branch("sgd", rate, batch, seed) for seed in range(scale.grid_seeds) for rate, batch in chosen]


def sweeps(scale: Scale, optimizer: str) -> list[Branch]:
    """All runs of an optimizer: both sweeps and, of SGD, the grid."""
    own = rate_sweep(scale, optimizer) + batch_sweep(scale, optimizer) + (grid(scale) if optimizer == "sgd" else [])
    return list(dict.fromkeys(own))


def branches(scale: Scale, kind: str) -> list[Branch]:
    """All runs of a model at a scale, each once, in an order that lets one analyse a plan that was cut off anywhere.

    First comes one seed of both SGD sweeps, the training's own rate before the coldest and the hottest run and these
    before the rest; then their other seeds, then Adam, then the grid. From three seeds on,
    intervals come from the scatter between seeds; a verdict on an exponent takes five. The CNN answers one question,
    plain SGD against the batch size: it has three seeds of both SGD sweeps.
    """
    sgd_rates, sgd_batches = rate_sweep(scale, "sgd"), batch_sweep(scale, "sgd")
    adam = rate_sweep(scale, "adam") + batch_sweep(scale, "adam")
    waves: list[tuple[list[Branch], range]] = [
        ([run for run in kept(scale) if run.optimizer == "sgd"], range(1)),
        (sgd_rates, range(1)),
        (sgd_batches, range(1)),
        (sgd_rates, range(1, 99)),
        (sgd_batches, range(1, 99)),
        (adam, range(99)),  # three points: a curve takes two seeds
        (grid(scale), range(99)),
    ]
    if kind == "cnn":
        waves = [*waves[:2], (sgd_batches, range(1)), (sgd_rates, range(1, 3)), (sgd_batches, range(1, 3))]
    return list(dict.fromkeys(run for runs, seeds in waves for run in runs if run.seed in seeds))


def kept(scale: Scale) -> list[Branch]:
    """Runs whose trajectories stay beside their sums: figures of rows, pruning, dynamics and the check in plain numpy.

    These are all runs at the training's rate and batch size, and the coldest and the hottest of the sweep.
    """
    own = [Branch(name, RATE, BATCH, seed) for name in ("sgd", "adam") for seed in range(scale.rate_seeds[name])]
    rates = scale.rates["sgd"]
    return [*own, *(Branch("sgd", rate, BATCH, 0) for rate in (rates[0], rates[-1]))]


def judged_apart(scale: Scale) -> list[Branch]:
    """Runs whose temperatures are computed again from the raw arrays in plain numpy: of one seed, up to six."""
    rates = scale.rates["sgd"]
    chosen = dict.fromkeys((rates[0], RATE, rates[len(rates) // 2], rates[-2], rates[-1]))
    return [*(Branch("sgd", rate, BATCH, 0) for rate in chosen), Branch("adam", RATE, BATCH, 0)]


def epochs_of(scale: Scale, batch_size: int) -> tuple[int, int]:
    """How many epochs of a branch are discarded, and how many are recorded."""
    per_epoch = scale.graphs // batch_size
    recorded = max(-(-scale.steps // per_epoch), scale.branch_epochs)
    return -(-scale.discard // per_epoch), recorded


def schedule_of(scale: Scale, kind: str) -> Schedule:
    """The training of a model at a scale."""
    return scale.cnn if kind == "cnn" else scale.schedule


def learning_rate(schedule: Schedule, epoch: int) -> float:
    """The training's learning rate in an epoch: 1e-3, later a tenth of it, then a hundredth."""
    return RATE * float(10.0 ** -(epoch // schedule.decay_every))


def seed_of(*words: object) -> int:
    """Make a seed of 63 bits from the words that identify a shuffle. Different words give independent seeds."""
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
