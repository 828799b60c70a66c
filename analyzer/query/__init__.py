"""What is asked of a run: which frames form velocities, in which windows, of which weights, in which groups."""
