"""A file of so many bytes, stage by stage: what is planned before training, and what is pruned after it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from . import recipes
from .allocation import Plan, fitted, for_bytes, levels_of, project, prunable
from .constraints import Sparse

# Training spreads weights over more levels than their projection has, and labels take more bytes: about 5%
# of the file after ADMM, 3% where networks are pruned at once, 11% where steps are those of dense weights (at
# tuning seeds). So much is planned less, or else the last weights would go without retraining.
RESERVE = {"admm": 0.945, "straight-through": 0.965, "opq": 0.89}


@torch.no_grad()
def planned(
    stage: str, settings: dict[str, Any], network: nn.Module, bits: Mapping[str, int] | None
) -> Plan:
    """The plan of a stage, from the weights as they are, or, of the stage after ADMM, the `bits` that ADMM's
    had. Stages other than ADMM prune the network by it at once, in place.
    """
    if bits is not None:
        return Plan({}, levels_of(bits), 0)
    wanted = settings["allocation"]
    budget = wanted["bytes"] if stage == "admm" else round(RESERVE[stage] * wanted["bytes"])
    if wanted["rule"] == "given":
        hand = Plan(recipes.prune_sets(settings, network), recipes.given_sets(settings), 0)
        plan = fitted(network, hand, budget)
    else:
        rule = wanted["rule"], wanted["bits"]
        plan = for_bytes(network, budget, *rule, analytic=stage == "opq")
    if stage != "admm":
        project(network, plan.sparse, {})
    return plan


@torch.no_grad()
def meet(plan: Plan, network: nn.Module, budget: int, stage: str) -> None:
    """Prune the trained network for a file of `budget` bytes, in place.

    After ADMM this is its projection, with `RESERVE` for what quantization will add; after a stage that has
    quantized the weights, only what is too much goes, and in most runs that is nothing.
    """
    if stage == "admm":
        project(network, fitted(network, plan, round(RESERVE[stage] * budget)).sparse, {})
        return
    left = {name: Sparse(keep=int(weight.count_nonzero())) for name, weight in prunable(network).items()}
    met = fitted(network, replace(plan, sparse=left), budget)
    project(network, met.sparse, met.few)
