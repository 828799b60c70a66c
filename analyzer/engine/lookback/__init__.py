"""Passes that look at several frames at once: pairs at a lag, sections of a spectrum, single frames far apart."""
