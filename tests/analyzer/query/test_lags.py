"""Lags of correlations and displacements: defaults, and what users write."""

from __future__ import annotations

import pytest

from analyzer import errors
from analyzer.query.lags import TABLE, lags_in


def test_what_a_user_writes_for_lags() -> None:
    assert lags_in("1,2, 5") == (1, 2, 5)
    assert lags_in("1:4") == (1, 2, 3, 4)
    assert lags_in("10:30:10,epoch") == (10, 20, 30, "epoch")
    assert lags_in("1:16:log") == (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16)
    for wrong in ("", "a", "1:", "5:1", "0:10:log", "1:10:0", "-1", "1:9999999"):
        with pytest.raises(errors.WindowError, match="--lags: expected lags in steps"):
            lags_in(wrong)
    assert TABLE[:12] == (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14)
    assert TABLE[-1] == 4096
