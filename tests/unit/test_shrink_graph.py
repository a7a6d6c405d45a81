"""Networks with branches as smaller ones: the same function, and only what is dead goes."""

import copy

import pytest
import torch
from torch import nn

import admm_lib as al
from admm_lib._torchvision import torchvision
from admm_lib.shrink import shrink
from admm_lib.shrink_graph import clear_unread

CHANCE = torch.Generator().manual_seed(0)


class Residual(nn.Module):
    """A stem, two blocks with batch norm whose sum goes on, and a head; the second has a narrower middle."""

    def __init__(self, width=8, padding=1):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.second, self.third = nn.Conv2d(width, 6, 1), nn.Conv2d(6, width, 1)
        self.head = nn.Linear(width, 5)

    def forward(self, images):
        x = self.stem(images).relu()
        x = x + self.norm(self.first(x)).relu()
        x = x + self.third(self.second(x).relu())
        return self.head(x.mean((2, 3)))


def made(build, seed=0):
    """A network with norms as after training."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.bias.data.normal_(0, 0.1)
    return model.eval()


def weights(model):
    return sum(parameter.numel() for parameter in model.parameters())


def check(model, inputs):
    """The smaller network; it computes the same on other inputs, and the model is as it was."""
    before = copy.deepcopy(model.state_dict())
    small = shrink(model, inputs)
    other = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(small(other), model(other), rtol=1e-3, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    return small


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet18", 64), ("mobilenet_v2", 64), pytest.param("vgg16", 64, marks=pytest.mark.full),
     pytest.param("densenet121", 64, marks=pytest.mark.full)],
)  # fmt: skip
def test_networks_of_torchvision_compute_the_same(name, size):
    model = made(getattr(torchvision().models, name))
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.in_channels > 3:
            read = al.Sparse(ratio=1.5, by="channel").project(layer.weight.data)
            layer.weight.data = read
    images = torch.randn(2, 3, size, size, generator=CHANCE)
    small = check(model, images)
    assert weights(small) < (0.98 if name == "vgg16" else 0.85) * weights(model)
    convolutions = [
        [each.out_channels for each in network.modules() if isinstance(each, nn.Conv2d)]
        for network in (model, small)
    ]
    assert all(few <= many for many, few in zip(*convolutions, strict=True))
    assert sum(few < many for many, few in zip(*convolutions, strict=True)) > len(convolutions[0]) / 3


def test_a_sum_is_narrower_only_where_all_its_writers_and_readers_are_dead():
    images = torch.randn(2, 3, 9, 9, generator=CHANCE)
    model = made(Residual)
    assert weights(check(model, images)) == weights(model)
    for layer in (model.first, model.third):
        layer.weight.data[2] = 0
    model.third.bias.data[2] = 0
    assert check(model, images).head.in_features == 8  # the stem still writes there
    model.stem.weight.data[2] = 0
    model.stem.bias.data[2] = 0
    model.norm.bias.data[2], model.norm.running_mean[2] = 0, 0
    small = check(model, images)
    assert small.head.in_features == small.stem.out_channels == small.first.in_channels == 7
    assert (small.norm.num_features, small.third.out_channels, small.second.in_channels) == (7, 7, 7)
    assert small.second.out_channels == 6


def test_what_nobody_reads_goes_whatever_is_written():
    images = torch.randn(2, 3, 9, 9, generator=CHANCE)
    model = made(Residual)
    model.third.weight.data[:, 4] = 0
    assert check(model, images).second.out_channels == 5
    for layer in (model.first, model.second, model.head):
        layer.weight.data[:, 1] = 0
    small = check(model, images)
    assert (small.stem.out_channels, small.first.out_channels, small.head.in_features) == (7, 7, 7)


def test_a_constant_is_folded_where_no_padding_makes_that_wrong():
    class Plain(nn.Module):
        def __init__(self, padding):
            super().__init__()
            self.one, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
            self.two = nn.Conv2d(4, 5, 3, padding=padding, bias=False)
            self.three = nn.Linear(5 * 9, 3, bias=False) if not padding else nn.Linear(5 * 25, 3, bias=False)

        def forward(self, images):
            return self.three(self.two(self.norm(self.one(images)).relu()).flatten(1))

    images = torch.randn(3, 1, 7, 7, generator=CHANCE)
    for padding, left in ((0, 3), (1, 4), ("same", 4), ("valid", 3)):
        model = made(lambda padding=padding: Plain(padding if padding != "valid" else 0))
        if isinstance(padding, str):
            model.two.padding = padding
        model.one.weight.data[1] = 0
        model.norm.bias.data[1], model.norm.running_mean[1] = 0.7, -0.2
        small = check(model, images)
        assert (small.one.out_channels, small.two.in_channels) == (left, left), padding
        assert (small.two.bias is None) == (left == 4)
    zero = made(lambda: Plain(1))
    zero.one.weight.data[1] = 0
    zero.norm.bias.data[1] = -9  # below zero, so that the rectifier gives zero, which any border is like
    assert check(zero, images).one.out_channels == 3
    flat = made(lambda: Plain(0))
    flat.two.weight.data[2] = 0
    small = check(flat, images)  # each channel is nine features of the linear layer
    assert (small.two.out_channels, small.three.in_features) == (4, 36)


def test_a_sequential_network_shrinks_as_without_a_trace():
    model = al.models.create("lenet5", 0)
    sets = {"conv1.weight": 7, "conv2.weight": 20, "fc1.weight": 60}
    al.ADMM(model, {name: al.Sparse(keep, by="filter") for name, keep in sets.items()}).finalize()
    images = torch.randn(4, 1, 28, 28, generator=CHANCE)
    traced, plain = check(model, images), shrink(model)
    assert [p.shape for p in traced.parameters()] == [p.shape for p in plain.parameters()]
    torch.testing.assert_close(traced(images), plain(images))
    assert not hasattr(traced, "architecture")
    for small in (traced, plain, shrink(plain)):  # ratios stay those against the network it came from
        assert al.storage.ladder(small).weights == 430_500


def test_modes_and_frozen_parameters_stay_and_one_channel_of_each_layer():
    model = made(Residual)
    model.norm.train()
    model.head.weight.requires_grad_(False)
    model.third.weight.data.zero_()
    with torch.no_grad():
        small = shrink(model, torch.randn(2, 3, 9, 9, generator=CHANCE))
    assert small.second.out_channels == 1
    assert (small.norm.training, small.first.training) == (True, False)
    assert [p.requires_grad for p in small.head.parameters()] == [False, True]
    model.eval()
    images = torch.randn(2, 3, 9, 9, generator=CHANCE)
    torch.testing.assert_close(small.eval()(images), model(images), rtol=1e-3, atol=1e-4)


def test_norms_over_channels_are_left_alone_and_what_is_returned_is_not_lost_silently():
    class Grouped(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.norm = nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4)
            self.two, self.three = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, images):
            x = self.two(self.norm(self.one(images)))
            return {"seen": self.three(x), "inside": [x] if self.open else []}

    model, images = made(Grouped), torch.randn(2, 1, 5, 5, generator=CHANCE)
    model.open = False
    model.two.weight.data[:, 1] = 0
    small = shrink(model, images)
    assert [p.shape for p in small.parameters()] == [p.shape for p in model.parameters()]
    model.three.weight.data[:, 1] = 0
    assert shrink(model, images).two.out_channels == 3
    model.open = True
    with pytest.raises(ValueError, match="or what would go is returned"):
        shrink(model, images)


def test_what_cannot_be_traced_is_said():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, inputs):
            return self.two(self.one(inputs).detach().softmax(1))

    class Mixing(Odd):
        def forward(self, inputs):
            return self.two(self.one(inputs).softmax(1))

    inputs = torch.randn(3, 4, generator=CHANCE)
    mixing = made(Mixing)
    mixing.one.weight.data[1], mixing.one.bias.data[1] = 0, 0
    mixing.two.weight.data[:, 1] = 0
    with pytest.raises(ValueError, match="computes something else"):
        shrink(mixing, inputs)
    with pytest.raises(ValueError, match=r"1 is Softmax.*shrink\(model, inputs\)"):
        shrink(nn.Sequential(nn.Linear(2, 2), nn.Softmax(1)))
    broken = made(Odd)
    found = shrink(broken, inputs)
    torch.testing.assert_close(found(inputs), broken(inputs))


def test_clearing_zeroes_what_nobody_reads_and_changes_no_output():
    model = al.models.create("resnet20", 0).eval()
    for norm in (each for each in model.modules() if isinstance(each, nn.BatchNorm2d)):
        for vector in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            vector.data.uniform_(0.5, 1.5)
    for name in ("stage1.0.conv2.weight", "stage3.2.conv2.weight"):
        al.ADMM(model, {name: al.Sparse(keep=5, by="channel")}).finalize()
    model.stage2[1].conv1.weight.requires_grad_(False)
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    before = copy.deepcopy(model.state_dict())
    cleared = clear_unread(model.train(), x)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(module.training for module in cleared.modules())
    assert not cleared.stage2[1].conv1.weight.requires_grad
    torch.testing.assert_close(cleared.eval()(x), model.eval()(x))
    assert cleared.architecture == model.architecture
    for block, plain in ((cleared.stage1[0], model.stage1[0]), (cleared.stage3[2], model.stage3[2])):
        read = plain.conv2.weight.transpose(0, 1).flatten(1).any(1)
        assert int(read.sum()) == 5
        assert torch.equal(block.conv1.weight.flatten(1).any(1), read)
        assert torch.equal(block.conv1.weight[read], plain.conv1.weight[read])
        vectors = (block.bn1.weight, block.bn1.bias, block.bn1.running_mean, block.bn1.running_var - 1)
        assert all(torch.equal(each != 0, read) for each in vectors)
        assert torch.equal(block.bn1.weight[read], plain.bn1.weight[read])
        assert torch.equal(block.bn2.weight, plain.bn2.weight)
    small = shrink(model, x)
    counts = [sum(int(p.count_nonzero()) for p in each.parameters()) for each in (small, cleared)]
    assert counts[0] == counts[1]
    assert torch.equal(cleared.stage2[1].conv1.weight, model.stage2[1].conv1.weight)


class Gated(nn.Module):
    """A channel whose weights are zero still follows the image, through the gate."""

    def __init__(self):
        super().__init__()
        self.a, self.out = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return self.out(self.a(x).relu() * x.mean(dim=(1, 2, 3), keepdim=True).sigmoid())


@pytest.mark.parametrize(("count", "scale"), [(1, 1), (4, 0), (4, 1)])
def test_what_is_equal_in_the_images_given_is_no_constant(count, scale):
    torch.manual_seed(0)
    inputs = scale * torch.randn(count, 3, 1, 1)
    model = Gated()
    with torch.no_grad():
        model.a.weight[0], model.a.bias[0] = 0, 2.0
    other = 3 * torch.randn(16, 3, 1, 1)
    torch.testing.assert_close(al.shrink(model, inputs)(other), model(other))


def test_a_transposed_convolution_is_left_as_it_is():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 6, 3), nn.Conv2d(6, 4, 1))
    with torch.no_grad():
        model[3].weight[:, 2] = 0  # nobody reads what the transposed one writes there
    inputs = torch.randn(2, 3, 8, 8)
    expected = model(inputs)
    torch.testing.assert_close(clear_unread(model, inputs)(inputs), expected)


def test_a_network_that_returns_nothing_beside_its_outputs_is_refused():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.b(self.a(x).relu()), None

    with pytest.raises(ValueError, match="torch-pruning cannot trace the network"):
        al.shrink(Pair(), torch.randn(5, 3))
