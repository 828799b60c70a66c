"""The quantities, one module each: functions that take a run and return an `xarray.Dataset`."""
