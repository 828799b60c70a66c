"""Fits of temperature against hyperparameters, on plain arrays: models, coefficients, intervals, hypotheses."""
