"""ONNX files compute what the network does."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import admm_lib as al
from admm_lib import export

CHANCE = torch.Generator().manual_seed(0)
IMAGES = torch.randn(3, 1, 28, 28, generator=CHANCE)


def run(path, *inputs):
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    named = {each.name: tensor.numpy() for each, tensor in zip(session.get_inputs(), inputs, strict=True)}
    return session.run(None, named)


def test_a_shrunk_network_and_one_from_a_file_run_in_onnx_runtime_at_any_batch_size(tmp_path):
    model = al.models.create("lenet5", 0)
    few = {"conv1.weight": 6, "conv2.weight": 12, "fc1.weight": 40}
    al.ADMM(model, {name: al.Sparse(keep, by="filter") for name, keep in few.items()}).finalize()
    small = al.shrink(model)
    path = export.to_onnx(small, IMAGES, tmp_path / "small.onnx")
    dense = export.to_onnx(al.models.create("lenet5", 0), IMAGES, tmp_path / "dense.onnx")
    assert path.stat().st_size < dense.stat().st_size / 20
    al.save(model, tmp_path / "model.admm")
    decoded = export.to_onnx(al.load(tmp_path / "model.admm"), IMAGES, tmp_path / "decoded.onnx")
    for batch in (1, 7):
        images = torch.randn(batch, 1, 28, 28, generator=CHANCE)
        expected = model.eval()(images).detach().numpy()
        for file in (path, decoded):
            np.testing.assert_allclose(run(file, images)[0], expected, atol=1e-5)
    assert al.layers.mask_of(model.conv1, "weight") is not None  # the model is as it was


def test_a_branching_network_that_was_training(tmp_path):
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.two = nn.Conv2d(1, 4, 1)

        def forward(self, images, scale):
            return self.norm(self.one(images)) + self.two(images) * scale

    model = Sum()
    scale = torch.rand(3, 1, 1, 1, generator=CHANCE)
    path = export.to_onnx(model, (IMAGES, scale), tmp_path / "sum.onnx")
    assert model.training
    np.testing.assert_allclose(run(path, IMAGES, scale)[0], model.eval()(IMAGES, scale).detach(), atol=1e-5)


def test_what_goes_wrong_is_said_and_leaves_no_file(tmp_path, monkeypatch):
    class Odd(nn.Module):
        def forward(self, inputs):
            return inputs if inputs.sum() > 0 else -inputs

    class Also(nn.Linear):
        def __init__(self, more):
            super().__init__(2, 2)
            self.more = more

        def forward(self, inputs):
            return super().forward(inputs), self.more

    with pytest.raises(FileNotFoundError, match="there is no folder"):
        export.to_onnx(nn.Linear(2, 2), torch.ones(3, 2), tmp_path / "none" / "a.onnx")
    with pytest.raises(ValueError, match="cannot be exported to ONNX"):
        export.to_onnx(Odd(), torch.ones(3, 2), tmp_path / "a.onnx")
    for more, kind in ((None, "NoneType"), ({}, "dict"), ((torch.ones(3, 2),) * 2, "tuple")):
        with pytest.raises(ValueError, match=f"cannot be exported to ONNX: it gives a {kind}, "):
            export.to_onnx(Also(more), torch.ones(3, 2), tmp_path / "a.onnx")
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(ValueError, match="ONNX Runtime computes something else"):
        export.to_onnx(nn.Linear(2, 2), torch.ones(3, 2), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []
