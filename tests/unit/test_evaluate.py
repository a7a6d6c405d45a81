"""evaluate: per example, in eval mode, and without a trace in the model."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import admm_lib as al

DIGITS = al.data.load("digits")
VAL = DIGITS.val.subset(200)


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.ReLU(), nn.Linear(20, 10))


def normed():
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(256, 10),
    )  # fmt: skip


def test_evaluate_counts_each_example():
    model = network()
    found = al.evaluate(model, VAL, batch_size=64)  # ragged: 200 = 3 x 64 + 8
    outputs = model(VAL.inputs)
    right = outputs.argmax(1) == VAL.targets
    assert torch.equal(found.correct, right)
    assert found.accuracy == pytest.approx(100 * right.float().mean().item())
    assert found.loss == pytest.approx(F.cross_entropy(outputs, VAL.targets).item(), rel=1e-5)
    assert found.loss == pytest.approx(al.evaluate(model, VAL.batches(64)).loss, rel=1e-5)


def test_evaluate_averages_over_examples_whatever_the_metric_returns():
    x, y = torch.randn(6, 3), torch.randn(6, 3)
    two = lambda outputs, targets: torch.tensor(2.0)  # noqa: E731
    flat = lambda outputs, targets: outputs.flatten()  # noqa: E731
    found = al.evaluate(nn.Linear(3, 3), [(x, y)], loss=two, metric=flat)
    assert found.loss == 2.0
    assert len(found.scores) == 18


def test_evaluate_is_in_eval_mode_and_gives_each_part_its_mode_back():
    model = normed().train()
    model[1].eval()  # a frozen batch norm, say
    seen = []
    modes = lambda *_: seen.extend(part.training for part in model.modules())  # noqa: E731
    handle = model.register_forward_hook(modes)
    before = model[1].running_mean.clone()
    al.evaluate(model, VAL)
    assert seen == [False] * 6
    assert [part.training for part in model.children()] == [True, False, True, True, True]
    assert model.training
    assert torch.equal(model[1].running_mean, before)
    handle.remove()
    with pytest.raises(RuntimeError):
        al.evaluate(model, [(torch.zeros(1), torch.zeros(1))])
    assert model.training


def test_convolutions_on_a_gpu_are_evaluated_in_whole_floats():
    seen = []

    class Asks(nn.Linear):
        def forward(self, x):
            seen.append(torch.backends.cudnn.allow_tf32)
            return super().forward(x)

    before = torch.backends.cudnn.allow_tf32
    al.evaluate(Asks(2, 2), [(torch.ones(3, 2), torch.zeros(3, dtype=torch.long))])
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32 == before


def test_what_else_a_reader_has_set_for_convolutions_holds_while_they_are_evaluated():
    seen = []

    class Asks(nn.Linear):
        def forward(self, x):
            seen.append((torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic))
            return super().forward(x)

    with torch.backends.cudnn.flags(benchmark=True, deterministic=True):
        al.evaluate(Asks(2, 2), [(torch.ones(3, 2), torch.zeros(3, dtype=torch.long))])
    assert seen == [(True, True)]


def test_the_bitmap_is_of_the_test_set_in_order():
    model = network()
    model[3].bias.data[3] = 1e6  # says 3 to everything
    assert torch.equal(al.evaluate(model, DIGITS.test).correct, DIGITS.test.targets == 3)
