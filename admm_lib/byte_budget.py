"""A file of so many bytes, stage by stage: what is planned before training, and what is pruned after it."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from . import recipes
from .allocation import Plan, fitted, for_bytes, project, prunable
from .constraints import Sparse
from .quantization import Levels

# Of the bytes; the rest is for what training still changes: it spreads weights over more levels than their
# projection has, so that labels take more. (With steps of dense weights 11% in all, at a tuning seed.)
ROOM = 0.98
FIRST = 2 / 3  # of the epochs of quantized weights, after which the file is looked at


def parts(recipe: recipes.Recipe, step: dict[str, Any], shared: dict[str, Any]) -> list[tuple[str, dict]]:
    """The stages of a step for a file of so many bytes, as names and settings.

    ADMM, where it is the method, for pruning alone; then two parts of training with quantized weights. At the
    end of each stage the network is pruned to the budget, with `room` left for what is still to come.
    """
    shared = shared | {name: step[name] for name in ("allocation", "keep", "sets") if name in step}
    spent, begun = step["retrain"]["epochs"], []
    if recipe["method"] == "admm":
        begun = [("admm", shared | step["admm"] | {"finish": recipe["finish"], "room": ROOM})]
    else:
        spent += step["admm"]["epochs"]
    name = "opq" if recipe["method"] == "opq" else "straight-through"
    first = math.ceil(FIRST * spent)
    found = [(first, {"room": ROOM}), (spent - first, {})]
    return begun + [
        (name, shared | step["retrain"] | {"epochs": epochs} | room) for epochs, room in found if epochs
    ]


@torch.no_grad()
def planned(
    stage: str, settings: dict[str, Any], network: nn.Module, levels: Mapping[str, dict[str, Any]] | None
) -> Plan:
    """The plan of a stage: from the weights as they are, or else the `levels` of the stages before.

    Where quantized training begins without ADMM, the network is pruned by it at once, in place.
    """
    if levels is not None:
        return Plan({}, {name: Levels(**each) for name, each in levels.items()}, 0)
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
def meet(plan: Plan, network: nn.Module, settings: dict[str, Any], stage: str) -> None:
    """Prune the trained network for its file's bytes, less the stage's room, in place.

    After ADMM that is its projection; later only what is too much goes, the smallest levels first, the same
    share of each layer.
    """
    budget = round(settings.get("room", 1) * settings["allocation"]["bytes"])
    if stage == "admm":
        project(network, fitted(network, plan, budget).sparse, {})
        return
    left = {name: Sparse(keep=int(weight.count_nonzero())) for name, weight in prunable(network).items()}
    met = fitted(network, replace(plan, sparse=left), budget)
    project(network, met.sparse, met.few)
