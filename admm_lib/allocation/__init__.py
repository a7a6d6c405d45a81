"""How much each layer keeps: by rules, by hand, or as much as a file of so many bytes holds."""

from .file_size import Plan, fitted, for_bytes, levels_of, project, projected
from .rules import (
    LOOKING,
    RULES,
    by_lamp,
    by_laplace,
    by_magnitude,
    lamp_scores,
    plain,
    prunable,
    suggest,
    together,
    uniform,
)
from .steps import Left, in_steps

__all__ = [
    "LOOKING", "RULES", "Left", "Plan", "by_lamp", "by_laplace", "by_magnitude", "fitted",
    "for_bytes", "in_steps", "lamp_scores", "levels_of", "plain", "project", "projected", "prunable",
    "suggest", "together", "uniform",
]  # fmt: skip
