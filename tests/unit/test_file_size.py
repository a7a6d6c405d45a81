"""Allocation by the bytes of the file: met by every rule, never exceeded, and as a plan says."""

import copy
import math
from collections import OrderedDict

import pytest
import torch
from torch import nn
from unit.tiny import TINY, trained, written

import admm_lib as al
from admm_lib import allocation, byte_budget, codec, data, laplace, pipelines, recipes, rivals
from admm_lib.allocation import RULES, Plan, fitted, for_bytes, projected
from admm_lib.constraints import Sparse
from admm_lib.quantization import Levels


@pytest.fixture(scope="module")
def network():
    """A network with weights as training leaves them: many small ones, few large."""
    layers = OrderedDict(
        fc1=nn.Linear(100, 80), act1=nn.ReLU(), fc2=nn.Linear(80, 40), act2=nn.ReLU(), fc3=nn.Linear(40, 10)
    )
    model = nn.Sequential(layers)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(torch.rand(parameter.shape, generator=generator).pow(2))
    return model


def written_bytes(model, plan):
    """The file of the projected network, written the long way round."""
    model = copy.deepcopy(model)
    allocation.project(model, plan.sparse, plan.few)
    packed = al.pack(model)
    for name, each in plan.few.items():
        owner = packed.get_parameter(name)
        owner.data = each.project(owner.data)
    return len(codec.encode(packed))


@pytest.mark.parametrize("rule", RULES)
def test_the_file_is_close_to_the_budget_and_never_above_it(network, rule):
    for budget in (700, 2_000):
        plan = for_bytes(network, budget, rule)
        assert 0.95 * budget <= plan.file_bytes <= budget
        assert written_bytes(network, plan) == plan.file_bytes
        assert f"expected: a file of {plan.file_bytes:,} bytes" in str(plan)


def test_the_sets_of_a_plan_are_those_of_admm_and_their_file_meets_the_budget(network):
    plan = for_bytes(network, 900, "lamp", bits=2)
    model = copy.deepcopy(network)
    admm = al.ADMM(model, plan.sets)
    admm.update()
    admm.finalize()
    kept = {name: int(model.get_submodule(name.split(".")[0]).weight.count_nonzero()) for name in plan.sparse}
    assert all(kept[name] <= each.keep for name, each in plan.sparse.items())
    assert len(codec.encode(al.pack(al.bake(model)))) <= 900


def test_levels_follow_the_rule(network):
    alike = for_bytes(network, 900, "lamp", 2).few
    assert {each.bits for name, each in alike.items() if "weight" in name} == {2}
    fits = {name: laplace.fit(weight) for name, weight in allocation.prunable(network).items()}
    plan = for_bytes(network, 900, "laplace-relative", 3.5, analytic=True)
    kept = sum(each.keep for each in plan.sparse.values())
    ratio = sum(each.count for each in fits.values()) / kept
    betas = laplace.thresholds(fits, 1 - 1 / ratio, "relative")
    steps = laplace.steps(fits, betas, 3.5, "relative")
    for name, bits in laplace.widths(fits, steps).items():
        assert plan.few[name].bits == bits
        assert plan.few[name].step == pytest.approx(steps[name], rel=0.01)
    assert {each.bits for name, each in plan.few.items() if "bias" in name} == {6}
    assert all(each.step is None for each in for_bytes(network, 900, "laplace-relative").few.values())


def test_one_budget_over_all_layers_is_said_to_be_one(network):
    plan = for_bytes(network, 900, "together")
    ((key, each),) = plan.sparse.items()
    assert set(key) == {"fc1.weight", "fc2.weight", "fc3.weight"}
    pruned = copy.deepcopy(network)
    allocation.project(pruned, plan.sparse, {})
    assert sum(int(weight.count_nonzero()) for weight in allocation.prunable(pruned).values()) == each.keep
    assert "all layers together" in str(plan)


def test_a_plan_is_changed_by_one_factor_and_comes_back_to_the_budget(network):
    hand = Plan({"fc1.weight": Sparse(keep=300), "fc2.weight": Sparse(keep=100)}, {}, 0)
    found = fitted(network, hand, 3_000)
    assert 2_900 <= found.file_bytes <= 3_000
    ratio = found.sparse["fc1.weight"].keep / found.sparse["fc2.weight"].keep
    assert ratio == pytest.approx(3, rel=0.01)
    assert written_bytes(network, found) == found.file_bytes


def test_a_budget_for_all_of_it_keeps_all_of_it():
    model = nn.Sequential(nn.Linear(20, 10, bias=False))
    plan = for_bytes(model, 10_000, "uniform", 8)
    assert plan.sparse["0.weight"].keep == 200


def test_networks_that_branch_and_those_without_biases_have_budgets_too():
    model = al.models.resnet20()
    plan = for_bytes(model, 6_000, "uniform", 2)
    assert 5_700 <= plan.file_bytes <= 6_000
    assert set(plan.few) == {*allocation.prunable(model), "fc.bias"}
    assert len(codec.encode(projected(model, plan))) == plan.file_bytes


