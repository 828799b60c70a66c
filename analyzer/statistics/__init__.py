"""Statistics of correlated samples, on plain arrays: standard errors, equilibrium, tests."""
