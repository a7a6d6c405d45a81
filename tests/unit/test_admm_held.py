"""What ADMM leaves in the model: projected weights, masks, tied layers."""

import copy
import re
from collections import OrderedDict

import pytest
import torch
from torch import nn

import admm_lib as al
from admm_lib.holding import hold, mask_of, original
from admm_lib.parametrizations import Mask

KEEP = {"conv.weight": 9, "fc1.weight": 20}


def network(seed=0):
    torch.manual_seed(seed)
    layers = OrderedDict(
        conv=nn.Conv2d(3, 2, 3), act=nn.ReLU(), flat=nn.Flatten(),
        fc1=nn.Linear(32, 5), fc2=nn.Linear(5, 3),
    )  # fmt: skip
    return nn.Sequential(layers).to(memory_format=torch.channels_last)


def sparse(scale=1):
    return {name: al.Sparse(keep=keep // scale) for name, keep in KEEP.items()}


def loss_of(model):
    x = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    return (model(x) - 1).square().mean()


def train(model, admm=None, steps=5, optimizer=None):
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=0.05, weight_decay=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model).backward()
        if admm is not None:
            admm.add_penalty_gradient()
        optimizer.step()
    return optimizer


def supports(model):
    return {name: getattr(*al.names.resolve(model, name)) != 0 for name in KEEP}


def counts(model):
    return {name: int(support.sum()) for name, support in supports(model).items()}


def state(admm):
    return copy.deepcopy([admm.Z, admm.U, admm.rho, admm.history, admm.iteration])


def test_a_whole_run_is_sparse_held_and_better_than_the_start():
    model = network()
    start = loss_of(model).item()
    admm = al.ADMM(model, sparse(), rho=0.1)
    for _ in range(10):
        train(model, admm)
        admm.update()
    admm.finalize()
    assert counts(model) == KEEP
    train(model, steps=30)
    assert counts(model) == KEEP
    assert loss_of(model).item() < 0.1 * start


@pytest.mark.parametrize("leave", ["normally", "by an exception"])
def test_projected_gives_the_weights_back_bit_by_bit(leave):
    model = network()
    model.fc1.weight.data[0, :3] = torch.tensor([-0.0, 0.0, 1e-40])
    admm = al.ADMM(model, sparse())
    train(model, admm)
    before, signs = copy.deepcopy(model.state_dict()), torch.signbit(model.fc1.weight)
    objects = list(model.parameters())
    try:
        with admm.projected():
            assert counts(model) == KEEP
            assert torch.equal(model.fc1.weight, al.Sparse(keep=20).project(before["fc1.weight"]))
            if leave == "by an exception":
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.signbit(model.fc1.weight), signs)
    assert all(a is b for a, b in zip(model.parameters(), objects, strict=True))


def test_finalize_replaces_and_keeps_layout_and_parameters():
    model = network()
    parameters = {id(p) for p in model.parameters()}
    strides = model.conv.weight.stride()
    assert not model.conv.weight.is_contiguous()
    for scale in (1, 2, 3):
        admm = al.ADMM(model, sparse(scale))
        train(model, admm)
        admm.finalize()
        assert [len(each.parametrizations.weight) for each in (model.conv, model.fc1)] == [1, 1]
        assert {id(p) for p in model.parameters()} == parameters
        # channels_last is what makes a step fast; losing it here costs masked retraining 1.7 times.
        assert original(model.conv, "weight").stride() == model.conv.weight.stride() == strides
        assert mask_of(model.conv, "weight").stride() == strides
    joint = al.ADMM(model, {tuple(KEEP): al.Sparse(keep=4)})
    joint.finalize()
    assert model.conv.weight.stride() == strides


