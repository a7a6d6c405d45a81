r"""Ways of pruning one dense network to given budgets, each with one number of its own to tune.

A way gets a `Task`: the same dense network, images, budgets and epochs for all of them. `phases` are the
epochs during which it picks the weights, at a constant rate, and those after, when its mask is held and the
rest retrains by one cycle, at `Task.lr`. A way that picks all at once retrains by one cycle in both. The
number is that rate, of the first phase or of both, or else a strength: rho, of a penalty, at `Task.rate`.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils import prune

from . import models
from .admm import ADMM
from .allocation import in_steps
from .constraints import Sparse
from .data import Data, Shifts
from .faulty_penalties import KeptGraph, NotRescaled, UnsquaredNorm
from .holding import bake, hold
from .names import resolve
from .parametrizations import Mask
from .rivals import GradualMagnitude, HardThresholding, QuadraticPenalty
from .schedules import geometric
from .training import fit

RHO = 1e-3  # at first, where it is not what is tuned
GROWTH = 10.0  # of rho, from the first update to the last, where it grows


@dataclass(frozen=True, eq=False)
class Task:
    """What every way gets: a dense network, of which a copy is pruned, images, budgets by layer, epochs."""

    name: str  # of the network, as in `models`
    dense: nn.Module
    images: Data
    keep: Mapping[str, int]  # of single weights, or of the groups that `by` says
    seed: int
    dense_epochs: int
    phases: tuple[int, int]
    rate: float  # while weights are picked
    lr: float  # at the top of the one cycle
    batch_size: int
    precision: str
    shift_pixels: int
    by_admm: Callable[[], nn.Module]  # the network that ADMM makes of the same task, at its tuned rho
    by: str = "element"

    def train(
        self, model: nn.Module, epochs: int, after: int = 0, *, lr: float | None = None,
        schedule: str | None = None, admm: ADMM | None = None, optimizer: torch.optim.Optimizer | None = None,
    ) -> None:  # fmt: skip
        """Epochs, the first of them number `after` + 1: all ways see the same batches in the same epoch."""
        fit(
            model, self.images, epochs, admm=admm, optimizer=optimizer, lr=lr or self.lr, schedule=schedule,
            batch_size=self.batch_size, precision=self.precision,
            augment=Shifts(self.shift_pixels) if self.shift_pixels else None,
            seed=1000 * self.seed + self.dense_epochs + after,
        )  # fmt: skip

    def sets(self) -> dict[str, Sparse]:
        """The budgets as sets."""
        return {name: Sparse(keep=count, by=self.by) for name, count in self.keep.items()}


@dataclass(frozen=True)
class Way:
    """How to prune, what it is called, and the number that is tuned, with the values that are tried first."""

    title: str
    tuned: str
    values: tuple[float, ...]
    prune: Callable[[Task, float], nn.Module]
    only: str | None = None  # the view it prunes by, where it knows one alone
    package: str | None = None  # where it comes from, where that is neither here nor torch


def _at_once(choose: Callable[[Task], dict[str, torch.Tensor]]) -> Callable[[Task, float], nn.Module]:
    """Masks chosen before any training, which then takes both phases."""

    def pruned(task: Task, lr: float) -> nn.Module:
        model = copy.deepcopy(task.dense)
        _hold(model, choose(task))
        task.train(model, sum(task.phases), lr=lr)
        return bake(model)

    return pruned


def _hold(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    for name, mask in masks.items():
        owner = resolve(model, name)
        hold(*owner, getattr(*owner).detach().clone(), Mask(mask))


def _largest(task: Task) -> dict[str, torch.Tensor]:
    return {name: each.chosen(getattr(*resolve(task.dense, name))) for name, each in task.sets().items()}


def _random(task: Task) -> dict[str, torch.Tensor]:
    """Masks of the same densities, drawn by the seed."""
    generator, masks = torch.Generator().manual_seed(task.seed), {}
    for name, count in task.keep.items():
        weight = getattr(*resolve(task.dense, name))
        chosen = torch.randperm(weight.numel(), generator=generator)[:count]
        masks[name] = torch.zeros(weight.numel(), dtype=torch.bool).index_fill_(0, chosen, True)
        masks[name] = masks[name].reshape(weight.shape)
    return masks


def _picked(kind: Callable[[nn.Module, Task], ADMM]) -> Callable[[Task, float], nn.Module]:
    """One update an epoch in the first phase, whose end is projected; its rate is what is tuned."""

    def pruned(task: Task, lr: float) -> nn.Module:
        model, (first, last) = copy.deepcopy(task.dense), task.phases
        picking = kind(model, task)
        task.train(model, first, lr=lr, admm=picking)
        picking.finalize()
        task.train(model, last, first)
        return bake(model)

    return pruned


def _split(kind: type[ADMM], growth: float = 1.0) -> Callable[[Task, float], nn.Module]:
    """ADMM, or what is trained like it, whose rho is tuned."""

    def pruned(task: Task, rho: float) -> nn.Module:
        schedule = geometric(1, growth, task.phases[0]) if growth != 1 else None
        return _picked(lambda model, task: kind(model, task.sets(), rho, schedule))(task, task.rate)

    return pruned


def _gradual(model: nn.Module, task: Task) -> ADMM:
    return GradualMagnitude(model, task.sets(), task.phases[0])


def _admm(model: nn.Module, task: Task) -> ADMM:
    """At the rho of the recipes."""
    return ADMM(model, task.sets(), RHO, geometric(1, GROWTH, task.phases[0]))


def _thresholding(model: nn.Module, task: Task) -> ADMM:
    return HardThresholding(model, task.sets())


def _fresh(task: Task, lr: float) -> nn.Module:
    """ADMM's mask with the weights of a new network, which trains as long as all else has in all."""
    pruned, model = task.by_admm(), models.create(task.name, seed=10_000 + task.seed)
    _hold(model, {name: getattr(*resolve(pruned, name)) != 0 for name in task.keep})
    task.train(model, task.dense_epochs + sum(task.phases), -task.dense_epochs, lr=lr)
    return bake(model)


