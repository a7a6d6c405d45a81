"""Sparse networks and ONNX Runtime compute the same, and times are of what they say."""

import time

import pytest
import torch
from torch import nn

import admm_lib as al
from admm_lib import export, inference

CHANCE = torch.Generator().manual_seed(0)


def images(count=3, channels=1, size=28):
    return torch.randn(count, channels, size, size, generator=CHANCE)


def pruned():
    model = al.models.create("lenet5", 0).eval()
    admm = al.ADMM(model, {"conv2.weight": al.Sparse(ratio=10), "fc1.weight": al.Sparse(ratio=50)})
    admm.finalize()
    return model


@pytest.mark.parametrize("layout", ["csr", "bsr"])
@pytest.mark.parametrize("count", [1, 4])
def test_a_sparse_network_computes_the_same(layout, count):
    model, x = pruned(), images(count)
    found = inference.sparse(model, layout)
    torch.testing.assert_close(found(x), model(x), atol=1e-5, rtol=1e-4)
    assert isinstance(found.fc1, inference.SparseLayer)
    assert found.fc1.matrix.layout == {"csr": torch.sparse_csr, "bsr": torch.sparse_bsr}[layout]
    assert isinstance(model.fc1, nn.Linear)
    values = found.fc1.matrix.values()
    assert values.numel() == 8_000 if layout == "csr" else values.shape[1:] == (4, 4)


def test_strides_padding_dilation_and_sizes_that_blocks_do_not_divide():
    layers = [
        nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=False), nn.Conv2d(5, 6, (2, 3), dilation=2),
        nn.Flatten(), nn.Linear(6 * 4 * 2, 7, bias=False),
    ]  # fmt: skip
    model, x = nn.Sequential(*layers).eval(), images(2, channels=3, size=12)
    for layout in ("csr", "bsr"):
        found = inference.sparse(model, layout, block=3)
        torch.testing.assert_close(found(x), model(x), atol=1e-5, rtol=1e-4)
    single = inference.sparse(layers[-1], "csr")
    inputs = torch.randn(3, 48, generator=CHANCE)
    torch.testing.assert_close(single(inputs), layers[-1](inputs), atol=1e-5, rtol=1e-4)


def test_a_residual_network_too():
    model, x = al.models.create("resnet20", 0).eval(), images(2, channels=3, size=32)
    torch.testing.assert_close(inference.sparse(model)(x), model(x), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(1, 2, 3, padding="same"), nn.Conv1d(1, 2, 3)]
)
def test_other_convolutions_are_refused_by_name(layer):
    with pytest.raises(ValueError, match=r"odd is Conv.*only Conv2d with groups=1"):
        inference.sparse(nn.ModuleDict({"odd": layer}))


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match='layout must be "csr" or "bsr", but is \'coo\''):
        inference.sparse(nn.Linear(2, 2), "coo")


def test_the_ways_to_run_agree():
    model, x = pruned(), images(5)
    expected = inference.eager(model, x)()
    found = torch.from_numpy(inference.onnx_runtime(export.content(model, images(2)), x)())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert not expected.requires_grad
    with pytest.raises(ValueError, match="in training mode"):
        inference.eager(model.train(), x)


def test_times_are_per_run_and_paired():
    calls = dict.fromkeys(("short", "long"), 0)

    def way(name, duration):
        def run():
            calls[name] += 1
            time.sleep(duration)

        return run

    before = torch.get_num_threads()
    ways = {"short": way("short", 0.0002), "long": way("long", 0.004)}
    spent = inference.seconds(ways, rounds=5, threads=1)
    assert torch.get_num_threads() == before
    assert [len(each) for each in spent.values()] == [5, 5]
    assert all(each >= 0.0002 for each in spent["short"])
    assert all(each >= 0.004 for each in spent["long"])
    assert calls["long"] == 12  # a warm-up, a trial, and there and back in each of five rounds
    assert calls["short"] >= 12  # more often where the machine was free


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"threads": 0}])
def test_rounds_and_threads_are_counts(wrong):
    with pytest.raises(ValueError, match="rounds and threads are 1 or more"):
        inference.seconds({"nothing": lambda: None}, **wrong)


def test_the_median_is_of_ratios():
    assert inference.ratio([1.0, 8.0, 3.0], [1.0, 2.0, 1.0]) == 3


def test_threads_of_onnx_runtime_do_not_spin_beside_what_is_timed(monkeypatch):
    import onnxruntime

    model, inputs = nn.Linear(3, 2).eval(), torch.ones(2, 3)
    content = export.content(model, inputs)
    asked, made = [], onnxruntime.InferenceSession

    def session(content, options, **more):
        asked.append(options)
        return made(content, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    inference.onnx_runtime(content, inputs, threads=2)
    (options,) = asked
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == 2
