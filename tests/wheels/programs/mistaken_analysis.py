"""A program with a mistake in each of its last two lines, which only types can show."""

from analyzer import open_run

run = open_run("run.zarr")
run.thermo.temprature()
open_run(7)
