"""Names of variables in answers. A hyperparameter of the same name is renamed, so that it never replaces a result."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from analyzer.query.kinds import KINDS, PLACES

PREFIX = "hyperparameter_"
"""Put before a hyperparameter's name if a variable of our answers has that name."""

_OF_RUNS = ("run", "step", "epoch", "parameters")
_OF_QUERIES = (
    "group", "window", "start_step", "stop_step", "partial", "left_out", "lag", "steps_per_lag", "weights",
    "velocities", "batch", "batches", "series",
)  # fmt: skip
_OF_TEMPERATURES = (
    "temperature", "temperature_drift", "temperature_thermal", "temperature_half_phase", "velocities_half_phase",
    "drift_null", "floor", "standard_error", "n_eff", "unreliable", "learning_rate_change", "remark",
    "recorded_learning_rate",
    "temperature_per_eta2", "temperature_per_eta2_error", "temperature_per_eta2_unreliable",
    "expected_low", "expected_high", "expectation",
)  # fmt: skip
_OF_VELOCITIES = ("velocity", "mean_velocity", "mean_squared_velocity", "rms_velocity")
_OF_ROWS = (
    "tested", "rank", "rms_weight", "rows", "f", "numerator", "denominator", "p_value", "sphericity", "blocks",
    "block_steps", "inefficiency", "verdict", "reason", "hottest_over_coldest", "rank_stability",
)  # fmt: skip
_OF_SERIES = (
    "quantity", "of", "units", "equilibrium_step", "equilibrium_low", "equilibrium_high", "mean", "drift",
    "drift_error", "statistic", "threshold", "drift_percent", "drift_percent_low", "drift_percent_high",
)  # fmt: skip
_OF_DISTRIBUTIONS = (
    "bin", "lower", "upper", "density", "density_error", "density_by_weight", "density_by_weight_error",
    "maxwell_boltzmann", "outside", "outside_by_weight", "sampled",
)  # fmt: skip
_OF_FITS = (
    "coefficient", "value", "low", "high", "without_low", "without_high", "scatter", "between_run", "between_seed",
    "lack_of_fit", "r_squared", "aicc", "runs", "equation", "intervals", "notes", "within", "fitted", "residual",
    "leverage", "hypothesis", "alternative", "delta_aicc", "evidence",
)  # fmt: skip
RESERVED = frozenset(
    (*_OF_RUNS, *_OF_QUERIES, *KINDS, *PLACES, *_OF_TEMPERATURES, *_OF_VELOCITIES, *_OF_ROWS, *_OF_SERIES,
     *_OF_DISTRIBUTIONS, *_OF_FITS)
) - {"model"}  # fmt: skip
"""Variables and dimensions of all answers about groups of weights. A test compares every answer with this list: a new
variable must be added here, so that no hyperparameter of an existing sweep collides with it. (No answer has a variable
`model`. The variable `learning_rate` is renamed instead of the hyperparameter: `analyzer.sweep.over_runs`.)"""


def column_names(names: Iterable[str], taken: Collection[str] = RESERVED) -> dict[str, str]:
    """Return the name of a column for each name that users gave: all different, and none of `taken`.

    A slash becomes an underscore, since a tree would read it as a path. A name that is taken gets the prefix
    `hyperparameter_`. Names that need no change keep theirs.

    Examples
    --------
    >>> column_names(["temperature", "learning_rate", "optimizer/rate"])
    {'temperature': 'hyperparameter_temperature', 'learning_rate': 'learning_rate', 'optimizer/rate': 'optimizer_rate'}
    """
    listed = list(dict.fromkeys(names))
    found = {name: name for name in listed if "/" not in name and name not in taken and name}
    used = {*taken, *found.values()}
    for name in listed:
        if name in found:
            continue
        column = name.replace("/", "_")
        while not column or column in used:
            column = PREFIX + column
        found[name] = column
        used.add(column)
    return {name: found[name] for name in listed}
