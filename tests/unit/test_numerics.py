"""Weights of every kind under ADMM: each works from the first step to the file, or says why not."""

import copy
import shutil

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import admm_lib as al
from admm_lib import codec

SETS = {
    "sparse": al.Sparse(ratio=4), "levels": al.Levels(bits=3), "powers": al.PowerOfTwo(bits=3),
    "clusters": al.Clusters(bits=2), "ternary": al.Ternary(), "binary": al.Binary(),
    "both": al.Both(al.Sparse(ratio=4), al.Levels(bits=2)),
}  # fmt: skip


MORE = {  # what else can be asked for: of values, of ranks, of groups
    "one of": al.OneOf((-0.2, 0, 0.2)), "low rank": al.LowRank(2),
    "levels per channel": al.Levels(bits=2, per="channel"),
    "clusters per channel": al.Clusters(bits=1, per="channel"),
    "filters": al.Sparse(keep=2, by="filter"), "channels": al.Sparse(keep=1, by="channel"),
    "columns": al.Sparse(keep=3, by="column"), "n of m": al.Sparse(keep=1, by="n:m", group=2),
}  # fmt: skip
ALL = SETS | MORE


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.of = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.of(x, x, x, need_weights=False)[0]


LAYERS = {  # what makes it, the name of its weight, an input
    "linear": (lambda: nn.Linear(8, 6), "weight", (3, 8)),
    "conv1d": (lambda: nn.Conv1d(3, 4, 3), "weight", (2, 3, 9)),
    "conv2d": (lambda: nn.Conv2d(3, 4, 3), "weight", (2, 3, 9, 9)),
    "conv3d": (lambda: nn.Conv3d(3, 4, 3), "weight", (2, 3, 5, 5, 5)),
    "grouped": (lambda: nn.Conv2d(4, 4, 3, groups=2), "weight", (2, 4, 9, 9)),
    "transposed1d": (lambda: nn.ConvTranspose1d(3, 4, 3), "weight", (2, 3, 9)),
    "transposed2d": (lambda: nn.ConvTranspose2d(3, 4, 3), "weight", (2, 3, 9, 9)),
    "transposed3d": (lambda: nn.ConvTranspose3d(3, 4, 3), "weight", (2, 3, 5, 5, 5)),
    "embedding": (lambda: nn.Embedding(10, 6), "weight", None),
    "attention in": (Attention, "of.in_proj_weight", (2, 5, 8)),
    "attention out": (Attention, "of.out_proj.weight", (2, 5, 8)),
    "bias": (lambda: nn.Linear(8, 6), "bias", (3, 8)),
}


def made(name, seed=0):
    torch.manual_seed(seed)
    build, weight, shape = LAYERS[name]
    inputs = torch.arange(10).reshape(2, 5) if shape is None else torch.randn(shape)
    return build(), weight, inputs


