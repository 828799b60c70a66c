"""Writes DYNAMICS.md from the analyzer's answers. A sentence claims only what a 95 % interval allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Record = dict[str, Any]

SHOWN = (1, 2, 5, 10, 28, 96, 320, 1024, 2048)
"""Lags of the tables: the default ones nearest to 1, 2, 5, 10, 30, 100, …"""
_NORMAL = 1.96
_DECAY = 0.9
"""β1 of Adam."""
_TITLES = {"sgd": "SGD", "adam": "Adam"}


def page(answers: Mapping[str, Record]) -> str:
    """Return the page, from the answers by optimizer."""
    parts = [_head(answers)]
    for title, text, table in (
        ("Correlation of velocities", _told_of_correlation, _correlation),
        ("Exponents of the displacement", _told_of_exponents, _exponents),
        ("Over an epoch, and in two halves", _told_of_epochs, _epochs),
        ("Other seeds", _told_of_seeds, _seeds),
        ("Spectrum", _told_of_spectrum, _spectrum),
        ("Modes", _told_of_modes, _modes),
    ):
        tables = "\n\n".join(f"{_TITLES[name]}:\n\n{table(one)}" for name, one in answers.items())
        parts.append(f"## {title}\n\n{text(answers)}\n\n{tables}")
    return "\n\n".join(parts) + "\n"


def _head(answers: Mapping[str, Record]) -> str:
    lengths = " and ".join(f"{one['run']['steps']:,} steps with {_TITLES[name]}" for name, one in answers.items())
    run = next(iter(answers.values()))["run"]
    pictures = "\n".join(
        f"![{kind}, {_TITLES[name]}](results/motion/figures/{name}-{kind}.png)"
        for name in answers
        for kind in ("dynamics", "spectrum", "modes")
    )
    return f"""# How a trained GCN moves

The GCN at the end of the paper's training (`trained/`) goes on at a learning rate of 1e-3 with minibatches of 32, on
{run["graphs"]:,} graphs: {lengths}, after {run["settle"]:,} steps that are not recorded; with two more orders of
minibatches for fewer steps. Adam goes on with the training's own moments. One CPU thread of an AMD EPYC made all runs.
`python -m examples.paper.motion` wrote this page:

```
python examples/data/build.py --idx DIR --output mnist-75sp.npz
python -m examples.paper.motion_runs --data mnist-75sp.npz
python -m examples.paper.motion
```

± is one standard error. A sentence says "negative", "below" or "above" where the 95 % interval leaves nothing else,
layer by layer. Chance alone puts one interval in twenty on the wrong side, so that a single cell says little. All runs
start from one trained network: intervals do not say how another training would move.

{pictures}"""


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (columns, ["---"] * len(columns), *rows)]
    return "\n".join(lines)


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return "–"
    if error is None:
        return f"{value:.3g}"
    digits = 3 if abs(value) < 10 * error else 4
    return f"{value:.{digits}g} ± {error:.2g}"


def _by_lag(one: Record, column: str) -> str:
    lags, layers = one["lags"], one["layers"]
    rows = [
        [layer, *(_with_error(*pair) for pair in zip(row[column], row[f"{column}_error"], strict=True))]
        for layer, row in layers.items()
    ]
    return _table(["layer", *(f"τ = {lag:,}" for lag in lags)], rows)


def _where(one: Record, column: str, lag: int, holds: Callable[[float, float], bool], at: float = 0.0) -> list[str]:
    """Return the layers whose interval at a lag, given by its ends, fulfils a condition; `at` is the lag's index."""
    if lag not in one["lags"]:
        return []
    place = one["lags"].index(lag)
    found = []
    for layer, row in one["layers"].items():
        value, error = row[column][place], row[f"{column}_error"][place]
        if (
            value is not None
            and error is not None
            and holds(value - at - _NORMAL * error, value - at + _NORMAL * error)
        ):
            found.append(layer)
    return found


def _listed(layers: list[str], every: Record) -> str:
    if len(layers) == len(every["layers"]):
        return "every layer"
    return ", ".join(layers) or "no layer"


_C, _A = "normalised_autocorrelation", "exponent"


def _correlation(one: Record) -> str:
    times = [
        [layer, _with_error(row["correlation_time"], row["correlation_time_error"])]
        for layer, row in one["motion"]["layers"].items()
    ]
    table = _by_lag(one["motion"], _C)
    title = (
        "Integrated correlation time, steps (a slow part of C below its error bars is not in it; without ± where "
        "displacements at the longest lag contradict the sum):"
    )
    return f"{table}\n\n{title}\n\n{_table(['layer', '½ + Σ C(τ)/C(0)'], times)}"


def _told_of_correlation(answers: Mapping[str, Record]) -> str:
    sgd, adam = answers["sgd"]["motion"], answers["adam"]["motion"]
    negative = [_listed(_where(sgd, _C, lag, lambda low, high: high < 0), sgd) for lag in (1, 2, 10)]
    positive = _listed(_where(sgd, _C, 1, lambda low, high: low > 0), sgd)
    decay = "\n".join(
        f"- τ = {lag}: below {_DECAY**lag:.2g} in "
        f"{_listed(_where(adam, _C, lag, lambda low, high: high < 0, _DECAY**lag), adam)}, above in "
        f"{_listed(_where(adam, _C, lag, lambda low, high: low > 0, _DECAY**lag), adam)}."
        for lag in (1, 5, 10)
    )
    below = [_listed(_where(adam, _C, lag, lambda low, high: high < 0), adam) for lag in (28, 96)]
    return f"""C(τ)/C(0). Plain SGD in a quadratic minimum pulls back: C(τ) = −σ²(1 − a)²a^(τ−1) < 0 with a = 1 − ηh,
strongly and at once where the curvature h is large, else too little to be seen. Measured at τ = 1, C is negative in
{negative[0]}; positive in {positive}. At τ = 2 it is negative in {negative[1]}, at τ = 10 in {negative[2]}.

Adam's step is a moving average of gradients with β1 = 0.9. If gradients were independent and their squares steady,
C(τ)/C(0) would be 0.9^τ. Measured:

{decay}

At τ = 28 it is negative in {below[0]}, at τ = 96 in {below[1]}.
A pull towards a minimum makes C negative; whether it is the cause here, these numbers alone do not say."""


def _exponents(one: Record) -> str:
    return _by_lag(one["motion"], _A)


def _told_of_exponents(answers: Mapping[str, Record]) -> str:
    parts = []
    for name, answer in answers.items():
        one = answer["motion"]
        end = _longest(one)
        if end is None:
            parts.append(f"{_TITLES[name]}: the run is too short for error bars.")
            continue
        told = [
            f"at τ = {lag:,}{which} the exponent is below 1 in {_listed(_slow(one, lag), one)}, above 1 in "
            f"{_listed(_fast(one, lag), one)}"
            for lag, which in ((1, ""), (end, ", the longest with error bars,"))
        ]
        parts.append(f"{_TITLES[name]}: {'; '.join(told)}. In layers that are not named 1 lies in the interval.")
    said = (
        "d ln MSD/d ln τ, from the two neighbouring lags: 1 for diffusion, 2 for steady motion, 0 for weights that are "
        "confined."
    )
    return "\n\n".join([said, *parts])


def _longest(one: Record) -> int | None:
    """Return the longest lag at which every layer has an interval of the exponent."""
    rows = one["layers"].values()
    known = [lag for n, lag in enumerate(one["lags"]) if all(row[f"{_A}_error"][n] is not None for row in rows)]
    return max(known, default=None)


def _slow(one: Record, lag: int) -> list[str]:
    return _where(one, _A, lag, lambda low, high: high < 1)


def _fast(one: Record, lag: int) -> list[str]:
    return _where(one, _A, lag, lambda low, high: low > 1)


def _epochs(one: Record) -> str:
    motion, rows = one["motion"], []
    steps = motion["epoch"]["steps"]
    for layer, row in motion["epoch"]["layers"].items():
        short, whole = row["mean_squared_displacement"]
        halves = [half[layer] for half in motion["halves"]]
        first, second = (_with_error(h["autocorrelation"], h["autocorrelation_error"]) for h in halves)
        errors = row["mean_squared_displacement_error"]
        share = whole / (steps * short)
        error = None if None in errors else share * ((errors[0] / short) ** 2 + (errors[1] / whole) ** 2) ** 0.5
        rows.append([layer, _with_error(whole, errors[1]), _with_error(share, error), first, second])
    columns = ["layer", f"MSD({steps:,}), an epoch", f"÷ {steps:,} MSD(1)", "C(0), first half", "C(0), second half"]
    return _table(columns, rows)


def _told_of_epochs(answers: Mapping[str, Record]) -> str:
    parts = []
    for name, answer in answers.items():
        first, second = answer["motion"]["halves"]
        moved = [
            layer
            for layer in first
            if None not in (a := first[layer]["autocorrelation_error"], b := second[layer]["autocorrelation_error"])
            and abs(first[layer]["autocorrelation"] - second[layer]["autocorrelation"]) > _NORMAL * (a**2 + b**2) ** 0.5
        ]
        parts.append(f"{_TITLES[name]}: C(0) = 2T differs between the halves in {_listed(moved, answer['motion'])}.")
        if moved:
            parts.append(
                "There the motion changes: what stands here of the whole run is a mean over it, and error bars, which "
                "presume a steady motion, may be too short."
            )
    return (
        "Every graph is seen once an epoch, so that noise of minibatches alone adds up to nothing from one end of an "
        "epoch to the next. Over all origins its displacement over an epoch is a third of that of independent steps "
        "(Kühn & Rosenow, 2023). The third column is the measured displacement over that of independent steps of the "
        "same size; its error is that of both, as if they were independent. The last two columns tell whether the "
        "motion is steady.\n\n" + " ".join(parts)
    )


