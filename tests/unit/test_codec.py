"""The .admm file: what goes in comes out, bit by bit, whatever the model."""

import copy
import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations as torch_parametrizations
from torch.nn.utils import parametrize

from admm_lib import bake, codec, models
from admm_lib.codec.entries import DTYPES
from admm_lib.holding import hold
from admm_lib.parametrizations import Mask

often = settings(max_examples=60, deadline=None, derandomize=True, database=None)
FLOATS = [dtype for dtype in DTYPES if dtype.is_floating_point]
# lenet300(), pruned to three weights by `few_weights`: version 1 as it was first written.
GOLDEN = "ad4d4d01020000010201000100010001000101112ae1a0850000c03f000000c00000803e49b20d49"
GOLDEN_2 = "ad4d4d02020000040201010401000100010001000401010301112ae1a0864caf601c1d"
GOLDEN_HASH = "d73c64eb158bdec9b5d569e03630457d32d674380adcd0f092654100e5180c74"


def bits(model):
    """A model's state by name: dtype, shape and bit patterns."""
    state = {}
    for name, value in model.state_dict().items():
        flat = torch.empty(value.numel(), dtype=value.dtype).copy_(value.reshape(-1))
        state[name] = value.dtype, value.shape, flat.view(torch.uint8).numpy().tobytes()
    return state


class Holder(nn.Module):
    """Any tensors as the buffers of a module."""

    def __init__(self, tensors):
        super().__init__()
        for index, tensor in enumerate(tensors):
            self.register_buffer(f"tensor{index}", tensor)

    def empty(self):
        """The same names, shapes and dtypes, other values."""
        return Holder([torch.ones_like(buffer) for buffer in self.buffers()])


class Small(nn.Module):
    """Convolution, batch norm and a linear layer, as a reader's own network has them."""

    def __init__(self, width=6):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, width, 3), nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 4)

    def forward(self, images):
        return self.head(self.norm(self.conv(images)).relu().mean((2, 3)))


@st.composite
def tensors(draw):
    """A tensor of any kept dtype: random values or bit patterns, with zeros and strange ones."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 7), max_size=4))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tensor = torch.tensor(random.normal(scale=20, size=shape)).to(dtype)
    if dtype != torch.bool and tensor.numel() and draw(st.booleans()):  # every NaN among them
        raw = torch.tensor(random.integers(0, 256, math.prod(shape) * dtype.itemsize, np.uint8))
        tensor = raw.view(dtype).reshape(shape)
    tensor[torch.tensor(random.random(shape) > draw(st.sampled_from([0, 0.1, 0.6, 1])))] = 0
    if dtype.is_floating_point and tensor.numel() > 3:
        special = torch.tensor([-0.0, float("nan"), float("inf"), 1e-45], dtype=dtype)
        tensor.view(-1)[:4] = special[torch.from_numpy(random.permutation(4))]
    return tensor


def prune(model, share=0.95, seed=0):
    """Zeros in every weight, in place; the layers' rows unequally."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in (p for p in model.parameters() if p.dim() > 1):
            rows = torch.rand(len(weight), generator=generator).reshape(-1, *[1] * (weight.dim() - 1))
            gone = torch.rand(weight.shape, generator=generator) < share + (1 - share) * rows
            weight.masked_fill_(gone, 0)
    return model


@often
@given(st.lists(tensors(), max_size=5))
def test_any_tensors_come_back_bit_by_bit(content):
    model = Holder(content)
    read = codec.decode(codec.encode(model), model.empty())
    assert bits(read) == bits(model)


@pytest.mark.parametrize("make", [models.lenet5, lambda: models.lenet5(relu=False), models.lenet300])
def test_known_architectures_need_no_model(make, tmp_path):
    model = prune(make())
    codec.save(model, tmp_path / "net.admm")
    read = codec.load(tmp_path / "net.admm")
    assert bits(read) == bits(model)
    assert read.architecture == model.architecture
    assert [type(each) for each in read.modules()] == [type(each) for each in model.modules()]
    assert read.training
    assert not any(map(parametrize.is_parametrized, read.modules()))
    images = torch.rand(2, 1, 28, 28)
    assert torch.equal(read.eval()(images), model.eval()(images))


