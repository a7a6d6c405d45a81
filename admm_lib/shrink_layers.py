"""The modules that `shrink` understands by their kind, and a network's modules in the order they run."""

from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations as kind_of

from .parametrizations import Mask

WEIGHTS = {nn.Linear: 0, nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}  # their spatial dimensions
NORMS = {nn.BatchNorm1d: (0, 1), nn.BatchNorm2d: (2,), nn.BatchNorm3d: (3,)}
POOLS = {
    getattr(nn, f"{a}{b}Pool{d}d"): d for a in ("", "Adaptive") for b in ("Max", "Avg") for d in (1, 2, 3)
}
ACTIVATIONS = (
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.ReLU6, nn.Identity,
)  # fmt: skip
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_KNOWN = {*WEIGHTS, *NORMS, *POOLS, *ACTIVATIONS, *DROPOUTS, nn.Flatten}
_KNOWN_WITH = {"groups": 1, "track_running_stats": True, "start_dim": 1, "end_dim": -1}
TENSORS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
OTHERS = "; for any other network give a batch, to trace it with: shrink(model, inputs)"
ADVICE = (
    "shrink takes nn.Sequential, nested or not, of Linear, Conv1d/2d/3d with groups=1, BatchNorm with "
    "running statistics, max and average pooling, Dropout, Flatten(1, -1), "
    + ", ".join(kind.__name__ for kind in ACTIVATIONS)
    + OTHERS
)


def parts_of(model: nn.Module) -> dict[str, nn.Module]:
    """The modules by path, in the order they are run, all of them understood. ValueError for others, and
    where a layer is used twice.
    """
    parts = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if ".parametrizations" not in f".{path}" and type(module).forward is not nn.Sequential.forward:
            _check(path, module)
            parts[path] = module
    used = [module for module in parts.values() if shape_of(module)]
    used += [parameter for module in used for parameter in module.parameters()]
    if len(set(used)) < len(used):
        raise ValueError("a layer or a parameter is used twice: one place may need what the other drops")
    return parts


def _check(path: str, module: nn.Module) -> None:
    """Raise ValueError unless a module's part in the two passes is known."""
    known = all(getattr(module, name, value) == value for name, value in _KNOWN_WITH.items())
    if not known or kind_of(module) not in _KNOWN:
        shown = f"{kind_of(module).__name__}({module.extra_repr()})"
        raise ValueError(f"{path or 'the model'} is {shown}: {ADVICE}")
    held = dict(getattr(module, "parametrizations", {}))
    plain = {*dict(module.named_parameters(recurse=False)), *dict(module.named_buffers(recurse=False))}
    masked = [type(step) for step in held.pop("weight", [])] in ([], [Mask])
    if held or not masked or not plain <= set(TENSORS):  # torch's own pruning has a weight_orig
        raise ValueError(f"{path} is held by more than a mask of its weight: admm_lib.bake(model) first")


def shape_of(module: nn.Module) -> tuple[int, ...]:
    """The shape of a layer's weight or of a norm's vectors; empty for modules without such."""
    tensor = module.weight if kind_of(module) in WEIGHTS else getattr(module, "running_mean", None)
    return () if tensor is None else tuple(tensor.shape)
