"""`recorder import`: makes a store from a series of checkpoint files."""