def test_the_file_spells_no_names_that_the_constructor_gives():
    data = codec.encode(prune(models.lenet5(), 0.99))
    sections = codec.sections(prune(models.lenet5(), 0.99))
    assert not any(word in data for word in (b"conv", b"fc1", b"weight", b"lenet"))
    assert sections["header"] <= 8 * 32
    assert sum(sections.values()) == 8 * len(data)


def test_the_first_file_is_read_forever():
    model = models.lenet300()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.fc1.weight[7, 100], model.fc1.weight[299, 783], model.fc3.bias[3] = 1.5, -2, 0.25
    assert codec.encode(model).hex() == GOLDEN_2
    for golden in (GOLDEN, GOLDEN_2):
        assert bits(codec.decode(bytes.fromhex(golden))) == bits(model)


def test_every_platform_writes_the_same():
    """Thousands of adaptive probabilities, halved counts, dead lines, steps, a codebook, a corner."""
    model = models.lenet300()
    with torch.no_grad():
        for parameter in model.parameters():
            places = torch.arange(parameter.numel())
            kept = places * places % 9973 % 37 == 0
            parameter.copy_((kept * (1 + places % 7 % 4)).reshape(parameter.shape))
        model.fc1.weight[::3], model.fc1.weight[:, 500:] = 0, 0
        places = torch.arange(30_000)
        values = torch.tensor([0.1, 0.2, 0.7, 0.9])[places % 7 % 4]  # multiples of nothing
        model.fc2.weight.copy_((values * (places * places % 9973 % 37 < 5)).reshape(100, 300))
        model.fc2.weight[60:], model.fc2.weight[:, 120:] = 0, 0
    assert hashlib.sha256(codec.encode(model)).hexdigest() == GOLDEN_HASH


def test_memory_format_and_repetition_change_nothing():
    model = prune(models.lenet5())
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    assert not model.conv2.weight.is_contiguous()
    assert codec.encode(model) == codec.encode(plain)
    read = codec.decode(codec.encode(plain))
    assert codec.encode(read) == codec.encode(model)
    assert read.conv2.weight.stride() == model.conv2.weight.stride()


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_known_architecture_in_another_dtype(dtype):
    model = prune(models.lenet300()).to(dtype)
    assert bits(codec.decode(codec.encode(model))) == bits(model)


def test_batch_norm_keeps_its_state():
    model = prune(Small())
    model(torch.rand(8, 3, 9, 9))
    assert model.norm.num_batches_tracked == 1
    read = codec.decode(codec.encode(model), Small())
    assert bits(read) == bits(model)
    assert codec.encode(read) == codec.encode(model)


def test_what_is_smaller_is_written():
    def size(zeros, dtype):
        most = 255 if dtype is torch.uint8 else 4200
        tensor = (1 + torch.arange(4200) % most).reshape(60, 70).to(dtype)
        order = torch.randperm(4200, generator=torch.Generator().manual_seed(0))
        tensor.view(-1)[order[:zeros]] = 0
        return len(codec.encode(Holder([tensor])))

    for zeros, dtype in ((40, torch.float32), (4100, torch.float64), (2000, torch.int16)):
        kept = (4200 - zeros) * dtype.itemsize
        entropy = math.log2(math.comb(4200, zeros)) / 8
        assert kept + entropy < size(zeros, dtype) < kept + 1.03 * entropy + 40
    # The place of a zero among so few costs more than the byte that it saves.
    assert size(10, torch.uint8) == size(0, torch.uint8)


