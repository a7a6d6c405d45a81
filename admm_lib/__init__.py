"""Compressing neural networks with ADMM: pruning, clustering and quantization under one algorithm."""

from . import data, models, storage
from .admm import ADMM, Residuals, geometric
from .allocation import suggest
from .codec import CodecError, load, save
from .constraints import Constraint, OneOf, Sparse
from .parametrizations import bake
from .training import DivergenceError, evaluate, fit

__version__ = "0.1.0.dev0"
__all__ = [
    "ADMM", "CodecError", "Constraint", "DivergenceError", "OneOf", "Residuals", "Sparse", "bake", "data",
    "evaluate", "fit", "geometric", "load", "models", "save", "storage", "suggest",
]  # fmt: skip
