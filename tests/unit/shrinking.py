"""Networks to shrink, drawn or made by hand, and what is asked of all of them."""

import copy

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import nn

from admm_lib import models
from admm_lib.holding import hold
from admm_lib.parametrizations import Mask
from admm_lib.projections import top_k
from admm_lib.shrink import shrink

often = settings(max_examples=60, deadline=None, derandomize=True, database=None)
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
ACTIVATIONS = (
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.ReLU6, nn.Identity,
)  # fmt: skip


def of(kind, dims):
    return getattr(nn, f"{kind}{dims}d")


def layers(model):
    return [module for module in model.modules() if isinstance(module, LAYERS)]


def widths(model):
    return [len(layer.weight) for layer in layers(model)]


def size(model):
    return sum(layer.weight.numel() for layer in layers(model))


def nonzeros(model):
    return sum(int((layer.weight != 0).sum()) for layer in layers(model))


def same(first, second, x, **tolerance):
    first, second = copy.deepcopy(first).eval(), copy.deepcopy(second).eval()
    torch.testing.assert_close(first(x), second(x), **tolerance)


def linear(weight, bias=None):
    weight = torch.tensor(weight, dtype=torch.float64)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=torch.float64)
    layer.weight.data = weight
    if bias is not None:
        layer.bias.data = torch.tensor(bias, dtype=torch.float64)
    return layer


def conv(weight, bias=None, dims=2, size=1, **options):
    """A convolution whose kernels are the given numbers, each spread over all entries."""
    weight = torch.tensor(weight, dtype=torch.float64)
    layer = of("Conv", dims)(*weight.shape[::-1], size, bias=bias is not None, dtype=torch.float64, **options)
    layer.weight.data = weight.view(*weight.shape, *[1] * dims).expand_as(layer.weight).clone()
    if bias is not None:
        layer.bias.data = torch.tensor(bias, dtype=torch.float64)
    return layer


def masked(model):
    """Every layer held where it is not zero."""
    for layer in layers(model):
        hold(layer, "weight", layer.weight.detach(), Mask(layer.weight != 0))
    return model


def train(model, x, steps=1):
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
    for _ in range(steps):
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


# ---- random networks


@st.composite
def networks(draw, convolutions=True):
    """A random network of float64 whose weights are mostly zero, often whole rows and columns of them."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    parts, dims = [], draw(st.integers(1, 3)) if convolutions else 0
    x = torch.randn(3, draw(st.integers(1, 3)), *[5] * dims)
    for _ in range(draw(st.integers(1, 3)) if convolutions else 0):
        shape = output_shape(parts, x)
        wide = 3 if shape[-1] >= 3 and draw(st.booleans()) else 1
        padding = draw(st.sampled_from([0, 1, "same", "valid"])) if wide > 1 or shape[-1] > 1 else 0
        modes = ["zeros", "zeros", "replicate", "circular", "reflect"][: None if dims < 3 else 4]
        options = {
            "padding": padding,
            "padding_mode": draw(st.sampled_from(modes)),
            "bias": draw(st.booleans()),
        }
        parts.append(of("Conv", dims)(shape[1], draw(st.integers(1, 5)), wide, **options))
        follow = [
            *draw(between(dims, parts[-1].out_channels)),
            *draw(pools(dims, output_shape(parts, x)[-1])),
        ]
        parts += draw(st.permutations(follow))
    if convolutions and draw(st.booleans()):
        parts.append(nn.Flatten())
        parts += draw(between(1, output_shape(parts, x)[1], linear=True))
    if len(output_shape(parts, x)) == 2:
        for _ in range(draw(st.integers(1, 4))):
            width = output_shape(parts, x)[1]
            parts.append(nn.Linear(width, draw(st.integers(1, 6)), bias=draw(st.booleans())))
            parts += draw(between(1, parts[-1].out_features, linear=True))
    model = nn.Sequential(*parts).double()
    randomize(model, draw(st.sampled_from([0.0, 0.1, 0.3, 0.7])))
    if len(parts) > 2 and draw(st.booleans()):
        model = nn.Sequential(nn.Sequential(*parts[:2]), nn.Sequential(nn.Sequential(*parts[2:])))
    return model, x.double()


@torch.no_grad()
def output_shape(parts, x):
    return nn.Sequential(*parts).eval()(x).shape


@st.composite
def between(draw, dims, width, linear=False):
    """Norm, activation, dropout or nothing."""
    found = []
    if draw(st.integers(0, 2)) == 0:
        found.append(of("BatchNorm", dims)(width, affine=draw(st.booleans())))
    if draw(st.booleans()):
        found.append(draw(st.sampled_from(ACTIVATIONS))())
    if draw(st.integers(0, 3)) == 0:
        found.append(nn.Dropout(0.5) if linear else of("Dropout", dims)(0.5))
    return found


@st.composite
def pools(draw, dims, size):
    kind = draw(
        st.sampled_from(["", "", "AdaptiveMax", "AdaptiveAvg", "Max", "Avg"][: None if size > 1 else 4])
    )
    if not kind:
        return []
    if kind.startswith("Adaptive"):
        return [of(f"{kind}Pool", dims)(2)]
    options = {"padding": draw(st.integers(0, 1)), "ceil_mode": draw(st.booleans())}
    if kind == "Avg":
        options["count_include_pad"] = draw(st.booleans())
        if dims > 1:
            options["divisor_override"] = draw(st.sampled_from([None, None, 3]))
    return [of(f"{kind}Pool", dims)(2, 1, **options)]


@torch.no_grad()
def randomize(model, density):
    for module in model.modules():
        if isinstance(module, LAYERS):
            weight = module.weight
            weight.copy_(torch.randint(1, 4, weight.shape) * torch.randn(weight.shape).sign())
            weight.mul_(torch.rand(weight.shape) < density)
            weight[torch.rand(weight.shape[0]) < 0.2] = 0
            weight[:, torch.rand(weight.shape[1]) < 0.2] = 0
            if module.bias is not None:
                module.bias.copy_(torch.randn(module.bias.shape) * (torch.rand(module.bias.shape) < 0.5))
        elif isinstance(module, NORMS):
            module.running_mean.copy_(
                torch.randn(module.num_features) * (torch.rand(module.num_features) < 0.5)
            )
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                module.weight.normal_()
                module.bias.copy_(torch.randn(module.num_features) * (torch.rand(module.num_features) < 0.5))


def check_shrunk(model, x):
    before, text = copy.deepcopy(model.state_dict()), repr(model)
    small = shrink(model)
    same(small, model, x)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0, equal_nan=True)
    assert repr(model) == text
    assert all(new <= old for new, old in zip(widths(small), widths(model), strict=True))
    assert nonzeros(small) <= nonzeros(model)
    assert [name for name, _ in small.named_modules()] == [name for name, _ in model.named_modules()]
    assert repr(shrink(small)) == repr(small)  # there was no more to find
    return small


def pruned(name, ratio, by, seed=0):
    """A network with 1 weight in `ratio` left in each layer: the largest, or any."""
    model = models.create(name, seed)
    with torch.no_grad():
        for layer in layers(model):
            scores = layer.weight if by == "magnitude" else torch.randn_like(layer.weight)
            keep = max(5, int(layer.weight.numel() / ratio))
            layer.weight.mul_(top_k(scores, keep) != 0)
    return masked(model)
