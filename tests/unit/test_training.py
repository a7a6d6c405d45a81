"""fit: that it trains, repeats, stops, and leaves the caller's things in order."""

import math
from threading import Event

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import admm_lib as al
from admm_lib import training

DIGITS = al.data.load("digits")
SPLITS = (DIGITS.train, DIGITS.val, DIGITS.test)
SMALL = al.data.Data("small", *(split.subset(200) for split in SPLITS), "200 digits each")


pytestmark = pytest.mark.usefixtures("one_thread")


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.ReLU(), nn.Linear(20, 10))


def normed(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 5, stride=3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
            nn.Linear(256, 10),
        )  # fmt: skip


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_fit_learns_digits():
    model = network()
    history = al.fit(model, DIGITS, 5, lr=3e-3, augment=al.data.Shifts(1))
    assert [epoch.number for epoch in history] == [1, 2, 3, 4, 5]
    assert history[-1].loss < 0.5 * history[0].loss
    assert history[-1].val_accuracy == al.evaluate(model, DIGITS.val).accuracy > 80
    assert all(0 < epoch.seconds < 100 for epoch in history)


def test_fit_with_batch_norm():
    model = normed()
    history = al.fit(model, DIGITS, 4, lr=1e-2)
    assert model[1].num_batches_tracked == 4 * 10
    assert history[-1].val_accuracy == al.evaluate(model, DIGITS.val).accuracy > 80


def test_the_same_seed_gives_the_same_weights():
    runs = []
    for seed in (3, 3, 4):
        model = network()
        torch.rand(7)  # the global generator plays no part
        admm = al.ADMM(model, {"1.weight": al.Sparse(ratio=10)}, rho=0.01)
        al.fit(model, SMALL, 2, admm=admm, augment=al.data.Shifts(2), seed=seed)
        runs.append(weights(model))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_fit_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    al.fit(network(), SMALL, 1, augment=al.data.Shifts(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_fit_is_the_loop_that_it_stands_for():
    """Batches, penalty, step, one update per epoch: written out, the same bits."""
    model, other = network(), network()
    sets = {"1.weight": al.Sparse(ratio=10)}
    admm, twin = al.ADMM(model, sets, rho=0.1), al.ADMM(other, sets, rho=0.1)
    history = al.fit(model, SMALL, 2, admm=admm, lr=1e-2, batch_size=64, seed=5)
    optimizer = torch.optim.Adam(other.parameters(), lr=1e-2, fused=True)
    for epoch in range(2):
        total = 0.0
        for x, y in SMALL.train.batches(64, torch.Generator().manual_seed(5 + epoch + 1)):
            loss = F.cross_entropy(other(x), y)
            loss.backward()
            twin.add_penalty_gradient()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item() * len(x)
        twin.update()
        assert history[epoch].loss == pytest.approx(total / 200)
    assert torch.equal(weights(model), weights(other))
    assert admm.history == twin.history
    with twin.projected():  # the accuracy that counts is that of the projected weights
        assert history[-1].val_accuracy == al.evaluate(other, SMALL.val).accuracy


def test_any_iterable_with_a_loss_and_metric_of_ones_own():
    x = torch.randn(64, 3)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]])
    loader = DataLoader(TensorDataset(x, y), batch_size=16)
    model = nn.Linear(3, 1)

    def closeness(outputs, targets):
        return -(outputs - targets).abs().squeeze(1)

    arguments = {"loss": F.mse_loss, "metric": closeness, "lr": 0.1}
    history = al.fit(model, loader, 30, validate=loader, keep_best=True, **arguments)
    assert history[-1].loss < 0.01 * history[0].loss
    found = al.evaluate(model, loader, loss=F.mse_loss, metric=closeness)
    assert found.accuracy == max(epoch.val_accuracy for epoch in history)
    assert found.loss == pytest.approx(F.mse_loss(model(x), y).item(), rel=1e-4)
    al.fit(model, [(x, y)], 1, loss=F.mse_loss)  # a list will do


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(*SMALL.train.subset(100).__dict__.values(), strict=True)


def test_data_without_a_length_needs_a_constant_rate():
    loader = DataLoader(Stream(), batch_size=20)
    with pytest.raises(ValueError, match='pass schedule="constant"'):
        al.fit(network(), loader, 1)
    assert al.fit(network(), loader, 1, schedule="constant")[0].val_accuracy is None


def test_an_exhausted_iterator_is_named():
    batches = SMALL.train.batches(100)
    with pytest.raises(ValueError, match="no batch; an iterator that was used up cannot"):
        al.fit(network(), batches, 2, schedule="constant")
    with pytest.raises(ValueError, match="nothing to evaluate on: the data gave no batch"):
        al.evaluate(network(), batches)