def feasible(each, weight):
    return torch.equal(each.project(weight), weight)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_goes_the_whole_way(name, kind):
    model, weight, inputs = made(name)
    each = ALL[kind]
    if name == "bias" and kind in MORE and kind != "one of":
        with pytest.raises(ValueError, match=r"bias: .*(weight of one layer|two dimensions or more)"):
            al.ADMM(model, {weight: each})
        return
    admm = al.ADMM(model, {weight: each}, rho=1e-2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        model(inputs).square().mean().backward()
        admm.add_penalty_gradient()
        optimizer.step()
        optimizer.zero_grad()
        admm.update()
    admm.finalize()
    held = copy.deepcopy(model)
    before = codec.plain_state(model)
    assert feasible(each, before[weight])
    loss = held(inputs).square().mean()
    if loss.requires_grad:  # an embedding of fixed levels has nothing left to train
        loss.backward()  # what is held trains on, and stays in its set
        torch.optim.SGD([p for p in held.parameters() if p.requires_grad], lr=0.1).step()
    assert feasible(each, codec.plain_state(held)[weight])
    again = codec.decode(codec.encode(model), made(name, seed=1)[0])
    assert all(torch.equal(after, before[key]) for key, after in again.state_dict().items())
    plain = al.bake(model)
    assert torch.equal(plain(inputs), again(inputs))


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_dtype_stays_what_it_is(kind, dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)).to(dtype)
    each = ALL[kind]
    admm = al.ADMM(model, {"0.weight": each}, rho=1e-2)
    model(torch.randn(5, 12).to(dtype)).square().mean().backward()
    admm.add_penalty_gradient()
    admm.update()
    admm.finalize()
    weight = codec.plain_state(model)["0.weight"]
    assert weight.dtype == dtype
    assert feasible(each, weight)
    torch.manual_seed(1)
    other = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)).to(dtype)
    assert torch.equal(codec.decode(codec.encode(model), other)[0].weight, weight)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    "laid_out",
    [
        lambda w: w.to(memory_format=torch.channels_last),
        lambda w: w.transpose(0, 1).contiguous().transpose(0, 1),
        lambda w: torch.cat([w, w], dim=3)[..., ::2].copy_(w),
    ],
    ids=["channels last", "transposed", "every second"],
)
def test_the_layout_of_a_weight_changes_nothing(kind, laid_out):
    weight = torch.randn(6, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    other = laid_out(weight)
    assert not other.is_contiguous()
    before = other.clone()
    assert torch.equal(ALL[kind].project(other), ALL[kind].project(weight))
    assert torch.equal(other, before)  # a projection leaves what it is given alone


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(kind, bad):
    model = nn.Linear(6, 4)
    admm = al.ADMM(model, {"weight": ALL[kind]}, rho=1e-2)
    Z, U = (each["weight"][0].clone() for each in (admm.Z, admm.U))
    with torch.no_grad():
        model.weight[1, 2] = bad
    with pytest.raises(ValueError, match="weight holds NaN or infinite"):
        admm.update()
    assert torch.equal(admm.Z["weight"][0], Z)
    assert torch.equal(admm.U["weight"][0], U)
    with pytest.raises(ValueError, match="weight holds NaN or infinite"):
        al.ADMM(model, {"weight": ALL[kind]})


@pytest.mark.parametrize("kind", [*ALL, "all"])
def test_one_weight_is_a_layer(kind):
    model = nn.Linear(1, 1, bias=False)
    one = {"sparse": al.Sparse(keep=1), "both": al.Both(al.Sparse(keep=1), al.Levels(bits=2)),
           "filters": al.Sparse(keep=1, by="filter"), "columns": al.Sparse(keep=1, by="column"),
           "low rank": al.LowRank(1), "all": al.Sparse(keep=0)}  # fmt: skip
    admm = al.ADMM(model, {"weight": one.get(kind, ALL.get(kind))}, rho=1e-2)
    admm.update()
    admm.finalize()
    assert model.weight.shape == (1, 1)
    assert codec.decode(codec.encode(model), nn.Linear(1, 1, bias=False)).weight.item() == model.weight.item()


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind != "low rank"])  # a rank it does not have
def test_an_empty_layer_has_nothing_to_do(kind):
    model = nn.Module()
    model.weight = nn.Parameter(torch.empty(0, 4))
    each = al.Sparse(keep=0, by="filter") if kind == "filters" else ALL[kind]
    admm = al.ADMM(model, {"weight": each}, rho=1e-2)
    residuals = admm.update()["weight"]
    assert (residuals.primal, residuals.dual, residuals.norm) == (0, 0, 0)
    admm.finalize()
    assert model.weight.shape == (0, 4)


@pytest.mark.parametrize("kind", ALL)
def test_tied_layers_share_one_weight_to_the_end(kind):
    torch.manual_seed(0)
    model = nn.ModuleDict({"a": nn.Linear(6, 6), "b": nn.Linear(6, 6)})
    model["b"].weight = model["a"].weight
    admm = al.ADMM(model, {"a.weight": ALL[kind]}, rho=1e-2)
    inputs = torch.randn(4, 6)
    model["b"](model["a"](inputs)).square().mean().backward()
    admm.add_penalty_gradient()
    admm.update()
    admm.finalize()
    for _ in range(2):  # also after what is behind them has trained
        assert torch.equal(model["a"].weight, model["b"].weight)
        assert feasible(ALL[kind], model["b"].weight.detach())
        model["b"](model["a"](inputs)).square().mean().backward()
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1).step()
    with pytest.raises(ValueError, match=r"each once|held by something"):
        al.ADMM(model, {("a.weight", "b.weight"): al.Sparse(ratio=2)})
    plain = al.bake(model)
    assert plain["a"].weight is plain["b"].weight
    assert feasible(ALL[kind], plain["a"].weight.detach())


def test_empty_layers_pass_steps_and_blocks():
    model = nn.Sequential(nn.Linear(4, 3))
    model[0].weight = nn.Parameter(torch.zeros(0, 4))
    assert al.allocation.in_steps(model, {"0.weight": al.Sparse(keep=0)}, 2)[0]["0.weight"].keep == 0
    assert al.Sparse(keep=0, by="block", group=(2, 2)).project(model[0].weight).shape == (0, 4)


def test_levels_beyond_the_dtype_are_left_out():
    weight = torch.tensor([3000.0, -60_000, 900], dtype=torch.float16)
    levels = al.Levels(bits=8, step=1000.0).given(torch.float16)
    assert levels.isfinite().all()
    model = nn.Linear(3, 1, dtype=torch.float16)
    model.weight.data = weight[None]
    al.rivals.straight_through(model, {"weight": al.Levels(bits=8, step=1000.0)})
    assert model.weight.equal(al.Levels(bits=8, step=1000.0).project(weight[None]))


