"""Temperature against hyperparameters: models, fits, intervals and hypotheses, on plain arrays."""
