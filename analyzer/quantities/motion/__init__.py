"""How weights move: correlations and displacements by lag, ageing, spectra, principal modes."""
