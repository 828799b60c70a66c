"""Figures: one module for each quantity, all in one style."""