@pytest.mark.parametrize("total", [1, 5, 10, 40, 1000])
def test_the_one_cycle(total):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = training._scheduler(optimizer, "one-cycle", total)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    top = max(1, total // 10) - 1
    assert rates[top] == max(rates) == 2.0
    rise = rates[: top + 1]
    assert rise == pytest.approx([2 * (i + 1) / (top + 1) for i in range(top + 1)])
    assert rates[top + 1 :] == sorted(rates[top + 1 :], reverse=True)
    if total > 1:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)
    if total == 1000:  # halfway down the cosine
        assert rates[550] == pytest.approx(1.0)


def test_fit_follows_the_one_cycle_and_gives_the_rate_back(monkeypatch):
    optimizer = torch.optim.SGD((model := network()).parameters(), lr=0.5)
    seen, step = [], torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD,
        "step",
        lambda self, *a, **k: (seen.append(self.param_groups[0]["lr"]), step(self, *a, **k))[1],
    )
    for _ in range(2):  # the second time, too, with the same optimizer
        seen.clear()
        al.fit(model, SMALL, 5, optimizer=optimizer, batch_size=50)
        assert seen[:3] == pytest.approx([0.25, 0.5, 0.5])
        assert len(seen) == 20
        assert seen[-1] < 0.01
        assert optimizer.param_groups[0]["lr"] == 0.5
    seen.clear()
    optimizer.param_groups[0]["lr"] = 0.125
    al.fit(model, SMALL, 1, optimizer=optimizer, schedule="constant")
    al.fit(model, SMALL, 1, optimizer=optimizer, batch_size=200)
    assert seen == [0.125, 0.125, 0.125]


def test_the_users_optimizer_is_the_one_that_steps():
    model, other = network(), network()
    al.fit(model, SMALL, 1, optimizer=torch.optim.SGD(model.parameters(), lr=0.0), lr=1.0)
    assert torch.equal(weights(model), weights(other))
    only_bias = torch.optim.SGD([model[3].bias], lr=0.1, momentum=0.9)
    al.fit(model, SMALL, 1, optimizer=only_bias, schedule="constant")
    assert torch.equal(model[1].weight, other[1].weight)
    assert not torch.equal(model[3].bias, other[3].bias)
    assert "momentum_buffer" in only_bias.state[model[3].bias]


def test_gradients_from_before_do_not_count():
    model, other = network(), network()
    F.cross_entropy(model(SMALL.val.inputs), SMALL.val.targets).backward()
    for each in (model, other):
        al.fit(each, SMALL, 1)
    assert torch.equal(weights(model), weights(other))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_precision_and_nothing_left_wrapped(precision):
    model = normed()
    forward, kind = model.forward, type(model)
    sets = {"0.weight": al.Sparse(keep=30), "4.weight": al.Sparse(ratio=10)}
    admm = al.ADMM(model, sets, rho=0.01)
    history = al.fit(model, DIGITS, 3, admm=admm, lr=5e-3, precision=precision)
    admm.finalize()
    al.fit(model, DIGITS, 2, precision=precision)
    assert history[-1].loss < history[0].loss
    assert type(model) is kind
    assert model.forward == forward
    assert all(p.dtype == torch.float32 and type(p) is nn.Parameter for p in model.parameters())
    assert admm.U["0.weight"][0].dtype == torch.float32
    assert int((model[0].weight != 0).sum()) == 30
    assert int((al.bake(model)[4].weight != 0).sum()) == 256


def test_keep_best_ends_on_the_best_epoch():
    model = network()
    scores = []

    def metric(outputs, targets):  # best in the second epoch
        score = {0: 1.0, 1: 5.0}.get(len(scores), 2.0)
        scores.append((score, weights(model)))
        return torch.full((len(outputs),), score)

    history = al.fit(model, SMALL, 4, metric=metric, keep_best=True)
    assert [epoch.val_accuracy for epoch in history] == [1, 5, 2, 2]
    assert torch.equal(weights(model), scores[1][1])


def test_stop_ends_after_the_current_step():
    event, model = Event(), network()
    steps = []

    def loss(outputs, targets):
        steps.append(len(outputs))
        if len(steps) == 3:
            event.set()
        return F.cross_entropy(outputs, targets)

    history = al.fit(model, SMALL.train, 5, loss=loss, batch_size=20, stop=event)
    assert len(steps) == 3
    assert [epoch.number for epoch in history] == [1]


def test_progress_callback_and_bar(monkeypatch, capsys):
    seen = []
    history = al.fit(network(), SMALL, 2, progress=seen.append)
    assert seen == history
    assert capsys.readouterr().err == ""
    monkeypatch.delenv("ADMM_PROGRESS", raising=False)
    al.fit(network(), SMALL, 2, progress=True)
    assert "epoch" in capsys.readouterr().err
    monkeypatch.setenv("ADMM_PROGRESS", "off")
    al.fit(network(), SMALL, 1, progress=True)
    assert capsys.readouterr().err == ""
    al.fit(network(), SMALL, 1, progress=seen.append)
    assert len(seen) == 3


