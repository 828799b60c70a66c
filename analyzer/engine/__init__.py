"""One pass over the frames: it is planned, frames are decoded and reduced to sums, and the sums are merged and kept."""