@pytest.mark.parametrize("stale", [False, True])
def test_masked_admm_prunes_further_and_brings_nothing_back(stale):
    """Also with an optimizer whose momentum moves what lies under the masks."""
    model = network()
    optimizer = train(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9))
    for scale in (1, 2, 4):
        admm = al.ADMM(model, sparse(scale), rho=0.1)
        allowed = supports(model)
        for _ in range(3):
            train(model, admm, optimizer=optimizer if stale else None)
            admm.update()
            for name in KEEP:
                assert bool((admm.Z[name][0][~allowed[name]] == 0).all())
                assert bool((admm.U[name][0][~allowed[name]] == 0).all())
        with admm.projected():
            inside = supports(model)
        admm.finalize()
        assert counts(model) == {name: keep // scale for name, keep in KEEP.items()}
        for name in KEEP:
            assert torch.equal(supports(model)[name], inside[name])
            if scale > 1:
                assert not bool((supports(model)[name] & ~allowed[name]).any())


def test_what_lies_under_a_mask_never_reaches_the_network():
    model = network()
    mask = torch.zeros(5, 32, dtype=torch.bool)
    mask[0] = True
    hold(model.fc1, "weight", torch.where(mask, model.fc1.weight.detach(), 0), Mask(mask))
    original(model.fc1, "weight").data[~mask] = 100.0
    admm = al.ADMM(model, {"fc1.weight": al.Sparse(keep=20)})
    assert bool((original(model.fc1, "weight")[~mask] == 0).all())
    original(model.fc1, "weight").data[~mask] = float("nan")
    admm.update()
    admm.finalize()
    assert bool(model.fc1.weight[0].ne(0).sum() == 20)
    assert bool((model.fc1.weight[1:] == 0).all())


def test_another_kind_of_set_respects_the_mask_too():
    """Levels without a zero, on the survivors of a pruning: the pruned weights stay zero."""
    model = network()
    al.ADMM(model, {"fc1.weight": al.Sparse(keep=20)}).finalize()
    survivors = model.fc1.weight != 0
    admm = al.ADMM(model, {("fc1.weight", "fc2.weight"): al.OneOf((-0.1, 0.1))}, rho=0.1)
    train(model, admm)
    admm.update()
    admm.finalize()
    assert torch.equal(model.fc1.weight != 0, survivors)
    assert model.fc1.weight[survivors].abs().unique().tolist() == pytest.approx([0.1])
    assert model.fc2.weight.abs().unique().tolist() == pytest.approx([0.1])


def test_levels_are_held_through_training():
    model = network()
    al.ADMM(model, {"fc1.weight": al.OneOf((-0.1, 0.0, 0.1))}).finalize()
    before = model.fc1.weight.detach().clone()
    train(model)
    assert torch.equal(model.fc1.weight, before)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


@pytest.mark.parametrize("name", ["a.weight", "b.weight"])
def test_tied_layers_are_one_weight(name):
    model = Tied()
    x = torch.randn(4, 6)
    admm = al.ADMM(model, {name: al.Sparse(keep=7)}, rho=0.1)
    (model(x).square().sum() + admm.penalty()).backward()
    expected = model.a.weight.grad.clone()
    model.zero_grad()
    model(x).square().sum().backward()
    admm.add_penalty_gradient()
    torch.testing.assert_close(model.a.weight.grad, expected)
    admm.update()
    admm.finalize()
    tighter = al.ADMM(model, {"b.weight": al.Sparse(keep=5)})
    tighter.finalize()
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=0.1)
    for _ in range(3):
        model(x).square().sum().backward()
        optimizer.step()
    assert original(model.a, "weight") is original(model.b, "weight")
    assert torch.equal(model.a.weight, model.b.weight)
    assert int((model.a.weight != 0).sum()) == 5
    assert int((al.bake(model).a.weight != 0).sum()) == 5


def test_both_names_of_a_tied_weight_are_two_sets_on_it():
    model = Tied()
    admm = al.ADMM(model, {"a.weight": al.Sparse(keep=7), "b.weight": al.Sparse(keep=3)}, rho=0.5)
    model(torch.ones(1, 6)).sum().backward()
    plain = model.a.weight.grad.clone()
    admm.add_penalty_gradient()
    pulls = sum(0.5 * (model.a.weight - admm.Z[f"{name}.weight"][0]) for name in "ab")
    torch.testing.assert_close(model.a.weight.grad, plain + pulls)
    with pytest.raises(ValueError, match="each once"):
        al.ADMM(model, {("a.weight", "b.weight"): al.Sparse(keep=7)})


