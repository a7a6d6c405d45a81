"""Compressing neural networks with ADMM: pruning, clustering and quantization under one algorithm."""

from . import data, models
from .admm import ADMM, Residuals, geometric
from .constraints import Constraint, OneOf, Sparse
from .parametrizations import bake
from .training import DivergenceError, evaluate, fit

__version__ = "0.1.0.dev0"
__all__ = [
    "ADMM", "Constraint", "DivergenceError", "OneOf", "Residuals", "Sparse", "bake", "data", "evaluate",
    "fit", "geometric", "models",
]  # fmt: skip
