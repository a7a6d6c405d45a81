"""The diagonal Fisher information, against its closed form and against what it predicts."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import admm_lib as al

DIGITS = al.data.load("digits")


def linear(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def test_it_is_the_closed_form_of_a_linear_model():
    """With log p = W x + b - logsumexp, the diagonal is E[x_j^2 p_i (1 - p_i)]."""
    model, part = linear(), DIGITS.val.subset(20)
    found = al.fisher(model, part)
    p = model(part.inputs).softmax(1).detach()
    x = part.inputs.flatten(1)
    expected = torch.einsum("ni,nj->ij", p * (1 - p), x.square()) / len(part)
    assert list(found) == ["1.weight"]
    assert torch.allclose(found["1.weight"], expected, rtol=1e-4, atol=1e-8)


def test_it_predicts_how_far_the_outputs_move():
    model, part = al.models.pretrained("lenet300", "digits"), DIGITS.val.subset(50)
    name, generator = "fc2.weight", torch.Generator().manual_seed(0)
    found = al.fisher(model, part, [name])[name]
    before = model(part.inputs).log_softmax(1).detach()
    moved = []
    for _ in range(20):  # random signs: the mean is that of the diagonal alone
        step = 1e-3 * torch.randn(found.shape, generator=generator).sign()
        other = copy.deepcopy(model)
        with torch.no_grad():
            other.fc2.weight += step
            after = other(part.inputs).log_softmax(1)
        moved.append(F.kl_div(after, before, log_target=True, reduction="batchmean").item())
    assert sum(moved) / len(moved) == pytest.approx(1e-6 * found.sum().item() / 2, rel=0.3)


def test_batches_of_any_size_give_the_same_and_leave_no_trace():
    model, part = al.models.create("lenet300", seed=0), DIGITS.val.subset(7)
    model.train()
    whole = al.fisher(model, part, ["fc3.weight"])
    again = al.fisher(model, [(part.inputs[:3], None), (part.inputs[3:], None)], ["fc3.weight"])
    assert torch.allclose(whole["fc3.weight"], again["fc3.weight"])
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_a_mask_holds_does_not_matter():
    model = al.models.pretrained("lenet300", "digits")
    al.ADMM(model, {"fc3.weight": al.Sparse(keep=100)}).finalize()
    found = al.fisher(model, DIGITS.val.subset(3), ["fc3.weight"])["fc3.weight"]
    assert not found[model.fc3.weight == 0].any()
    assert found.any()


def test_misuse_is_refused():
    model = linear()
    with pytest.raises(ValueError, match="fisher takes one split"):
        al.fisher(model, DIGITS)
    with pytest.raises(ValueError, match="the data gave no example"):
        al.fisher(model, [])
    with pytest.raises(ValueError, match=r"1\.weight"):
        al.fisher(model, DIGITS.val.subset(2), ["1.wieght"])
    model[1].weight.requires_grad_(False)
    with pytest.raises(ValueError, match=r"1\.weight is frozen, and has no gradient"):
        al.fisher(model, DIGITS.val.subset(2))
    model[1].weight.requires_grad_(True)
    al.ADMM(model, {"1.weight": al.Clusters(2)}).finalize()
    with pytest.raises(ValueError, match="held by something other than a mask"):
        al.fisher(model, DIGITS.val.subset(2))
