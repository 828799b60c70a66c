"""Print the temperature of each layer of a run, as a user's program asks for it. A type checker knows all types."""

import json
import sys
from typing import assert_type

import xarray as xr

import analyzer
from analyzer import open_run


def main(store: str) -> dict[str, float]:
    """Measure a run, by the accessor and by the function."""
    run = open_run(store)
    answer = run.thermo.temperature(by="layer")
    assert_type(answer, xr.Dataset)
    assert_type(run.thermo.velocity(), xr.DataTree)
    assert_type(analyzer.__version__, str)
    assert (answer["temperature"] == analyzer.temperature(run, by="layer")["temperature"]).all()
    values = answer["temperature"].isel(window=0).values
    return {str(name): float(value) for name, value in zip(answer["group"].values, values, strict=True)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