def test_a_constrained_model_is_written_as_it_shows_itself():
    model = models.lenet300()
    mask = torch.rand(300, 784) > 0.9
    hold(model.fc1, "weight", model.fc1.weight.detach(), Mask(mask))
    before, modes = bits(model), [module.training for module in model.modules()]
    data = codec.encode(model)
    assert (before, modes) == (bits(model), [module.training for module in model.modules()])
    assert data == codec.encode(bake(copy.deepcopy(model)))
    read = codec.decode(data)
    assert torch.equal(read.fc1.weight, model.fc1.weight)
    assert not read.fc1.weight[~mask].any()


def test_writing_takes_no_step_of_a_parametrization_that_learns():
    layer = torch_parametrizations.spectral_norm(nn.Linear(5, 4))
    before = bits(layer)
    data = codec.encode(layer)
    assert bits(layer) == before
    assert torch.equal(codec.decode(data, nn.Linear(5, 4)).weight, layer.eval().weight)


def test_tied_tensors_are_written_once_and_stay_tied():
    def tied():
        model = nn.Sequential(nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 40))
        model[2].weight = model[0].weight
        return model

    model, loose = tied(), nn.Sequential(nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 40))
    data = codec.encode(model)
    assert len(data) < 4 * 1600 + 4 * 80 + 80
    read = codec.decode(data, tied())
    assert bits(read) == bits(model)
    assert read[0].weight is read[2].weight
    assert bits(codec.decode(data, copy.deepcopy(loose))) == bits(model)
    before = bits(target := tied())
    with pytest.raises(codec.CodecError, match="one tensor in the module and two in the file"):
        codec.decode(codec.encode(loose), target)
    assert bits(target) == before


def test_the_dense_network_that_a_small_one_came_from_is_remembered():
    model = models.lenet300()
    assert not hasattr(codec.decode(codec.encode(model)), "reference_weights")
    model.reference_weights = 430500
    assert codec.decode(codec.encode(model)).reference_weights == 430500
    model.reference_weights = "many"
    with pytest.raises(codec.CodecError, match="must be a weight count"):
        codec.encode(model)


def test_arguments_of_an_architecture_are_kept(monkeypatch):
    def custom(*, widths=(2, 3), scale=0.5, name="a", skip=None, offset=-3, deep=True):
        layer = nn.Linear(*widths)
        layer.architecture = ("custom", {"widths": widths, "scale": scale, "name": name})
        layer.architecture[1].update(skip=skip, offset=offset, deep=deep)
        return layer

    monkeypatch.setitem(models.ARCHITECTURES, "custom", custom)
    model = custom(widths=(4, 5), scale=0.1, name="ü", offset=-7, deep=False)
    full = model.architecture
    data = codec.encode(model)
    model.architecture = ("custom", {key: full[1][key] for key in full[1] if key != "skip"})
    assert codec.encode(model) == data
    # A default that changes later does not reach files written before.
    later = {"widths": (9, 9), "scale": 0, "name": "b", "skip": 1, "offset": 1, "deep": True}
    monkeypatch.setattr(custom, "__kwdefaults__", later)
    read = codec.decode(data)
    assert (bits(read), read.architecture) == (bits(model), full)
    for unfit in ({"widths": 10**6}, {"scale": object()}, {"name": ((1,),)}, {"unknown": 1}):
        model.architecture = ("custom", unfit)
        with pytest.raises(codec.CodecError, match=r"no literal|names no custom"):
            codec.encode(model)


def test_the_random_generator_is_left_alone():
    data = codec.encode(models.lenet300())
    state = torch.get_rng_state()
    codec.decode(data)
    codec.encode(codec.decode(data))
    assert torch.equal(torch.get_rng_state(), state)


def test_negative_zeros_are_kept_and_pointed_out():
    model = models.lenet300()
    with torch.no_grad():
        model.fc1.weight.mul_(torch.rand(300, 784) > 0.9)  # -1 * 0 is -0.0
    with pytest.warns(UserWarning, match=r"fc1.weight has \d+ negative zeros"):
        data = codec.encode(model)
    assert bits(codec.decode(data)) == bits(model)
    with torch.no_grad():
        model.fc1.weight.add_(0.0)
    assert len(codec.encode(model)) < len(data) / 2