def test_the_model_stays_as_it_is(network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for_bytes(network, 900)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_what_cannot_be_is_said(network):
    with pytest.raises(ValueError, match=r"a budget of 20 bytes is too small: .* the file has"):
        for_bytes(network, 20)
    with pytest.raises(ValueError, match="rule must be one of suggest, uniform"):
        for_bytes(network, 900, "lamb")
    with pytest.raises(ValueError, match="the same whole number of bits, not 2"):
        for_bytes(network, 900, "lamp", 2.5)
    with pytest.raises(ValueError, match="bits is 1, the sign, or more"):
        for_bytes(network, 900, bits=0.5)
    broken = copy.deepcopy(network)
    broken.fc1.weight.data[0, 0] = math.nan
    for rule in ("lamp", "laplace-relative"):
        with pytest.raises(ValueError, match=r"NaN|finite"):
            for_bytes(broken, 900, rule)


def test_a_step_that_is_given_is_not_looked_for():
    weight = torch.tensor([0.0, 0.3, -0.7, 1.6, -0.1])
    found = Levels(2, step=0.5).project(weight)
    assert torch.equal(found, torch.tensor([0.0, 0.5, -0.5, 1.0, -0.5]))
    assert torch.equal(Levels(3, step=0.5).project(found), found)
    coarse = Levels(2, digits=2, step=0.55).project(weight)  # 0.5 and 0.75 have two binary digits
    assert torch.equal(coarse.abs().unique(), torch.tensor([0.0, 0.5, 1.0]))
    for step in (0, -1, math.inf, math.nan, "half"):
        with pytest.raises(ValueError, match="step is a positive number"):
            Levels(2, step=step)


SIZED = {"keep": None, "allocation": {"rule": "laplace-remaining", "bytes": 6000, "bits": 3}}
HAND = {
    "allocation": {"rule": "given", "bytes": 6000},
    "sets": {
        **{name: {"set": "levels", "bits": 2, "digits": 7} for name in TINY["keep"]},
        **{f"fc{i}.bias": {"set": "levels", "bits": 6, "digits": 7} for i in (1, 2, 3)},
    },
}


@pytest.mark.parametrize(
    "changes",
    [
        {**SIZED, "finish": "straight-through"},
        {**SIZED, "method": "magnitude"},
        {**SIZED, "method": "opq"},
        {**HAND, "finish": "straight-through"},
        {**SIZED, "allocation": {**SIZED["allocation"], "rule": "together"}, "finish": "straight-through"},
    ],
    ids=["admm", "magnitude", "opq", "given", "together"],
)
def test_a_recipe_for_bytes_ends_in_a_file_close_to_them_and_never_above(elsewhere, changes):
    more = {"retrain": {"epochs": 3, "lr": 0.002, "shrink": True}}
    recipe = recipes.read(written(elsewhere, **changes, **more))
    images = data.load("digits")
    run = pipelines.record_run(recipe, 107, home=elsewhere)
    assert 0.95 * 6000 <= run["file_bytes"] <= 6000
    path = trained(recipe, 107, images, home=elsewhere)
    bits = path[-1][1]["bits"]
    assert set(bits) == {f"fc{i}.{kind}" for i in (1, 2, 3) for kind in ("weight", "bias")}
    for name, tensor in path[-1][0].named_parameters():
        values = tensor[tensor != 0].abs().unique()
        assert len(values) <= 2 ** (bits[name] - 1)


def test_opq_holds_masks_and_steps_as_the_dense_weights_gave_them(elsewhere):
    recipe = recipes.read(written(elsewhere, **SIZED, method="opq"))
    images = data.load("digits")
    (dense, _), (last, origin) = trained(recipe, 107, images, home=elsewhere)
    plan = for_bytes(dense, round(byte_budget.RESERVE["opq"] * 6000), "laplace-remaining", 3, analytic=True)
    at_once = copy.deepcopy(dense)
    allocation.project(at_once, plan.sparse, plan.few)
    for name in plan.sparse:
        one, other = last.get_parameter(name), at_once.get_parameter(name)
        assert not bool(((one != 0) & (other == 0)).any())
        assert torch.equal(plan.few[name].project(one.detach()), one)
    assert origin["bits"] == {name: each.bits for name, each in plan.few.items()}


def test_the_way_of_the_readme_ends_in_a_file_that_fits(tmp_path):
    images = data.load("digits")
    model, train = al.models.pretrained("lenet300", "digits"), images.train.subset(600)
    plan = for_bytes(model, 6_000)
    admm = al.ADMM(model, plan.sparse, rho=1e-3, schedule=al.geometric(1, 10, 2))
    al.fit(model, train, epochs=2, admm=admm, batch_size=64)
    plan = fitted(model, plan, 6_000)
    allocation.project(model, plan.sparse, {})
    rivals.straight_through(model, plan.few)
    al.fit(model, train, epochs=2, batch_size=64)
    plan = fitted(al.bake(model), plan, 6_000)
    file = tmp_path / "model.admm"
    al.save(projected(model, plan), file)
    assert 0.95 * 6_000 <= file.stat().st_size == plan.file_bytes <= 6_000
