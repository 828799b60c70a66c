"""What of a model is recorded: its parameters by name, their layers, axes and heads."""
