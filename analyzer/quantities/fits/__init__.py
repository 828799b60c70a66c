"""Fits of temperature against hyperparameters over the runs of a sweep."""
