"""The way of a frame from the memory of the parameters into the spool."""