def _torch_prune(task: Task, lr: float) -> nn.Module:
    """torch.nn.utils.prune before every epoch, each time to the same share of what was left."""
    model, (first, last) = copy.deepcopy(task.dense), task.phases
    model.to(memory_format=torch.contiguous_format)  # torch's own masks do not take channels_last
    owners = {name: resolve(model, name) for name in task.keep}
    left = {name: getattr(*owner).numel() for name, owner in owners.items()}
    adam = None
    for epoch, sets in enumerate(in_steps(model, task.sets(), first)):
        for name, owner in owners.items():
            prune.l1_unstructured(*owner, amount=left[name] - sets[name].keep)
            left[name] = sets[name].keep
        adam = adam or torch.optim.Adam(model.parameters(), lr=lr)  # of the tensors that are masked
        task.train(model, 1, epoch, optimizer=adam, schedule="constant")
    task.train(model, last, first)
    for owner in owners.values():
        prune.remove(*owner)
    return model


def _torchao(task: Task, lr: float) -> nn.Module:
    """torchao's prototype of pruning-aware training: the largest of latent dense weights, fewer and fewer by
    its cubic schedule, then its mask held.
    """
    from torchao.prototype.pat.optim import PruneOptimizer

    model, (first, last) = copy.deepcopy(task.dense), task.phases
    steps = -(-len(task.images.train) // task.batch_size)
    weights = {name: getattr(*resolve(model, name)) for name in task.keep}
    chosen = [
        {
            "params": [weight],
            "prox_type": "MinSparsityConstraint",
            "group_type": "KElementGrouper",
            "k": 1,
            "min_sparsity": 1 - (task.keep[name] + 0.5) / weight.numel(),  # it rounds the zeros up
            "min_sparsity_schedule": True,
        }
        for name, weight in weights.items()
        if task.keep[name] < weight.numel()  # it refuses a share of zeros below zero
    ]
    few = {each["params"][0] for each in chosen}
    rest = [each for each in model.parameters() if each not in few]
    adam = torch.optim.Adam([{"params": rest}, *chosen], lr=lr)
    inner = PruneOptimizer(adam, healing_start_step=first * steps)
    task.train(model, first, optimizer=_Through(adam, inner.step), schedule="constant")
    _hold(model, {name: weight != 0 for name, weight in weights.items()})
    task.train(model, last, first)
    return bake(model)


class _Through(torch.optim.Optimizer):
    """An optimizer whose groups are those of `base`, and whose step is `step`: for peers that have one of
    their own, which is no `Optimizer` to those that look inside.
    """

    def __init__(self, base: torch.optim.Optimizer, step: Callable[[], Any]) -> None:
        super().__init__(base.param_groups, {})
        self.param_groups, self._step = base.param_groups, step

    def step(self, closure: Callable[[], float] | None = None) -> None:
        """As given."""
        self._step()


def _torch_pruning(task: Task, lr: float) -> nn.Module:
    """torch-pruning's groups of the smallest norms before every epoch, by its own linear schedule."""
    model, (first, last) = copy.deepcopy(task.dense), task.phases
    pruner = _pruner("BasePruner", model, task, iterative_steps=first)
    for epoch in range(first):
        pruner.step()
        task.train(model, 1, epoch, lr=lr, schedule="constant")
    task.train(model, last, first)
    return model


def _group_norms(task: Task, strength: float) -> nn.Module:
    """torch-pruning's training towards small groups (DepGraph), which are then taken away."""
    model, (first, last) = copy.deepcopy(task.dense), task.phases
    pruner = _pruner("GroupNormPruner", model, task, reg=strength)
    adam = torch.optim.Adam(model.parameters(), lr=task.rate)

    def step() -> None:
        pruner.regularize(model)  # after backward, as its documentation says
        adam.step()

    task.train(model, first, optimizer=_Through(adam, step), schedule="constant")
    pruner.step()
    task.train(model, last, first)
    return model


def _pruner(kind: str, model: nn.Module, task: Task, **settings: Any) -> Any:
    """A pruner of torch-pruning that leaves `task.keep` units in each layer."""
    import torch_pruning

    layers = {resolve(model, name)[0]: count for name, count in task.keep.items()}
    shares = {layer: 1 - (count + 0.5) / len(layer.weight) for layer, count in layers.items()}  # rounds down
    return getattr(torch_pruning.pruner, kind)(
        model, task.images.train.inputs[:1], torch_pruning.importance.GroupMagnitudeImportance(),
        pruning_ratio_dict={layer: share for layer, share in shares.items() if share > 0},
        ignored_layers=[layer for layer, share in shares.items() if share <= 0], **settings,
    )  # fmt: skip


RATES = (5e-4, 1e-3, 2e-3, 4e-3)
RHOS = (1e-4, 3e-4, 1e-3, 3e-3)

WAYS = {
    "magnitude": Way("the largest, at once", "rate", RATES, _at_once(_largest)),
    "torch-prune": Way("torch.nn.utils.prune, each epoch", "rate", RATES, _torch_prune, only="element"),
    "gradual": Way("gradual magnitude, cubic", "rate", RATES, _picked(_gradual)),
    "torchao": Way("torchao prototype.pat", "rate", RATES, _torchao, only="element", package="torchao"),
    "hard-thresholding": Way("hard thresholding, each epoch", "rate", RATES, _picked(_thresholding)),
    "admm": Way("ADMM, its rho tuned", "rho", RHOS, _split(ADMM, GROWTH)),
    "admm-rate": Way("ADMM, its rate tuned", "rate", RATES, _picked(_admm)),
    "no-dual": Way("ADMM with U = 0", "rho", RHOS, _split(QuadraticPenalty, GROWTH)),
    "random": Way("random mask", "rate", RATES, _at_once(_random), only="element"),
    "fresh": Way("ADMM's mask, fresh weights", "rate", RATES, _fresh),
    "constant": Way("ADMM, rho constant", "rho", RHOS, _split(ADMM)),
    "unsquared": Way("norm not squared", "rho", (3e-4, 3e-3, 3e-2, 3e-1), _split(UnsquaredNorm)),
    "kept-graph": Way("U kept with its graph", "rho", RHOS, _split(KeptGraph)),
    "not-rescaled": Way("U not rescaled as rho grows", "rho", RHOS, _split(NotRescaled, GROWTH)),
    "torch-pruning": Way(
        "torch-pruning, each epoch", "rate", RATES, _torch_pruning, only="filter", package="torch-pruning"
    ),
    "group-norms": Way(
        "torch-pruning, group norms", "strength", RHOS, _group_norms, only="filter", package="torch-pruning"
    ),
}