def _seeds(one: Record) -> str:
    seeds = one["seeds"]
    return f"C(τ)/C(0):\n\n{_by_lag(seeds, _C)}\n\nExponent:\n\n{_by_lag(seeds, _A)}"


def _told_of_seeds(answers: Mapping[str, Record]) -> str:
    parts = [
        f"{_TITLES[name]}, {one['seeds']['runs']} runs of {one['seeds']['stop']:,} steps"
        for name, one in answers.items()
    ]
    return (
        f"Mean and standard error over runs with other orders of minibatches ({'; '.join(parts)}). Student's t is in "
        "the error: ± 1.96 of it is a 95 % interval. At lags beyond a sixteenth of a run there is no other error bar. "
        "An exponent here is between the neighbouring lags of its own table, further apart than above."
    )


def _spectrum(one: Record) -> str:
    spectrum = one["spectrum"]
    rows = []
    for layer, row in spectrum["layers"].items():
        harmonics = [_with_error(*pair) for pair in row.get("harmonics", [])]
        rows.append([layer, _with_error(*row["low_over_high"]), *harmonics])
    count = max(len(row) for row in rows) - 2
    table = _table(["layer", "low ÷ high", *(f"harmonic {k + 1}" for k in range(count))], rows)
    return (
        f"{table}\n\n{spectrum['sections']} half-overlapping sections of {spectrum['section_steps']:,} steps; "
        f"lines of the epoch: {spectrum['lines']}."
    )


def _told_of_spectrum(answers: Mapping[str, Record]) -> str:
    parts = []
    for name, answer in answers.items():
        layers = answer["spectrum"]["layers"]
        if not all("harmonics" in row for row in layers.values()):
            parts.append(f"{_TITLES[name]}: the sections are too short to show lines of the epoch.")
            continue
        up, down = [], []
        for layer, row in layers.items():
            known = [(k, *pair) for k, pair in enumerate(row["harmonics"]) if None not in pair]
            for k, ratio, error in known:
                up += [f"{layer} ({k + 1})"] if ratio - _NORMAL * error > 1 else []
                down += [f"{layer} ({k + 1})"] if ratio + _NORMAL * error < 1 else []
        count = sum(len(row["harmonics"]) for row in layers.values())
        parts.append(
            f"{_TITLES[name]}: of {count} densities at harmonics these lie above those between harmonics: "
            f"{', '.join(up) or 'none'}; these below: {', '.join(down) or 'none'}."
        )
    said = (
        "Low ÷ high: the spectral density at the four lowest frequencies over that of the upper half, 1 for "
        "independent steps. Harmonic k: the density at k/epoch over the mean of those at (k ± ½)/epoch. With "
        "reshuffled epochs theory has no line there, but a hole at frequencies below 1/epoch; lines would tell of an "
        "order that repeats. Where the density bends down towards that hole, harmonic 1 lies above its neighbours "
        "without a line."
    )
    return "\n\n".join([said, *parts])


def _modes(one: Record) -> str:
    rows = []
    for layer, row in one["modes"]["layers"].items():
        shares = ", ".join(f"{share:.3f}" for share in row["share"])
        contents = ", ".join(f"{content:.2f}" for content in row["content"])
        rows.append([layer, shares, contents, f"{row['participation_ratio']:.2f}", row["verdict"][0] or "–"])
    return _table(
        ["layer", "shares of modes 1, 2, 3", "cosine contents", "participation ratio", "verdict on mode 1"], rows
    )


def _told_of_modes(answers: Mapping[str, Record]) -> str:
    parts = []
    for name, answer in answers.items():
        layers = answer["modes"]["layers"]
        first = [row["share"][0] for row in layers.values()]
        alike = [layer for layer, row in layers.items() if row["verdict"][0].startswith("not distinguishable")]
        parts.append(
            f"{_TITLES[name]}, {answer['modes']['frames']:,} frames {answer['modes']['apart']} steps apart: "
            "the first mode is not distinguishable from a random walk by this criterion in "
            f"{_listed(alike, answer['modes'])}. Its share is "
            f"{min(first):.2f} to {max(first):.2f}; that of a walk 0.61."
        )
        motion = answer["motion"]
        end = _longest(motion)
        other = [] if end is None else [layer for layer in alike if layer in (*_slow(motion, end), *_fast(motion, end))]
        if other:
            parts[-1] += (
                f" Another criterion does tell {_listed(other, motion)} from a walk: there the exponent at τ = "
                f"{end:,} is not 1."
            )
    said = (
        "Principal components of the trajectory. A random walk in many dimensions has shares 0.608, 0.152, 0.068 and "
        "cosine contents near 1 (Hess, 2000): a large first share is no sign of a preferred direction. One run gives "
        "no interval of a share."
    )
    return "\n\n".join([said, *parts])
