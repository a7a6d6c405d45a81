"""The .admm file and what does not fit: models it cannot keep or fill, places it cannot be written."""

import copy
import os
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations as torch_parametrizations

from admm_lib import codec, models


def values(model):
    """A copy of a model's state."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(model, state):
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


class Small(nn.Module):
    """Convolution, batch norm and a linear layer, as a reader's own network has them."""

    def __init__(self, width=6):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, width, 3), nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 4)


class Holder(nn.Module):
    """One tensor as a buffer."""

    def __init__(self, tensor):
        super().__init__()
        self.register_buffer("tensor", tensor)


def test_the_caller_is_told_what_does_not_fit():
    data = codec.encode(Small())
    unfit = {
        r"names no architecture: call load\(path, model=MyNet\(\)\)": None,
        r"the module has no 'conv.bias'": nn.Linear(2, 2),
        r"conv.weight is \(6, 3, 3, 3\) torch.float32 in the file and \(7, 3, 3, 3\)": Small(7),
        r"head.bias is \(4,\) torch.float32 in the file and \(4,\) torch.float16": Small().half(),
        r"the file has no '0.weight'": nn.Sequential(*Small().children(), nn.Linear(1, 1)),
        r"parametrizations: make it plain with bake": torch_parametrizations.weight_norm(Small().head),
    }
    for words, model in unfit.items():
        with pytest.raises(codec.CodecError, match=words):
            codec.decode(data, model)
    with pytest.raises(TypeError, match=r"model= takes a network, as in model=MyNetwork\(\)"):
        codec.decode(data, Small)
    with pytest.raises(codec.CodecError, match=r"holds lenet5\(relu=True\), and the module is lenet5"):
        codec.decode(codec.encode(models.lenet5()), models.lenet5(relu=False))
    same = models.lenet5()
    assert codec.decode(codec.encode(same), target := models.lenet5()) is target


class Extra(nn.Linear):
    def get_extra_state(self):
        return "anything"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Extra(2, 2), "_extra_state is no tensor"),
        (nn.LazyLinear(3), "has no values yet"),
        (nn.Linear(3, 3, device="meta"), "has no values yet"),
        (Holder(torch.zeros(2, 2).to_sparse()), "make it dense"),
        (Holder(torch.zeros(2, dtype=torch.complex64)), "complex64, which a file cannot keep"),
    ],
)
def test_what_a_file_cannot_keep_is_named(model, words):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(codec.CodecError, match=words):
            codec.encode(model)


def test_a_rebuilt_network_does_not_pass_for_its_architecture():
    model = models.lenet5()
    model.fc2 = nn.Linear(500, 7)
    with pytest.raises(codec.CodecError, match="does not describe the model: fc2"):
        codec.encode(model)
    del model.architecture
    twin = copy.deepcopy(model)
    assert same(codec.decode(codec.encode(model), twin), values(model))
    model.architecture = "resnet50"  # other libraries use the attribute too
    codec.encode(model)


def test_a_file_does_not_fill_a_network_that_only_claims_to_be_its_architecture():
    file = codec.encode(models.create("lenet5", 0))
    model = models.create("lenet5", 1)
    model.act3 = nn.Tanh()
    before = values(model)
    with pytest.raises(codec.CodecError, match=r"architecture does not describe the module: act3 is .*ReLU"):
        codec.decode(file, model=model)
    assert same(model, before)
    del model.architecture  # who says nothing is asked for shapes and names alone
    assert not same(codec.decode(file, model=model), before)


def test_saving_replaces_a_file_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "net.admm"
    first, second = models.lenet300(), models.lenet300()
    codec.save(first, path)

    def fail(*_):
        raise OSError("disk full")

    for broken in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(os, broken, fail)
            with pytest.raises(OSError, match="disk full"):
                codec.save(second, path)
        assert [entry.name for entry in tmp_path.iterdir()] == ["net.admm"]
        assert same(codec.load(path), values(first))
    codec.save(second, str(path))
    assert same(codec.load(str(path)), values(second))
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    current = os.umask(0)
    os.umask(current)
    return current


def test_places_that_do_not_exist_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist: create it first"):
        codec.save(models.lenet300(), tmp_path / "nowhere" / "net.admm")
    with pytest.raises(FileNotFoundError):
        codec.load(tmp_path / "none.admm")
    (tmp_path / "empty.admm").touch()
    with pytest.raises(codec.CodecError, match=r"^empty.admm: this is no .admm file"):
        codec.load(tmp_path / "empty.admm")
