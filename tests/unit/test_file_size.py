"""Allocation by the bytes of the file: met by every rule, never exceeded, and as a plan says."""

import copy
import math
from collections import OrderedDict
from dataclasses import asdict

import pytest
import torch
from torch import nn
from unit.tiny import TINY, trained, written

import admm_lib as al
from admm_lib import allocation, byte_budget, codec, data, laplace, opq, pipelines, recipes, rivals
from admm_lib.allocation import RULES, Plan, fitted, for_bytes, projected
from admm_lib.constraints import Sparse
from admm_lib.quantization import Levels
from admm_lib.shrink import pack


def drawn(seed):
    """A network with weights as training leaves them: many small ones, few large."""
    torch.manual_seed(seed)
    layers = OrderedDict(
        fc1=nn.Linear(100, 80), act1=nn.ReLU(), fc2=nn.Linear(80, 40), act2=nn.ReLU(), fc3=nn.Linear(40, 10)
    )
    model = nn.Sequential(layers)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(torch.rand(parameter.shape, generator=generator).pow(2))
    return model


@pytest.fixture(scope="module")
def network():
    return drawn(0)


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
        assert 0.95 * budget <= plan.file_bytes <= budget  # a step of sizes is 20 bytes or so
        assert written_bytes(network, plan) == plan.file_bytes
        assert f"expected: a file of {plan.file_bytes:,} bytes" in str(plan)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused_by_name_before_any_change(network, value):
    model = copy.deepcopy(network)
    model.fc2.weight.data[0, 0] = value
    before = model.fc1.weight.clone()
    first, second = {"fc1.weight": Sparse(keep=5)}, {"fc2.weight": Sparse(keep=5)}
    for budgets, few in ((first | second, {}), (first, {"fc2.weight": Levels(2)})):
        with pytest.raises(ValueError, match=r"fc2\.weight holds NaN or infinite weights"):
            allocation.project(model, budgets, few)
    with pytest.raises(ValueError, match=r"fc2\.weight holds NaN or infinite weights"):
        opq.hold(model, opq.solve(network, 10, 3))
    assert model.fc1.weight.equal(before)


@pytest.mark.parametrize("seed", [0, 5])  # at 5 a bias takes up a constant
def test_the_sets_of_a_plan_are_those_of_admm_and_their_file_meets_the_budget(seed):
    model = drawn(seed)
    plan = for_bytes(model, 900, "lamp", bits=2)
    admm = al.ADMM(model, plan.sets)
    admm.update()
    admm.finalize()
    kept = {name: int(model.get_submodule(name.split(".")[0]).weight.count_nonzero()) for name in plan.sparse}
    assert all(kept[name] <= each.keep for name, each in plan.sparse.items())
    packed = al.pack(copy.deepcopy(al.bake(model)))
    assert (len(codec.encode(packed)) > 900) == (seed == 5)
    assert len(codec.encode(projected(model, plan))) <= 900  # it quantizes that bias again


def test_levels_follow_the_rule(network):
    alike = for_bytes(network, 900, "lamp", 2).few
    assert {each.bits for name, each in alike.items() if "weight" in name} == {2}
    fits = laplace.fits(allocation.prunable(network))
    plan = for_bytes(network, 900, "laplace-relative", 3.5, analytic=True)
    kept = sum(each.keep for each in plan.sparse.values())
    ratio = sum(each.count for each in fits.values()) / kept
    betas = laplace.thresholds(fits, 1 - 1 / ratio, "relative")
    steps = laplace.steps(fits, betas, 3.5, "relative")
    for name, bits in laplace.widths(fits, steps).items():
        assert plan.few[name].bits == bits
        assert plan.few[name].step == pytest.approx(steps[name], rel=1e-6)
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
    with pytest.raises(ValueError, match=r"a budget of 20 bytes is too small: .* weights make"):
        for_bytes(network, 20)
    for budget in (0, -5, 2.5):
        with pytest.raises(ValueError, match="a budget is a whole number of bytes, 1 or more"):
            for_bytes(network, budget)
    with pytest.raises(ValueError, match="rule lamp has no steps of its own"):
        for_bytes(network, 900, "lamp", analytic=True)
    for odd in ({}, {"fc1.weight": Sparse(keep=4, by="filter")}):
        with pytest.raises(ValueError, match="the plan needs budgets, and of single weights"):
            fitted(network, Plan(odd, {}, 0), 900)
    with pytest.raises(ValueError, match="rule must be one of suggest, uniform"):
        for_bytes(network, 900, "lamb")
    with pytest.raises(ValueError, match="the same whole number of bits, not 2"):
        for_bytes(network, 900, "lamp", 2.5)
    with pytest.raises(ValueError, match="bits are from 1, the sign, to 8"):
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
    with pytest.raises(ValueError, match=r"step=70000 is more than torch.float16 holds"):
        Levels(2, step=70_000).project(torch.tensor([2.0], dtype=torch.float16))
    given = Levels(2, step=0.5).given(torch.float32)
    assert torch.equal(given, torch.tensor([-1.0, -0.5, 0.5, 1.0]))
    for step in (0, -1, math.inf, math.nan, "half"):
        with pytest.raises(ValueError, match="step is a positive number"):
            Levels(2, step=step)


def with_norms():
    """A network with a fixed part, norms, that is no small part of its file."""
    model = nn.Sequential(nn.Linear(200, 200), nn.BatchNorm1d(200), nn.ReLU(), nn.Linear(200, 10))
    generator = torch.Generator().manual_seed(1)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return model


