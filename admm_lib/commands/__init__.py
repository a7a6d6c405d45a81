"""The commands of `python -m admm_lib`, a file for each kind: each adds its own to the parser."""
