"""Bad input: each mistake gives one line that says what was wrong and what to do."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import admm_lib as al
from admm_lib.holding import hold
from admm_lib.parametrizations import Constant

ONE = {"fc1.weight": al.Sparse(keep=10)}


def network():
    return al.models.create("lenet300", 0)


def poisoned(value=float("nan"), layer="fc2"):
    model = network()
    getattr(model, layer).weight.data[0, 0] = value
    return model


def admm(constraints, model=None, **options):
    return al.ADMM(model or network(), constraints, **options)


def messages(action, kind=ValueError):
    """The message, which must be a single line."""
    with pytest.raises(kind) as caught:
        action()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert len(message) < 250
    return message


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("fc1.wieght", "fc1.weight"),
        ("fc2", "fc2.weight"),
        ("fc4.weight", "fc"),
        ("FC3.weight", "fc3.weight"),
        ("", "weight"),
        ("flatten.weight", "weight"),
        ("fc1.bias.data", "fc1"),
        ("fc1.T", "fc1.weight"),
    ],
)
def test_an_unknown_layer_names_the_nearest(name, nearest):
    message = messages(lambda: admm({name: al.Sparse(keep=1)}))
    assert message.startswith(f"the model has no weight {name!r}; did you mean '")
    assert nearest in message.split("did you mean")[1]


def test_an_unknown_layer_in_a_tuple_or_in_a_model_without_weights():
    key = ("fc1.weight", "fc9.weight")
    assert "no weight 'fc9.weight'" in messages(lambda: admm({key: al.Sparse(keep=1)}))
    assert messages(lambda: admm(ONE, nn.ReLU())) == "the model has no weight 'fc1.weight'"


def test_buffers_are_no_weights():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    message = messages(lambda: admm({"1.running_mean": al.Sparse(keep=1)}, model))
    assert "no weight '1.running_mean'" in message


def test_keep_larger_than_the_layer():
    message = messages(lambda: admm({"fc3.weight": al.Sparse(keep=1001)}))
    assert message == "fc3.weight: keep=1001 is more than its 1000 weights; lower it"
    message = messages(lambda: admm({("fc2.weight", "fc3.weight"): al.Sparse(keep=40_000)}))
    assert message == "fc2.weight + fc3.weight: keep=40000 is more than its 31000 weights; lower it"


def test_a_ratio_below_one():
    message = messages(lambda: al.Sparse(ratio=0.5))
    assert "1 or more, but is 0.5" in message
    assert "write ratio=1/f" in message


@pytest.mark.parametrize("nothing", [{}, [], None])
def test_no_constraints(nothing):
    message = messages(lambda: admm(nothing))
    assert message == 'no constraints: give at least one, such as {"fc1.weight": Sparse(ratio=10)}'


@pytest.mark.parametrize("wrong", [10, "10", al.Sparse, None, [], [10]])
def test_something_that_is_no_set(wrong):
    message = messages(lambda: admm({"fc1.weight": wrong}))
    assert message.startswith("fc1.weight: ")
    assert "is not a constraint set, such as Sparse(ratio=10)" in message


@pytest.mark.parametrize("key", [(), ("fc1.weight", "fc1.weight")])
def test_a_key_that_names_nothing_or_one_weight_twice(key):
    message = messages(lambda: admm({key: al.Sparse(keep=1)}))
    assert "name at least one weight, each once" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bad_weights(value):
    sets = {"fc1.weight": al.Sparse(keep=1), "fc2.weight": al.Sparse(keep=1)}
    message = messages(lambda: admm(sets, poisoned(value)))
    assert message.startswith("fc2.weight holds NaN or infinite weights: restart from a good")
    joint = {("fc1.weight", "fc2.weight"): al.Sparse(keep=1)}
    assert messages(lambda: admm(joint, poisoned(value))).startswith("fc2.weight holds NaN")
    admm(ONE, poisoned(value))  # the layers that it is not asked about are not its concern


def test_a_bad_loss():
    data = al.data.load("digits")
    message = messages(lambda: al.fit(poisoned(), data, 1), al.DivergenceError)
    assert message.startswith("the loss is no longer finite at epoch 1, by step 10")
    assert "lower the learning rate or rho, and check the inputs for NaN" in message


@pytest.mark.parametrize("rho", [0, -1, float("nan"), float("inf"), "1", None, {"fc1.weight": 0}])
def test_a_bad_rho(rho):
    message = messages(lambda: admm(ONE, rho=rho))
    assert message.startswith("fc1.weight: rho must be a positive number, but is ")


@pytest.mark.parametrize("rho", [{}, {"fc2.weight": 1}, {"fc1.weight": 1, "fc2.weight": 1}])
def test_a_rho_for_other_layers(rho):
    message = messages(lambda: admm(ONE, rho=rho))
    assert message.startswith("rho as a dict needs the keys of the constraints; ")
    odd = ", ".join(sorted({"fc1.weight"} ^ set(rho)))
    assert message.endswith(f"; {odd} is in only one of them")


@pytest.mark.parametrize("factor", [0, -1, float("nan"), float("inf")])
def test_a_schedule_that_leads_nowhere(factor):
    message = messages(lambda: admm(ONE, schedule=lambda update: factor))
    assert message.startswith("rho must be a positive number, but would become")
    running = admm(ONE)
    assert messages(lambda: running.set_rho(factor))
    assert running.rho == {"fc1.weight": 1e-3}


def test_schedule_and_balance_together():
    message = messages(lambda: admm(ONE, schedule=lambda update: 1, balance=10))
    assert message == "schedule= and balance= both set rho: give one of them"


@pytest.mark.parametrize("balance", [1, 0, -3, float("nan")])
def test_a_balance_that_is_no_ratio(balance):
    message = messages(lambda: admm(ONE, balance=balance))
    assert message.startswith("balance is a ratio of residuals above 1 (10 is usual), but is")


def test_the_penalty_before_any_gradient():
    message = messages(admm(ONE).add_penalty_gradient, RuntimeError)
    assert message == "fc1.weight has no gradient: call loss.backward() first"


def test_a_layer_that_something_else_holds():
    normed = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 3)))
    fixed = nn.Sequential(nn.Linear(3, 3))
    hold(fixed[0], "weight", torch.ones(3, 3), Constant(torch.ones(3, 3)))
    for model in (normed, fixed):
        message = messages(lambda model=model: admm({"0.weight": al.Sparse(keep=1)}, model))
        assert message.startswith("0.weight is held by something other than a mask: ")
        admm({"0.weight": al.Sparse(keep=1)}, al.bake(model)).finalize()


DIGITS = al.data.load("digits")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"epochs": 0}, "epochs must be 1 or more, but is 0"),
        ({"epochs": -2}, "epochs must be 1 or more, but is -2"),
        ({"schedule": "step"}, "schedule must be \"one-cycle\" or \"constant\", but is 'step'"),
        ({"precision": "fp8"}, "precision must be one of 32-true, "),
        ({"data": DIGITS.train, "keep_best": True}, "keep_best needs validation data"),
        ({"data": []}, "the training data gave no batch"),
        ({"data": iter([])}, "this iterable has no length, which a one-cycle needs"),
        ({"batch_size": 0}, "batch_size must be 1 or more, but is 0"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else value,
)
def test_bad_arguments_of_fit(options, expected):
    options = {"data": DIGITS, "epochs": 1} | options
    assert messages(lambda: al.fit(network(), **options)).startswith(expected)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("mse", " is 'mse'"),
        (nn.MSELoss, " is the class MSELoss: pass MSELoss()"),
        (3, " is 3"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", ["loss", "metric"])
def test_a_loss_or_metric_that_is_no_function(name, wrong, told):
    model = network()
    for act in (
        lambda: al.fit(model, DIGITS, 1, **{name: wrong}),
        lambda: al.evaluate(model, DIGITS.val, **{name: wrong}),
    ):
        message = messages(act)
        such = {"loss": "torch.nn.functional.mse_loss", "metric": "admm_lib.evaluation.accuracy"}[name]
        assert message.startswith(f"{name} must be a function of outputs and targets, such as {such}, but is")
        assert message.endswith(told)


def test_keep_best_with_admm():
    model = network()
    running = admm(ONE, model)
    message = messages(lambda: al.fit(model, DIGITS, 1, admm=running, keep_best=True))
    assert message == "keep_best needs validation data, goes without admm=, and without resume="


def test_admm_in_half_precision():
    """fp16 scales the loss up; the penalty's gradient, added as it is, would all but vanish."""
    model = network()
    running = admm(ONE, model)
    message = messages(lambda: al.fit(model, DIGITS, 1, admm=running, precision="16-mixed"))
    assert message.startswith('ADMM does not run in "16-mixed": use "bf16-mixed"')


