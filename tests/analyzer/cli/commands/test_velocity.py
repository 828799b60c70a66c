"""`analyzer velocity`: its columns, on stdout."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd

from tests.analyzer.shell import invoke


def test_csv_goes_to_stdout(store: Path) -> None:
    result = invoke("velocity", store, "--by", "element", "--parameter", "lin.bias", "--format", "csv")
    table = pd.read_csv(io.StringIO(result.stdout))
    assert table["index"].tolist() == list(range(10))
    np.testing.assert_allclose(table["rms_velocity"] ** 2, table["mean_squared_velocity"])
