"""How much each weight matters to what a network says: the diagonal of the Fisher information."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .allocation import prunable
from .data import Data, Split
from .evaluation import Batches, in_eval_mode, stream
from .layers import Layers


def fisher(model: nn.Module, data: Split | Batches, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    r"""The diagonal Fisher information of each layer's weights, by name and in their shapes.

        F_i = E_x sum_c p_c(x) (d log p_c(x) / d w_i)^2,      p(x) = softmax of the model's outputs (C,)

    To second order, a change e of the weights moves the outputs by sum_i F_i e_i^2 / 2 in Kullback-Leibler
    divergence: the weights of a squared error that the network, rather than the eye, would choose. The sum
    over classes is exact, the mean is over the examples given (targets are not looked at); C backward
    passes for each of them, so give a few hundred. In eval mode; by default of all weights that can be
    pruned. Raises ValueError for a whole data set, for no example, a layer that is unknown, frozen, or held
    by more than a mask. Source: 1412.1193; as weights of k-means, with the Hessian in its place, 1612.01543.

    >>> model = nn.Linear(1, 2, bias=False)
    >>> model.weight.data = torch.zeros(2, 1)  # both p are 1/2, so that F = p (1 - p) x^2
    >>> al.fisher(model, [(torch.tensor([[4.0]]), torch.tensor([0]))])["weight"].tolist()
    [[4.0], [4.0]]
    """
    if isinstance(data, Data):
        raise ValueError("fisher takes one split: data.train.subset(200), for instance")
    layers = Layers(model)
    places = {name: layers.add(name) for name in (prunable(model) if names is None else names)}
    weights = layers.parameters()
    if frozen := [name for name, place in places.items() if not weights[place].requires_grad]:
        raise ValueError(f"{frozen[0]} is frozen, and has no gradient: requires_grad_(True), or leave it out")
    found, examples = [torch.zeros_like(weight) for weight in weights], 0
    with in_eval_mode(model), torch.enable_grad():
        for inputs, *_ in stream(data, 1, None, None):
            for each in inputs.to(weights[0].device):
                log_p = F.log_softmax(model(each[None])[0], 0)
                for share, one in zip(log_p.detach().exp(), log_p, strict=True):
                    for total, grad in zip(found, _gradients(one, weights), strict=True):
                        total.add_(share * grad.square())
                examples += 1
    if examples == 0:
        raise ValueError("there is nothing to learn importance from: the data gave no example")
    return {name: found[place] / examples for name, place in places.items()}


def _gradients(output: Tensor, weights: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output, weights, retain_graph=True, materialize_grads=True)
