"""Figures, a file per notebook: pure functions of data that return a `matplotlib.figure.Figure`."""