@pytest.mark.parametrize("others", [[], ["1.bias"]])
def test_a_layer_that_torch_parametrizes_itself_does_not_disturb_the_others(others):
    model = nn.Sequential(nn.Linear(4, 3), nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    assert al.suggest(model, ratio=2).keys() == {"0.weight", "1.weight"}
    sets = {name: al.Sparse(ratio=2) for name in ["0.weight", *others]}
    al.ADMM(model, sets).finalize()
    assert model[0].weight.count_nonzero() == 6
    with pytest.raises(ValueError, match="held by something other than a mask"):
        al.ADMM(model, {"1.weight": al.Sparse(ratio=2)})


@pytest.mark.parametrize(
    "held",
    [
        al.rivals.straight_through,
        lambda model, sets: al.rivals.freeze_nearest(model, sets, share=1.0),
        lambda model, sets: al.ADMM(model, sets).finalize(),
    ],
)
def test_layers_that_share_a_weight_are_held_together_by_every_way(held):
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    model[1].weight = model[0].weight
    held(model, {"0.weight": al.Binary()})
    assert model[0].weight.equal(model[1].weight)
    assert len(model[1].weight.detach().abs().unique()) == 1
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(8, 6)).square().mean().backward()
        optimizer.step()
    assert model[0].weight.equal(model[1].weight)
    assert len(model[1].weight.detach().abs().unique()) == 1
    assert al.bake(model)[0].weight is model[1].weight


def test_a_frozen_layer_says_that_it_has_no_gradient():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    model[0].weight.requires_grad_(False)
    admm = al.ADMM(model, {"0.weight": al.Sparse(ratio=2)}, rho=1e-2)
    model(torch.randn(2, 4)).sum().backward()
    with pytest.raises(RuntimeError, match=r"0\.weight has no gradient: it is frozen"):
        admm.add_penalty_gradient()
    admm.update()  # and can be projected all the same
    admm.finalize()
    assert model[0].weight.count_nonzero() == 6


def finalized(kind, seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    al.ADMM(model, {"0.weight": ALL[kind], "2.weight": ALL[kind]}).finalize()
    return model


@pytest.mark.parametrize("kind", ALL)
def test_constraints_survive_a_state_dict_and_a_copy(kind):
    model, other = finalized(kind), finalized(kind, seed=1)
    other.load_state_dict(model.state_dict())
    twin = copy.deepcopy(model)
    inputs = torch.randn(3, 8)
    for each in (other, twin):
        assert torch.equal(each(inputs), model(inputs))
        trainable = [p for p in each.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(trainable, lr=0.5)
        F.mse_loss(each(inputs), torch.ones(3, 2)).backward()
        optimizer.step()
        assert feasible(ALL[kind], each[0].weight.detach())
    assert torch.equal(codec.plain_state(model)["0.weight"], codec.plain_state(finalized(kind))["0.weight"])


INDUCTOR = [
    pytest.mark.full,
    pytest.mark.skipif(not shutil.which("g++"), reason="inductor compiles C++"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning"),  # torch's own
]


@pytest.mark.parametrize(
    ("kind", "backend"),
    [(kind, "aot_eager") for kind in ALL]
    + [pytest.param(kind, "inductor", marks=INDUCTOR)
       for kind in ("sparse", "clusters", "binary", "low rank")],
)  # fmt: skip
def test_constraints_survive_compilation(kind, backend):
    model = finalized(kind)
    inputs = torch.randn(3, 8)
    want = model(inputs)
    compiled = torch.compile(model, backend=backend)
    assert torch.allclose(compiled(inputs), want, atol=1e-6)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    compiled(inputs).square().sum().backward()
    optimizer.step()
    assert feasible(ALL[kind], model[0].weight.detach())
    assert torch.allclose(compiled(inputs), model(inputs), atol=1e-6)


@pytest.mark.parametrize("kind", ALL)
def test_what_cannot_be_pickled_can_be_when_it_is_baked(kind, tmp_path):
    model = finalized(kind)
    plain = al.bake(copy.deepcopy(model))
    torch.save(plain, tmp_path / "plain.pt")
    again = torch.load(tmp_path / "plain.pt", weights_only=False)
    inputs = torch.randn(3, 8)
    assert torch.equal(again(inputs), model(inputs))


def test_layers_of_several_dtypes_share_a_budget_and_no_values():
    def mixed():
        return nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 5).half())

    layers = ("0.weight", "1.weight")
    for few in (al.Clusters(2), al.Levels(2), al.Binary(), al.Both(al.Sparse(keep=3), al.Levels(2))):
        with pytest.raises(ValueError, match=r"torch.float16 and torch.float32 cannot share values"):
            al.ADMM(mixed(), {layers: few})
    model = mixed()
    al.ADMM(model, {layers: al.Sparse(keep=20)}).finalize()
    assert sum(int(each.weight.count_nonzero()) for each in model) == 20
    assert [each.weight.dtype for each in model] == [torch.float32, torch.float16]


def test_a_sparse_gradient_is_refused_by_name():
    model = nn.Embedding(9, 4, sparse=True)
    admm = al.ADMM(model, {"weight": al.Sparse(keep=10)})
    model(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(RuntimeError, match=r"weight has a sparse gradient, and ADMM moves every weight"):
        admm.add_penalty_gradient()


@pytest.mark.parametrize(
    "each", [al.Sparse(keep=1), al.Levels(2), al.Binary(), al.Both(al.Sparse(keep=1), al.Levels(2))]
)
def test_a_weight_without_dimensions_is_one_weight(each):
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1.5))

    model = Scale()
    al.ADMM(model, {"scale": each}).finalize()
    assert model.scale.shape == ()
    assert model.scale.item() == 1.5
