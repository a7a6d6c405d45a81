"""The networks: their counts, names, seeds, and that the memory layout changes nothing."""

import copy

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import admm_lib as al
from admm_lib import models

X = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
LENET5 = {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "fc1": (500, 800), "fc2": (10, 500)}
LENET300 = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}


@pytest.mark.parametrize(
    ("name", "shapes", "weights", "biases"),
    [("lenet5", LENET5, 430_500, 580), ("lenet300", LENET300, 266_200, 410)],
)
def test_counts_and_names_are_the_papers(name, shapes, weights, biases):
    model = models.create(name)
    parameters = dict(model.named_parameters())
    assert {n: tuple(p.shape) for n, p in parameters.items() if "weight" in n} == {
        f"{layer}.weight": shape for layer, shape in shapes.items()
    }
    assert {n: tuple(p.shape) for n, p in parameters.items() if "bias" in n} == {
        f"{layer}.bias": shape[:1] for layer, shape in shapes.items()
    }
    assert sum(p.numel() for n, p in parameters.items() if "weight" in n) == weights
    assert sum(p.numel() for n, p in parameters.items() if "bias" in n) == biases
    assert model(X).shape == (5, 10)


def by_hand(model, x, relu):
    """LeNet-5 written out: convolution, pooling, twice; then two layers with a ReLU between."""
    after = torch.relu if relu else (lambda z: z)
    w = {name: p.contiguous() for name, p in model.named_parameters()}
    for layer in ("conv1", "conv2"):
        x = nn.functional.conv2d(x, w[f"{layer}.weight"], w[f"{layer}.bias"])
        x = nn.functional.max_pool2d(after(x), 2)
    x = torch.relu(x.flatten(1) @ w["fc1.weight"].T + w["fc1.bias"])
    return x @ w["fc2.weight"].T + w["fc2.bias"]


@pytest.mark.parametrize("relu", [True, False])
def test_lenet5_is_what_it_says(relu):
    model = models.lenet5(relu=relu)
    assert model.architecture == ("lenet5", {"relu": relu})
    torch.testing.assert_close(model(X), by_hand(model, X, relu), atol=1e-5, rtol=1e-4)


def test_relu_makes_a_difference_and_is_the_default():
    assert models.lenet5().architecture == ("lenet5", {"relu": True})
    first = models.create("lenet5", 0)
    second = models.lenet5(relu=False)
    second.load_state_dict(first.state_dict())  # the same names either way
    assert not torch.allclose(first(X), second(X))


def test_lenet300_is_what_it_says():
    model = models.lenet300()
    w = dict(model.named_parameters())
    x = X.flatten(1)
    for layer in ("fc1", "fc2"):
        x = torch.relu(x @ w[f"{layer}.weight"].T + w[f"{layer}.bias"])
    torch.testing.assert_close(model(X), x @ w["fc3.weight"].T + w["fc3.bias"])
    assert model.architecture == ("lenet300", {})