@pytest.mark.parametrize("spoilt", [3, 50, 51])
def test_a_diverging_loss_stops_within_fifty_steps(spoilt):
    steps = []

    def loss(outputs, targets):
        steps.append(1)
        return F.cross_entropy(outputs, targets) * (math.inf if len(steps) == spoilt else 1)

    with pytest.raises(al.DivergenceError, match="no longer finite at epoch 1, by step") as caught:
        al.fit(network(), DIGITS, 2, loss=loss, batch_size=10)
    assert spoilt <= len(steps) < spoilt + 50
    message = str(caught.value)
    assert f"by step {len(steps)} " in message
    assert "lower the learning rate or rho, and check the inputs for NaN" in message
    assert "\n" not in message


def test_nan_weights_diverge():
    model = network()
    model[1].weight.data[0, 0] = math.nan
    with pytest.raises(al.DivergenceError):
        al.fit(model, SMALL, 1)


def test_training_uses_every_example_once_per_epoch():
    seen = []

    def watch(images, generator):
        seen.extend(images.sum((1, 2, 3)).tolist())
        return images

    al.fit(network(), DIGITS, 1, augment=watch, batch_size=100)
    sums = DIGITS.train.inputs.sum((1, 2, 3)).tolist()
    assert sorted(seen) == sorted(sums)
    assert seen != sums


def test_a_run_is_not_resumed_with_another_teacher(tmp_path):
    path = tmp_path / "run.ckpt"
    first, other = (al.Teacher(network(seed)) for seed in (1, 2))
    al.fit(network(), SMALL.train, 1, teacher=first, resume=path)
    with pytest.raises(ValueError, match=r"belongs to another run \(teacher's weights"):
        al.fit(network(), SMALL.train, 1, teacher=other, resume=path)


def test_a_shuffling_loader_draws_by_the_seed_and_leaves_the_global_one_alone():
    inputs, targets = torch.randn(32, 784, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 10
    ends = []
    for elsewhere in (1, 2):
        torch.manual_seed(elsewhere)
        before = torch.get_rng_state()
        model = network()
        loader = DataLoader(TensorDataset(inputs, targets), batch_size=8, shuffle=True)
        al.fit(model, loader, 2, seed=5)
        assert torch.equal(torch.get_rng_state(), before)
        ends.append(model[-1].weight.detach())
    assert torch.equal(*ends)


def test_a_model_of_which_nothing_trains_is_refused():
    model, signs = network(), al.OneOf((-1.0, 1.0))
    al.ADMM(model, {name: signs for name, _ in model.named_parameters()}).finalize()
    with pytest.raises(ValueError, match="nothing of the model trains: every tensor is fixed"):
        al.fit(model, SMALL, 1)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("few", [al.LowRank(30), al.Clusters(2), al.Binary()])
def test_an_optimizer_of_before_finalize_is_refused_where_something_else_trains_now(few, fused):
    """Its moments have another form; a fused step would write beyond the end of what trains now."""
    model, batches = nn.Linear(40, 30), [(torch.randn(8, 40), torch.randint(30, (8,)))]
    adam = torch.optim.Adam(model.parameters(), fused=fused)
    al.fit(model, batches, 1, optimizer=adam)
    al.ADMM(model, {"weight": few}).finalize()
    with pytest.raises(ValueError, match=r"older than a finalize\(\) or bake\(\).*: make it anew"):
        al.fit(model, batches, 1, optimizer=adam)
    before = model.weight.detach().clone()
    for inputs, targets in batches:  # a loop of one's own: what it does not know stays
        nn.functional.cross_entropy(model(inputs), targets).backward()
        adam.step()
    assert torch.equal(model.weight, before)
    adam = torch.optim.Adam(model.parameters(), fused=fused)
    al.fit(model, batches, 1, optimizer=adam)
    assert not torch.equal(model.weight, before)
    al.bake(model)
    with pytest.raises(ValueError, match="make it anew"):
        al.fit(model, batches, 1, optimizer=adam)


def test_an_optimizer_of_before_finalize_goes_on_with_a_mask():
    model, batches = nn.Linear(40, 30), [(torch.randn(8, 40), torch.randint(30, (8,)))]
    adam = torch.optim.Adam(model.parameters())
    al.fit(model, batches, 1, optimizer=adam)
    al.ADMM(model, {"weight": al.Sparse(keep=50)}).finalize()
    before = model.weight.detach().clone()
    al.fit(model, batches, 1, optimizer=adam)
    assert not torch.equal(model.weight, before)
    assert int(model.weight.count_nonzero()) == 50
    al.bake(model)
    al.fit(model, batches, 1, optimizer=adam)
