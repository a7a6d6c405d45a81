"""Interactive panels, a file per notebook, over the shared machinery of `base`."""
