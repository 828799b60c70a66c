"""A program with a mistake in each of its last three lines, which only types can show."""

from analyzer import open_run
from recorder import Recorder

run = open_run("run.zarr")
run.thermo.temprature()
open_run(7)
Recorder("run.zarr", None, strid=10)