def test_evaluate_wants_one_split():
    assert messages(lambda: al.evaluate(network(), DIGITS)) == (
        "evaluate takes one split: data.train, data.val or data.test"
    )


def test_admm_of_another_model():
    ours, theirs = al.models.lenet300(), al.models.lenet300()
    admm = al.ADMM(theirs, {"fc1.weight": al.Sparse(ratio=10)})
    with pytest.raises(ValueError, match="made for another model"):
        al.fit(ours, [(torch.zeros(2, 1, 28, 28), torch.tensor([0, 1]))], 1, admm=admm)


def test_a_data_folder_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("ADMM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(al.data.DataError, match="which is no folder: correct it"):
        al.data.load("auto")


def test_a_dataset_without_a_loader():
    examples = torch.utils.data.TensorDataset(torch.zeros(2, 1, 28, 28), torch.tensor([0, 1]))
    for act in (lambda: al.evaluate(network(), examples), lambda: al.fit(network(), examples, 1)):
        assert messages(act).startswith("a Dataset gives single examples: wrap it, DataLoader(")
    pair = examples.tensors
    for act in (lambda: al.evaluate(network(), pair), lambda: al.fit(network(), pair, 1)):
        assert messages(act).startswith("tensors are no batches: DataLoader(TensorDataset(")


def test_admm_after_its_end():
    model = network()
    running = admm(ONE, model)
    model(DIGITS.train.inputs[:2]).sum().backward()
    running.finalize()
    for act in (running.finalize, running.update, running.add_penalty_gradient):
        with pytest.raises(RuntimeError) as problem:
            act()
        assert str(problem.value) == "this ADMM is finalized: train on without it, or make a new one"


def test_a_ratio_that_leaves_a_layer_without_weights():
    message = messages(lambda: al.suggest(al.models.lenet300(), ratio=1e6))
    assert message == "ratio=1e+06 would leave fc1.weight without a weight: lower it"


def test_the_state_of_another_admm_changes_nothing():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    one = al.ADMM(model, {"0.weight": al.Sparse(keep=2)}, rho=0.1)
    both = al.ADMM(model, {"0.weight": al.Sparse(keep=2), "1.weight": al.Sparse(keep=2)}, rho=0.5)
    other = al.ADMM(model, {"1.weight": al.Sparse(keep=2)}, rho=0.5)
    for each in (both, other):
        message = messages(lambda each=each: one.load_state_dict(each.state_dict()))
        assert message == "the state is of an ADMM over other layers or sets: make this one as that was"
    assert one.rho == {"0.weight": 0.1}


def test_straight_through_that_never_looks_is_refused():
    model = nn.Sequential(nn.Linear(4, 3))
    message = messages(lambda: al.rivals.straight_through(model, {"0.weight": al.Levels(2)}, every=0))
    assert message == "levels are looked for every 1 or more steps, not every 0"
    assert type(model[0].weight) is nn.Parameter


def test_a_model_without_parameters_is_evaluated():
    batch = torch.eye(3), torch.tensor([0, 1, 0])
    assert al.evaluate(nn.Identity(), [batch]).accuracy == pytest.approx(200 / 3)