def test_copies_and_state_dicts():
    model, other = network(0), network(1)
    for each in (model, other):
        al.ADMM(each, sparse()).finalize()
    train(model)
    twin = copy.deepcopy(model)
    expected = loss_of(model)
    other.load_state_dict(model.state_dict())
    assert loss_of(twin) == loss_of(other) == expected
    for each in (twin, other):
        al.ADMM(each, sparse(2)).finalize()
        assert counts(each) == {name: keep // 2 for name, keep in KEEP.items()}
        al.bake(each)
        assert set(each.state_dict()) == set(network().state_dict())
    assert loss_of(model) == expected


def test_a_bad_weight_stops_the_update_and_changes_nothing():
    model = network()
    admm = al.ADMM(model, sparse(), rho=0.1)
    train(model, admm)
    admm.update()
    before = state(admm)
    model.fc1.weight.data[2, 2] = float("nan")
    for action in (admm.update, admm.finalize, admm.projected().__enter__):
        with pytest.raises(ValueError, match=r"^fc1\.weight holds NaN or infinite weights: "):
            action()
    torch.testing.assert_close(state(admm), before, rtol=0, atol=0)
    assert type(model.fc1) is nn.Linear
    assert int(model.fc1.weight.isnan().sum()) == 1


def test_a_bad_schedule_stops_the_update_and_changes_nothing():
    model = network()
    admm = al.ADMM(model, sparse(), rho=0.1, schedule=lambda update: 2 - update)
    admm.update()
    before = state(admm)
    with pytest.raises(ValueError, match="rho must be a positive number, but would become 0"):
        admm.update()
    torch.testing.assert_close(state(admm), before, rtol=0, atol=0)


def trained(model, names):
    """Distinct nonzero values of each weight after some steps of training."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for seed in range(5):
        optimizer.zero_grad()
        x = torch.randn(8, 20, generator=torch.Generator().manual_seed(seed))
        model(x).square().mean().backward()
        optimizer.step()
    return {name: len(model.get_submodule(name).weight.detach().unique()) for name in names}


@pytest.mark.parametrize("values", [al.Clusters(bits=2), al.Levels(bits=2), al.Binary(), al.Ternary()])
@pytest.mark.parametrize("first", [0, 1])
def test_budget_and_values_both_hold_while_it_trains_on_whichever_comes_first(values, first):
    model = nn.Sequential(OrderedDict(fc1=nn.Linear(20, 10), fc2=nn.Linear(10, 4)))
    sets = [al.Sparse(keep=20), values]
    admm = al.ADMM(model, {"fc1.weight": sets[::-1] if first else sets})
    admm.finalize()
    counted = trained(model, ["fc1"])["fc1"]
    assert int(model.fc1.weight.count_nonzero()) <= 20
    assert counted <= 1 + (4 if values.__class__.__name__ in ("Clusters", "Levels") else 2)


def test_a_budget_over_layers_leaves_the_values_of_one():
    model = nn.Sequential(OrderedDict(fc1=nn.Linear(20, 10), fc2=nn.Linear(10, 4)))
    both = ("fc1.weight", "fc2.weight")
    al.ADMM(model, {"fc1.weight": al.Clusters(bits=1), both: al.Sparse(keep=30)}).finalize()
    assert trained(model, ["fc1"])["fc1"] <= 3
    assert sum(int(model.get_submodule(name).weight.count_nonzero()) for name in ("fc1", "fc2")) == 30


@pytest.mark.parametrize("values", [al.Clusters(bits=1), al.Binary(), al.Ternary()])
def test_values_over_several_layers_stay_the_same_in_all(values):
    model = nn.Sequential(OrderedDict(fc1=nn.Linear(20, 10), fc2=nn.Linear(10, 4)))
    al.ADMM(model, {("fc1.weight", "fc2.weight"): values}).finalize()
    before = model.fc1.bias.detach().clone()
    trained(model, [])
    found = torch.cat([layer.weight.detach().reshape(-1) for layer in model]).unique()
    assert len(found[found != 0]) == 2
    assert not model.fc1.bias.equal(before)  # what has no set trains


@pytest.mark.parametrize(
    "sets",
    [
        [al.Levels(bits=2), al.Clusters(bits=2)], [al.LowRank(1), al.Sparse(keep=9)],
        [al.LowRank(1), al.Binary()],
    ],
)
def test_sets_that_cannot_be_held_together_are_refused(sets):
    said = re.escape(", ".join(map(repr, sets)))
    with pytest.raises(ValueError, match=rf"^fc1\.weight: {said}: .*only budgets can be held; drop one"):
        al.ADMM(network(), {"fc1.weight": sets})


def test_the_state_of_an_admm_over_other_sets_is_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    state = al.ADMM(model, {"0.weight": al.Sparse(keep=5)}, rho=0.7).state_dict()
    others = {"0.weight": al.Levels(bits=1)}, {"0.weight": al.Sparse(keep=6)}, {"1.weight": al.Sparse(keep=5)}
    for other in others:
        admm = al.ADMM(model, other)
        with pytest.raises(ValueError, match="an ADMM over other layers or sets"):
            admm.load_state_dict(state)
        assert admm.rho == dict.fromkeys(other, 1e-3)
    again = al.ADMM(model, {"0.weight": al.Sparse(keep=5)})
    again.load_state_dict(state)
    assert again.rho == {"0.weight": 0.7}
    for lost in state:
        with pytest.raises(ValueError, match="an ADMM over other layers or sets"):
            again.load_state_dict({name: each for name, each in state.items() if name != lost})


def test_a_state_takes_the_dtype_and_the_device_of_the_admm_that_loads_it():
    model = nn.Sequential(nn.Linear(4, 4))
    sets = {"0.weight": al.Sparse(keep=5)}
    state = al.ADMM(copy.deepcopy(model).double(), sets).state_dict()
    admm = al.ADMM(model, sets)
    admm.load_state_dict(state)
    assert {each.dtype for held in (admm.Z, admm.U) for each in held["0.weight"]} == {torch.float32}
    admm.to("meta")
    admm.load_state_dict(state)
    assert {each.device.type for held in (admm.Z, admm.U) for each in held["0.weight"]} == {"meta"}


def test_sets_that_undo_each_other_are_refused_and_others_hold():
    model = network()
    levels = al.OneOf((-0.1, 0.0, 0.1))
    al.ADMM(model, {"fc1.weight": [levels, al.Sparse(keep=9)]}).finalize()
    assert int((model.fc1.weight != 0).sum()) == 9
    assert torch.equal(levels.project(model.fc1.weight), model.fc1.weight)
    model = network()
    before = model.fc1.weight.detach().clone()
    admm = al.ADMM(model, {"fc1.weight": [al.Sparse(keep=9), al.OneOf((-0.1, 0.1))]})
    with pytest.raises(ValueError, match=r"^fc1\.weight: projecting onto its sets in turn leaves") as problem:
        admm.finalize()
    assert str(problem.value).endswith("; put the set that keeps the others last, or use one set for both")
    assert torch.equal(model.fc1.weight, before)
