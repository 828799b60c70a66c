"""Updates of the weights: the optimizers that make them, when one is whole, and those that nobody listed."""