def test_budgets_are_met_where_most_of_the_file_is_no_weight():
    model = with_norms()
    for budget in (3_600, 3_800, 5_000):
        plan = for_bytes(model, budget, "uniform", 2, ready=lambda network: network)
        assert 0.985 * budget <= plan.file_bytes <= budget
    with pytest.raises(ValueError, match=r"a budget of 3,000 bytes is too small: .* weights make 3,"):
        for_bytes(model, 3_000, "uniform", 2, ready=lambda network: network)


def test_a_network_that_cannot_be_packed_is_written_as_it_is():
    model = nn.Sequential(nn.Linear(60, 40), nn.ReLU(), nn.Linear(40, 10, bias=False))
    with torch.no_grad():
        model[0].weight.mul_(torch.linspace(0.05, 1, 40)[:, None])
        model[0].bias.fill_(0.3)
    plan = for_bytes(model, 300, "magnitude", 2)
    assert 285 <= plan.file_bytes <= 300
    assert plan.file_bytes == len(codec.encode(projected(model, plan)))


def test_a_plan_is_for_plain_networks():
    model = al.models.lenet300()
    al.ADMM(model, {"fc1.weight": Sparse(keep=9_000)}).finalize()
    before = al.storage.ladder(model).nonzero_weights
    for sparse, few in (({"fc1.weight": Sparse(keep=10)}, {}), ({}, {"fc1.weight": Levels(2)})):
        with pytest.raises(ValueError, match=r"fc1.weight is held by a constraint: .* bake"):
            allocation.project(model, {"fc2.weight": Sparse(keep=10)} | sparse, few)
    assert al.storage.ladder(model).nonzero_weights == before


def test_what_fits_is_left_alone(network):
    plan = for_bytes(network, 2_000, "lamp", 3)
    before = projected(network, plan)
    for budget in (plan.file_bytes, plan.file_bytes + 30, 2 * plan.file_bytes):
        model = copy.deepcopy(before)
        byte_budget.meet(plan, model, {"allocation": {"bytes": budget}}, "straight-through")
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True))
    model = copy.deepcopy(before)
    byte_budget.meet(plan, model, {"allocation": {"bytes": 1_500}}, "straight-through")
    pack(model)  # as the file is made
    assert 1_450 <= len(codec.encode(model)) <= 1_500


def test_bits_are_solved_for_the_weights_that_stay():
    model = al.models.pretrained("lenet300", "digits")
    allocation.project(model, allocation.by_lamp(model, 20), {})
    plan = for_bytes(model, 6_000, "laplace-remaining", 3)
    fits = laplace.fits(allocation.prunable(model))
    kept, there = sum(s.keep for s in plan.sparse.values()), sum(each.count for each in fits.values())
    betas = laplace.thresholds(fits, 1 - kept / there, "remaining")
    bits = laplace.widths(fits, laplace.steps(fits, betas, 3, "remaining"))
    assert {name: plan.few[name].bits for name in bits} == bits


SIZED = {"keep": None, "allocation": {"rule": "laplace-remaining", "bytes": 6000, "bits": 3}}
HAND = {
    "allocation": {"rule": "given", "bytes": 6000},
    "sets": {
        **{name: {"set": "levels", "bits": 2, "digits": 7} for name in TINY["keep"]},
        **{f"fc{i}.bias": {"set": "levels", "bits": 6, "digits": 7} for i in (1, 2, 3)},
    },
}


def thin():
    """Layers that no ratio above 1 divides by magnitude: that in between has one weight, next to zero."""
    model = nn.Sequential(nn.Linear(100, 1), nn.Linear(1, 1), nn.Linear(1, 100))
    model[1].weight.data.fill_(1e-9)
    return model


def test_a_budget_that_no_ratio_meets_is_refused_and_one_that_all_weights_meet_is_met():
    with pytest.raises(ValueError, match=r"a budget of 20 bytes is too small: 201 weights make \d+ already"):
        al.allocation.for_bytes(thin(), 20, rule="magnitude")
    assert al.allocation.for_bytes(thin(), 900, rule="magnitude").file_bytes <= 900


def test_filters_are_projected_as_well():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    al.allocation.project(model, {"0.weight": al.Sparse(keep=2, by="filter")}, {"0.weight": al.Binary()})
    left = model[0].weight.detach()
    assert int(left.flatten(1).any(1).sum()) == 2
    assert len(left.abs().unique()) == 2


def test_a_plan_of_ratios_can_be_printed():
    plan = al.allocation.Plan({"fc.weight": al.Sparse(ratio=3)}, {}, 12)
    assert "1 in 3" in str(plan)


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
    bits = {name: each["bits"] for name, each in path[-1][1]["levels"].items()}
    assert set(bits) == {f"fc{i}.{kind}" for i in (1, 2, 3) for kind in ("weight", "bias")}
    for name, tensor in path[-1][0].named_parameters():
        values = tensor[tensor != 0].abs().unique()
        assert len(values) <= 2 ** (bits[name] - 1)


def test_opq_holds_masks_and_steps_as_the_dense_weights_gave_them(elsewhere):
    recipe = recipes.read(written(elsewhere, **SIZED, method="opq"))
    images = data.load("digits")
    (dense, _), *_, (last, origin) = trained(recipe, 107, images, home=elsewhere)
    plan = for_bytes(dense, 6000, "laplace-remaining", 3, analytic=True)
    at_once = copy.deepcopy(dense)
    allocation.project(at_once, plan.sparse, plan.few)
    for name in plan.sparse:
        one, other = last.get_parameter(name), at_once.get_parameter(name)
        assert not bool(((one != 0) & (other == 0)).any())
        assert torch.equal(plan.few[name].project(one.detach()), one)
    assert origin["levels"] == {name: asdict(each) for name, each in plan.few.items()}


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
