"""The kernel of pair sums in numpy: what `analyzer.engine.pairs_compiled` is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def add_pairs(
    frames: Array, slopes: Array, groups: Array, strips: Array, lags: Array, splits: Array, order: Array, sums: Array
) -> None:
    """See `analyzer.engine.pairs_compiled.add_pairs`; `order` changes nothing but speed there."""
    w = frames.astype(np.float64) - slopes[:, np.newaxis] * np.arange(frames.shape[1])
    v = np.zeros_like(w)
    v[:, 1:] = np.diff(w, axis=1)
    for low, high, base, first, number in strips.tolist():
        for n, lag in enumerate(lags.tolist()):
            for kind in range(2):
                begin, cut = max(low, first + 1 - kind + lag), base + int(splits[kind, n])
                for one, (i, j) in enumerate(((max(begin, cut), high), (begin, min(high, cut)))):
                    if i < j:
                        x = (v, w)[kind]
                        later, earlier = x[:, i:j], x[:, i - lag : j - lag]
                        found = (later * earlier if kind == 0 else (later - earlier) ** 2).sum(axis=1)
                        np.add.at(sums[:, number, n, kind, one], groups, found)
