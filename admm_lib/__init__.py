"""Compressing neural networks with ADMM: pruning, clustering and quantization under one algorithm.

Data and networks: data.load, models. Training: fit, evaluate, Teacher. What weights may be: Sparse; Levels,
PowerOfTwo, Binary, Ternary, Clusters (few values); Both; LowRank; suggest gives one for each layer. The
algorithm: ADMM, geometric (how rho rises). Afterwards: bake, shrink, save, load, storage.ladder. Modules with
more: allocation, rivals, export, qr, records, panels, figures. `help` of each has formula and source, and an
example after `import numpy as np, torch, admm_lib as al` and `from torch import nn`.
"""

from importlib import import_module
from types import ModuleType

from . import data, models, storage
from .admm import ADMM, Residuals
from .allocation import suggest
from .codec import CodecError, load, save
from .constraints import Constraint, LowRank, OneOf, Sparse
from .distillation import Teacher
from .evaluation import evaluate
from .holding import bake
from .importance import fisher
from .intersection import Both
from .low_rank import factored
from .quantization import Binary, Clusters, Levels, PowerOfTwo, Ternary
from .schedules import geometric
from .shrink import expand, pack, shrink
from .training import DivergenceError, fit

__version__ = "0.1.0"
__all__ = [
    "ADMM", "Binary", "Both", "Clusters", "CodecError", "Constraint", "DivergenceError", "Levels", "LowRank",
    "OneOf", "PowerOfTwo", "Residuals", "Sparse", "Teacher", "Ternary", "bake", "data", "evaluate", "expand",
    "factored", "fisher", "fit", "geometric", "load", "models", "pack", "save", "shrink", "storage",
    "suggest",
]  # fmt: skip


LATER = ("export", "figures", "panels", "pipelines", "qr", "recipes", "records", "results", "rivals")


def __dir__() -> list[str]:
    """What belongs to the library's face, for completion."""
    return sorted([*__all__, *LATER, "allocation", "__version__"])


def __getattr__(name: str) -> ModuleType:
    """`al.records`, `al.figures`, `al.qr` and so on are imported when they are first used."""
    if name in LATER:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
