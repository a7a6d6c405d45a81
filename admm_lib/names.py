"""Weights by name, as in the plain network, whether a constraint holds them or not."""

from difflib import get_close_matches

from torch import nn


def resolve(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module and tensor name behind "conv1.weight"; raises ValueError with the nearest known name.

    >>> model = nn.Sequential(nn.Linear(4, 3))
    >>> al.names.resolve(model, "0.bias")
    (Linear(in_features=4, out_features=3, bias=True), 'bias')
    """
    known = tensors(model)
    if name in known:
        return known[name]
    candidates = [each for each in known if each.endswith("weight")] or list(known)
    near = [f"{name}.weight"] if f"{name}.weight" in known else get_close_matches(name, candidates, 1, 0)
    raise ValueError(f"the model has no weight {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def weight_names(model: nn.Module) -> list[str]:
    """Names of all parameters as in the plain network, parametrized or not, module by module in the model's
    order; what a constraint holds comes after its module's other tensors.

    >>> al.names.weight_names(nn.Sequential(nn.Linear(4, 3), nn.ReLU()))
    ['0.weight', '0.bias']
    """
    return list(tensors(model))


def tensors(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Module and tensor name of every parameter, by its name in the plain network, parametrized or not."""
    found = {}
    for path, module in model.named_modules():
        if ".parametrizations" in f".{path}":
            continue
        own = [*dict(module.named_parameters(recurse=False)), *getattr(module, "parametrizations", ())]
        found |= {f"{path}.{tensor}" if path else tensor: (module, tensor) for tensor in own}
    return found
