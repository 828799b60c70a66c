"""Which fits of a model's temperatures are possible with the finished runs of a scale. Nothing here is measured."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from .plan import Branch, Scale, batch_sweep, grid, rate_sweep

FEWEST = 3
"""Fewest values of a hyperparameter for which a curve is fitted."""


@dataclass(frozen=True)
class Asked:
    """One fit: its name, its runs, and the words of `analyzer fit`.

    Attributes
    ----------
    lags : tuple of str
        Lags of exponents against lag; empty for a fit at lag 1.
    drawn : bool
        Whether there is a figure of it.
    """

    name: str
    runs: tuple[Branch, ...]
    against: tuple[str, ...]
    model: str = "power"
    compare: tuple[str, ...] = ()
    lags: tuple[str, ...] = ()
    drawn: bool = True

    @property
    def words(self) -> list[str]:
        """The options of `analyzer fit`."""
        said = [word for name in self.against for word in ("--against", name)] + ["--model", self.model]
        said += [word for name in self.compare for word in ("--compare", name)]
        return said + (["--lag", ",".join(self.lags)] if self.lags else [])


def asked_fits(scale: Scale, optimizer: str, done: Collection[Branch], stayed: Collection[Branch]) -> list[Asked]:
    """Which fits the finished runs of an optimizer allow: against learning rate, batch size and both, at every lag.

    They are of the runs that stayed at the trained network. If some of the sweep of rates did not, there is one more,
    of all its runs.
    """
    rates, batches = ([run for run in sweep(scale, optimizer) if run in stayed] for sweep in (rate_sweep, batch_sweep))
    all_rates = [run for run in rate_sweep(scale, optimizer) if run in done]
    values = len({run.learning_rate for run in rates}), len({run.batch_size for run in batches})
    lags = (*map(str, scale.lags), "epoch")
    rate, batch, inverse = ("learning_rate",), ("batch_size",), ("inverse_batch_size",)
    power, line = ("square", "stiff", "parabola", "linear"), ("parabola", "proportional", "power")
    asked = []
    if values[0] >= FEWEST:
        asked.append(Asked("rate", tuple(rates), rate, compare=power))
        asked.append(Asked("rate-lags", tuple(rates), rate, lags=lags))
    if len(all_rates) > len(rates) and len({run.learning_rate for run in all_rates}) >= FEWEST:
        asked.append(Asked("rate-all", tuple(all_rates), rate))
    if values[1] >= FEWEST:
        asked.append(Asked("batch", tuple(batches), batch, "inverse_power", drawn=False))
        asked.append(Asked("batch-lags", tuple(batches), batch, "inverse_power", lags=lags))
        asked.append(Asked("inverse", tuple(batches), inverse, "linear", line))
        asked.append(Asked("inverse-epoch", tuple(batches), inverse, "linear", line, lags=("epoch",)))
    if min(values) >= FEWEST:
        more = [run for run in grid(scale) if run in stayed] if optimizer == "sgd" else []
        both = tuple(dict.fromkeys([*rates, *batches, *more]))
        asked.append(Asked("joint", both, rate + batch, "joint", drawn=False))
    return asked
