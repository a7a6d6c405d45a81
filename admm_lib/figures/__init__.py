"""Figures, a file per notebook or for several: pure functions that return a `matplotlib.figure.Figure`."""
