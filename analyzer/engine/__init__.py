"""One pass over the frames: planned, decoded, reduced to sums, merged, and kept for later questions."""
