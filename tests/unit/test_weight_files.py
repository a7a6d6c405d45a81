"""Weights that others wrote: loaded without running code, and refused in one line where they do not fit."""

import os
import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from admm_lib import weight_files


def network(outputs=2):
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, outputs))


@pytest.fixture
def state():
    torch.manual_seed(0)
    made = network()
    made[1].running_mean += 2
    return made.state_dict()


class Trap:
    def __reduce__(self):
        return os.mkdir, ("trapped",)


@pytest.mark.parametrize("write", [torch.save, save_file])
@pytest.mark.parametrize("counted", [True, False])  # older files do not count the batches of a batch norm
def test_each_weight_is_that_of_the_file(state, tmp_path, write, counted):
    if not counted:
        state = {name: each for name, each in state.items() if "num_batches" not in name}
    write(state, tmp_path / "weights")
    model = network()
    assert weight_files.load(model, tmp_path / "weights") is model
    for name, value in state.items():
        assert torch.equal(model.state_dict()[name], value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.pop("2.bias"), "differ: weights.pt has no '2.bias'"),
        (lambda s: s.update(fc=torch.ones(1)), "differ: the network has no 'fc'"),
        (lambda s: s.update({"0.bias": torch.ones(5)}), "(4,) in the network and (5,) in weights.pt"),
        (lambda s: s.clear(), "and 5 more"),
        (lambda s: s.update(epoch=3), "holds epoch, which is no tensor: save model.state_dict() alone"),
        (lambda s: s.update({3: torch.ones(1)}), "weights.pt holds 3, which is no name"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_named(state, tmp_path, change, told):
    change(state)
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=re.escape(told)) as found:
        weight_files.load(network(), tmp_path / "weights.pt")
    assert "\n" not in str(found.value)


def test_what_is_no_file_of_weights_is_refused_and_not_run(state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(network(), "whole.pt")
    torch.save({"0.weight": Trap()}, "trap.pt")
    torch.save([1], "list.pt")
    for write, name in ((torch.save, "cut.pt"), (save_file, "cut.safetensors")):
        write(state, name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:-20])
    (tmp_path / "text.pt").write_text("weights")
    (tmp_path / "empty.pt").touch()
    for name in ("whole.pt", "trap.pt", "list.pt", "cut.pt", "cut.safetensors", "text.pt", "empty.pt"):
        with pytest.raises(ValueError, match=f"{name} is damaged, or no state dict: write one") as found:
            weight_files.load(network(), name)
        assert "\n" not in str(found.value)
    assert not (tmp_path / "trapped").exists()
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="folder is a folder: name the file of weights in it"):
        weight_files.load(network(), "folder")
    with pytest.raises(FileNotFoundError):
        weight_files.load(network(), "none.pt")
