"""Series of checkpoint files, made into a store: `recorder import`."""