def test_channels_last_gives_the_same_results_and_gradients():
    model = models.create("lenet5", 0)
    assert model.conv2.weight.is_contiguous(memory_format=torch.channels_last)
    assert not model.conv2.weight.is_contiguous()
    other = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    assert other.conv2.weight.is_contiguous()
    outputs = []
    for each in (model, other):
        each(X).square().sum().backward()
        outputs.append([each(X), *(p.grad for p in each.parameters())])
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_a_seed_fixes_the_weights_and_leaves_the_global_generator_alone(name):
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first, again, other = (models.create(name, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    unseeded = models.create(name), models.create(name)
    pairs = [(first, again), (first, other), unseeded]
    same = [torch.equal(*(next(each.parameters()) for each in pair)) for pair in pairs]
    assert same == [True, False, False]


def test_every_architecture_can_be_rebuilt_from_what_it_carries():
    for build in models.ARCHITECTURES.values():
        identifier, arguments = build().architecture
        assert models.ARCHITECTURES[identifier](**arguments).architecture == (identifier, arguments)
        assert copy.deepcopy(build()).architecture == (identifier, arguments)


def test_pretrained_reads_the_checkpoint(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "HOME", tmp_path)
    (tmp_path / "checkpoints").mkdir()
    trained = models.create("lenet5", 3)
    state = {name: value.contiguous() for name, value in trained.state_dict().items()}
    save_file(state, tmp_path / "checkpoints" / "lenet5-digits.safetensors")
    found = models.pretrained("lenet5", "digits")
    assert all(torch.equal(value, state[name]) for name, value in found.state_dict().items())
    assert found.conv2.weight.is_contiguous(memory_format=torch.channels_last)
    assert found.architecture == ("lenet5", {"relu": True})
    with pytest.raises(FileNotFoundError, match="no dense checkpoint lenet300-mnist"):
        models.pretrained("lenet300")
    with pytest.raises(FileNotFoundError, match=r"choose one of lenet5-digits$"):
        models.pretrained("lenet5", "mnist")


def test_pretrained_with_no_checkpoint_at_all(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "HOME", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"train one with admm_lib\.fit, .*of none"):
        models.pretrained("lenet5")


@pytest.mark.parametrize("make", [models.create, models.pretrained])
def test_an_unknown_model_lists_the_known_ones(make):
    with pytest.raises(ValueError, match="unknown model 'lenet6': choose one of lenet5, lenet300"):
        make("lenet6")


def test_dropout_shares_the_weights_and_acts_in_training_only():
    model = models.create("lenet5", 0)
    thinned = models.with_dropout(model, {"fc1": 0.25, "fc2": 0.5})
    assert [p is q for p, q in zip(model.parameters(), thinned.parameters(), strict=True)] == [True] * 8
    assert thinned.state_dict().keys() == model.state_dict().keys()
    x = torch.randn(16, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(thinned(x), thinned(x))
    assert torch.equal(thinned.eval()(x), model(x))
    assert [(name, m.p) for name, m in thinned.named_children() if isinstance(m, torch.nn.Dropout)] == [
        ("drop_fc1", 0.25), ("drop_fc2", 0.5),
    ]  # fmt: skip
    residual = type("Residual", (torch.nn.Sequential,), {"forward": lambda self, x: x + self[0](x)})
    with pytest.raises(ValueError, match=r"a Residual is no plain nn\.Sequential"):
        models.with_dropout(residual(torch.nn.Linear(2, 2)), {"0": 0.5})
    for shares, message in (({"fc3": 0.5}, "no layer 'fc3'"), ({"fc1": -0.1}, "share of fc1 lies from 0")):
        with pytest.raises(ValueError, match=message):
            models.with_dropout(model, shares)


# ResNet-20


def test_resnet20_has_the_layers_of_its_paper():
    network = models.create("resnet20", seed=0)
    shapes = [tuple(p.shape) for name, p in network.named_parameters() if p.dim() > 1]
    assert sum(p.numel() for p in network.parameters() if p.dim() > 1) == 270_896
    assert sum(p.numel() for p in network.parameters() if p.dim() == 1) == 1_578
    main = [shape for shape in shapes if shape[2:] != (1, 1)]
    assert main == [
        (16, 3, 3, 3), *[(16, 16, 3, 3)] * 6, (32, 16, 3, 3), *[(32, 32, 3, 3)] * 5,
        (64, 32, 3, 3), *[(64, 64, 3, 3)] * 5, (10, 64),
    ]  # fmt: skip
    assert [shape for shape in shapes if shape[2:] == (1, 1)] == [(32, 16, 1, 1), (64, 32, 1, 1)]
    assert network.architecture == ("resnet20", {})
    assert models.OF_COLOUR == ("resnet20", "vgg16")


def test_a_residual_block_is_what_it_says():
    block = models.Residual(4, 6, 2).eval()
    for norm in (block.bn1, block.bn2, block.shortcut.bn):
        torch.nn.init.uniform_(norm.running_mean)
        torch.nn.init.uniform_(norm.weight)
    x = torch.randn(2, 4, 8, 8)
    conv = nn.functional.conv2d
    inner = torch.relu(block.bn1(conv(x, block.conv1.weight, stride=2, padding=1)))
    inner = block.bn2(conv(inner, block.conv2.weight, padding=1))
    beside = block.shortcut.bn(conv(x, block.shortcut.conv.weight, stride=2))
    torch.testing.assert_close(block(x), torch.relu(inner + beside))
    same = models.Residual(6, 6, 1)
    assert isinstance(same.shortcut, nn.Identity)


@pytest.mark.parametrize("name", models.OF_COLOUR)
def test_deep_networks_start_with_signals_that_neither_grow_nor_vanish(name):
    network = models.create(name, seed=0)
    seen = network(torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert seen.shape == (16, 10)
    assert 0.1 < seen.std() < 10


def test_resnet20_comes_back_from_a_file(tmp_path):
    network = models.create("resnet20", seed=0).eval()
    al.save(network, tmp_path / "network.admm")
    again = al.load(tmp_path / "network.admm").eval()
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(x), network(x))


# VGG-16


def test_vgg16_is_configuration_d_with_norms_and_one_linear_layer():
    network = models.create("vgg16", seed=0)
    kinds = {"Conv2d": [], "MaxPool2d": [], "Linear": []}
    for name, module in network.named_children():
        kinds.setdefault(type(module).__name__, []).append(name)
    widths = [network.get_submodule(name).out_channels for name in kinds["Conv2d"]]
    assert widths == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert kinds["Conv2d"][:3] == ["conv1_1", "conv1_2", "conv2_1"]
    assert kinds["Conv2d"][-1] == "conv5_3"
    assert len(kinds["MaxPool2d"]) == 5
    assert kinds["Linear"] == ["fc"]
    assert len(kinds["BatchNorm2d"]) == len(kinds["ReLU"]) == 13
    assert sum(p.numel() for p in network.parameters() if p.dim() > 1) == 14_715_584
    assert sum(p.numel() for p in network.parameters() if p.dim() == 1) == 8_458
    assert network.architecture == ("vgg16", {})


def test_vgg16_is_what_it_says():
    network = models.create("vgg16", seed=0).eval()
    x = seen = torch.randn(1, 3, 32, 32)
    for block, depth in enumerate((2, 2, 3, 3, 3), 1):
        for number in range(1, depth + 1):
            weight = network.get_submodule(f"conv{block}_{number}").weight
            seen = torch.relu(nn.functional.conv2d(seen, weight, padding=1) / (1 + 1e-5) ** 0.5)
        seen = nn.functional.max_pool2d(seen, 2)
    outputs = seen.flatten(1) @ network.fc.weight.T + network.fc.bias
    torch.testing.assert_close(network(x), outputs, atol=1e-4, rtol=1e-4)
