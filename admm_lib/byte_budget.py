"""A file of so many bytes, stage by stage: what is planned before training, and what is pruned after it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from . import recipes
from .allocation import Plan, fitted, for_bytes, levels_of, project, prunable
from .constraints import Sparse

RESERVE = 0.98  # of the bytes, after ADMM: quantized weights are coded in a few more or fewer than expected


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
    if wanted["rule"] == "given":
        hand = Plan(recipes.prune_sets(settings, network), recipes.given_sets(settings), 0)
        plan = fitted(network, hand, wanted["bytes"])
    else:
        rule = wanted["rule"], wanted["bits"]
        plan = for_bytes(network, wanted["bytes"], *rule, analytic=stage == "opq")
    if stage != "admm":
        project(network, plan.sparse, {})
    return plan


@torch.no_grad()
def meet(plan: Plan, network: nn.Module, budget: int, stage: str) -> None:
    """Prune the trained network for a file of `budget` bytes, in place.

    After ADMM this is its projection, with some `RESERVE` for what quantization will change; after a stage
    that has quantized the weights, only what is too much goes, and in most runs that is nothing.
    """
    if stage == "admm":
        project(network, fitted(network, plan, round(RESERVE * budget)).sparse, {})
        return
    left = {name: Sparse(keep=int(weight.count_nonzero())) for name, weight in prunable(network).items()}
    met = fitted(network, replace(plan, sparse=left), budget)
    project(network, met.sparse, met.few)
