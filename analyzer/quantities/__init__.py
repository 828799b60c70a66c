"""What is measured, one module a question: functions from a run to an `xarray.Dataset`."""
