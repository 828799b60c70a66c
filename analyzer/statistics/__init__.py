"""What correlated samples are worth: standard errors, equilibrium, rows that differ; on plain arrays."""
