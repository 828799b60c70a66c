"""Physical checks of a run: what was measured, and what its optimizer leads one to expect."""
