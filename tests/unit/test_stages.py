"""Stages do what the recipe says, resume after a kill, and leave what was pruned or quantized as it is."""

import re
from inspect import signature
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from unit.tiny import STEP, TINY, quantized, stepped, trained, written

import admm_lib as al
from admm_lib import data, recipe_stages, recipes, rivals, stages
from admm_lib.training import Epoch

ODD = {  # nothing of it is a default
    "shift_pixels": 3, "batch_size": 48, "precision": "bf16-mixed", "dense": {"epochs": 3, "lr": 0.004},
    "distill": {"temperature": 3, "weight": 0.4},
}  # fmt: skip
FILTERS = {
    "keep": {"fc1.weight": 40}, "by": "filter", "retrain": {"epochs": 4, "lr": 0.005},
    "admm": {"epochs": 2, "lr": 0.003, "rho": 0.02, "rho_growth": 7},
}  # fmt: skip
WEIGHTS = {
    "keep": {"fc1.weight": 2000, "fc2.weight": 300}, "retrain": {"epochs": 1, "lr": 0.007},
    "admm": {"epochs": 5, "lr": 0.006, "rho": 0.03, "balance": 5},
}  # fmt: skip


FEW = {"fc1.weight": {"set": "levels", "bits": 2}}


@pytest.fixture
def told(monkeypatch):
    """What `fit` and `ADMM` are told, defaults and all; nothing is trained."""
    fitted, made = [], []

    def arguments(function, args, more):
        given = signature(function).bind(*args, **more)
        given.apply_defaults()
        return given.arguments

    def fit(*args, **more):
        fitted.append(arguments(al.fit, args, more))
        epochs = [Epoch(number, 0.5, 90.0, 0.0) for number in range(1, fitted[-1]["epochs"] + 1)]
        fitted[-1]["progress"](epochs[0])
        return epochs

    def admm(*args, **more):
        made.append((arguments(al.ADMM, args, more), al.ADMM(*args, **more)))
        return made[-1][1]

    monkeypatch.setattr(stages, "fit", fit)
    monkeypatch.setattr(stages, "ADMM", admm)
    monkeypatch.setattr(data, "Shifts", lambda pixels, flip: ("shifts", pixels, flip))
    return fitted, made


def check_fitted(fitted, expected, recipe, images, folder):
    """Every call of `fit`: `expected` has name, epochs, rate, epochs before, and share of each."""
    names = {name: each.default for name, each in signature(al.fit).parameters.items()}
    own = ("model", "data", "epochs", "admm", "lr", "teacher", "seed", "resume", "progress")
    same = {"batch_size": recipe["batch_size"], "precision": recipe["precision"]}
    same["augment"] = ("shifts", recipe["shift_pixels"], False) if recipe["shift_pixels"] else None
    for given, (name, epochs, lr, before, share) in zip(fitted, expected, strict=True):
        assert given["data"] is images
        assert (given["epochs"], given["lr"], given["seed"]) == (epochs, lr, 107_000 + before)
        assert {key: given[key] for key in names if key not in own} == {
            key: same.get(key, default) for key, default in names.items() if key not in own
        }
        file = Path(given["resume"])
        assert file.parent == folder / "cache"
        assert re.fullmatch(rf"{name}-lenet300-seed107-[0-9a-f]{{16}}\.unfinished{share}", file.name)
    assert len({given["resume"] for given in fitted}) == len(fitted)


@pytest.mark.parametrize("shift_pixels", [0, 3])
def test_every_stage_trains_as_its_recipe_says(elsewhere, told, shift_pixels):
    fitted, made = told
    changes = ODD | {"shift_pixels": shift_pixels} | stepped(FILTERS, WEIGHTS)
    recipe, images, lines = recipes.read(written(elsewhere, **changes)), data.load("digits"), []
    (dense, _), *_ = trained(recipe, 107, images, report=lines.append)
    expected = [
        ("dense", 3, 0.004, 0, ""), ("admm", 2, 0.003, 3, ""), ("retrain", 4, 0.005, 5, ""),
        ("admm", 5, 0.006, 9, ""), ("retrain", 1, 0.007, 14, ""),
    ]  # fmt: skip
    check_fitted(fitted, expected, recipe, images, elsewhere)
    assert [line.split()[0] for line in lines] == [name for name, *_ in expected]
    assert fitted[0]["teacher"] is None
    for given in fitted[1:]:
        assert (given["teacher"].temperature, given["teacher"].weight) == (3, 0.4)
        assert all(map(torch.equal, given["teacher"].model.parameters(), dense.parameters()))
    (first, ramped), (second, balanced) = made
    assert [given["admm"] for given in fitted] == [None, ramped, None, balanced, None]
    assert [given["model"] for given in fitted[1:4:2]] == [first["model"], second["model"]]
    assert first["constraints"] == {"fc1.weight": al.Sparse(keep=40, by="filter")}
    assert second["constraints"] == {"fc1.weight": al.Sparse(keep=2000), "fc2.weight": al.Sparse(keep=300)}
    assert (first["rho"], first["balance"], second["rho"]) == (0.02, None, 0.03)
    assert [first["schedule"](update) for update in (0, 1, 2)] == pytest.approx([1, 7**0.5, 7])
    assert (second["schedule"], second["balance"]) == (None, 5)


def test_hard_thresholding_has_the_stages_of_admm(elsewhere, told):
    fitted, made = told
    recipe = recipes.read(written(elsewhere, method="hard-thresholding"))
    steps = recipe_stages.of_step(recipe, recipes.steps(recipe)[0])
    path = trained(recipe, 107, data.load("digits"))
    assert [each.name for each in steps] == ["hard-thresholding", "retrain"]
    assert [type(given["admm"]) for given in fitted] == [type(None), rivals.HardThresholding, type(None)]
    assert made == []  # no ADMM
    assert [int(path[1][0].fc1.weight.count_nonzero()), fitted[1]["epochs"]] == [3000, 2]


def test_sgd_and_mirror_images_where_the_recipe_asks_for_them(elsewhere, told):
    fitted, _ = told
    sgd = {"momentum": 0.8, "weight_decay": 0.003}
    recipe = recipes.read(written(elsewhere, sgd=sgd, flip=True, shift_pixels=0, **quantized(FEW)))
    trained(recipe, 107, data.load("digits"))
    assert [given["augment"] for given in fitted] == [("shifts", 0, True)] * 3
    for given, (_, lr) in zip(fitted, [(0, 0.002), (0, 0.001), (0, 0.002)], strict=True):
        (group,) = given["optimizer"].param_groups
        assert isinstance(given["optimizer"], torch.optim.SGD)
        assert {name: group[name] for name in ("lr", "nesterov", *sgd)} == {"lr": lr, "nesterov": True} | sgd
        assert {id(each) for each in group["params"]} == {id(each) for each in given["model"].parameters()}


def test_in_images_of_colour_the_mean_moves_in():
    shared = {"shift_pixels": 4, "flip": True}
    assert stages._moves({**shared, "dataset": "cifar10"}) == data.Shifts(4, flip=True, fill=0.0)
    assert stages._moves({**shared, "dataset": "mnist"}) == data.Shifts(4, flip=True)
    assert stages._moves({"shift_pixels": 0, "dataset": "cifar10"}) is None


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        ("magnitude", [(6, "")]), ("snap", [(6, "")]), ("straight-through", [(6, "")]),
        ("incremental", [(2, "-0.3"), (1, "-0.6"), (1, "-0.9"), (2, "")]),
    ],
)  # fmt: skip
def test_a_rival_trains_at_the_rate_of_retraining_for_the_epochs_of_both(elsewhere, told, method, parts):
    fitted, made = told
    pace = {name: FILTERS[name] for name in ("admm", "retrain")}
    few = {} if method == "magnitude" else quantized({"fc1.weight": {"set": "levels", "bits": 2}})
    changes = ODD | few | pace | {"method": method}
    recipe, images = recipes.read(written(elsewhere, **changes)), data.load("digits")
    trained(recipe, 107, images)
    expected, before = [("dense", 3, 0.004, 0, "")], 3
    for epochs, share in parts:
        expected.append((method, epochs, 0.005, before, share))
        before += epochs
    check_fitted(fitted, expected, recipe, images, elsewhere)
    assert all(given["admm"] is None for given in fitted)
    assert [each["constraints"] for each, _ in made] == (
        [recipes.sets(recipe, al.models.lenet300())] if method in ("magnitude", "snap") else []
    )


def test_the_shares_that_are_frozen_may_be_given(elsewhere, told):
    fitted, _ = told
    few = quantized({"fc1.weight": {"set": "levels", "bits": 2}})
    retrain = {**FILTERS["retrain"], "epochs": 9, "shares": [0.5, 0.75, 1]}
    changes = ODD | few | {"admm": FILTERS["admm"], "retrain": retrain, "finish": "incremental"}
    trained(recipes.read(written(elsewhere, **changes)), 107, data.load("digits"))
    assert [(given["epochs"], str(given["resume"]).partition(".unfinished")[2]) for given in fitted[2:]] == [
        (3, "-0.5"), (3, "-0.75"), (3, ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("finish", "parts"), [("straight-through", [""]), ("incremental", ["-0.3", "-0.6", "-0.9", ""])]
)
def test_a_rival_may_finish_what_admm_began(elsewhere, told, monkeypatch, finish, parts):
    fitted, _ = told
    few = quantized({"fc1.weight": {"set": "levels", "bits": 2}})
    pace = {name: FILTERS[name] for name in ("admm", "retrain")}
    recipe = recipes.read(written(elsewhere, **ODD, **few, **pace, finish=finish))
    images = data.load("digits")
    monkeypatch.setattr(al.ADMM, "finalize", lambda admm: pytest.fail("the weights were projected"))
    dense, _, last = (network for network, _ in trained(recipe, 107, images))
    expected = [("dense", 3, 0.004, 0, ""), ("admm", 2, 0.003, 3, "")]
    expected += [(finish, 4 // len(parts), 0.005, 5 + n, part) for n, part in enumerate(parts)]
    check_fitted(fitted, expected, recipe, images, elsewhere)
    assert [given["admm"] is None for given in fitted] == [True, False] + [True] * len(parts)
    target = al.Levels(2).project(dense.fc1.weight.detach())  # nothing was trained, so of the dense one
    assert torch.equal(last.fc1.weight, target)
    assert torch.equal(last.fc2.weight, dense.fc2.weight)


class Killed(Exception):
    pass


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("last", range(1, 9))
def test_a_killed_run_goes_on_from_its_last_epoch_to_the_same_end(elsewhere, last):
    """Killed after each of the epochs: of dense, ADMM, retraining, ADMM, ..., before it is kept.

    With all that has a state or draws at random: dropout, a teacher that is asked once, filters, a shrunk
    network, residual balancing, one budget for all layers.
    """
    recipe = {name: value for name, value in TINY.items() if name not in STEP}
    filters = {"keep": {"fc1.weight": 40, "fc2.weight": 30}, "by": "filter", "admm": TINY["admm"]}
    pace = {"epochs": 2, "lr": 0.001, "rho": 0.001, "balance": 10, "shrink": True}
    second = {"allocation": {"rule": "together", "ratio": 100}, "admm": pace}
    recipe |= {
        "steps": [
            {**filters, "retrain": {"epochs": 1, "lr": 0.002}},
            {**second, "retrain": {**TINY["retrain"], "shrink": True}},
        ],
        "dense": {**TINY["dense"], "dropout": {"fc2": 0.3}},
        "distill": {"temperature": 4, "weight": 0.9},
        "shift_pixels": 0,
        "precision": "bf16-mixed",
    }
    images, epochs = al.data.load("digits"), []

    def killed(line):
        epochs.append(line)
        if len(epochs) == last:
            raise Killed

    unbroken = trained(recipe, 107, images, home=elsewhere / "unbroken")
    with pytest.raises(Killed):
        trained(recipe, 107, images, report=killed, home=elsewhere / "broken")
    torch.rand(11)  # as another process would, from another place in its random numbers
    again = []
    resumed = trained(recipe, 107, images, report=again.append, home=elsewhere / "broken")
    assert len(again) == 2 + 2 + 1 + 2 + 2 - (last - 1)  # only the killed epoch is trained again
    for (model, _), (expected, _) in zip(resumed, unbroken, strict=True):
        assert all(map(torch.equal, model.parameters(), expected.parameters()))
    left = [path.suffix for path in (elsewhere / "broken" / "cache").iterdir()]
    assert left == [".safetensors"] * 5
    stages = [origin for _, origin in resumed]
    assert all(origin["seconds"] >= 0 for origin in stages)  # a stage here may round to none


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other network", "no origin"])
def test_a_damaged_file_of_a_finished_stage_is_named_with_the_remedy(elsewhere, told, damage):
    images = data.load("digits")
    trained(TINY, 107, images)
    (file,) = (elsewhere / "cache").glob("retrain-*")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-300])
    elif damage == "flipped":
        content = bytearray(file.read_bytes())
        content[-300] ^= 1
        file.write_bytes(content)
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        network = al.models.lenet5() if damage == "other network" else al.models.lenet300()
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, file)
    with pytest.raises(ValueError, match=f"{file.name} is damaged: delete it to train the stage again"):
        trained(TINY, 107, images)
    file.unlink()
    trained(TINY, 107, images)


def test_what_a_step_pruned_stays_pruned_in_the_next(elsewhere):
    """Masked ADMM and masked retraining, for as many steps as the recipe has."""
    steps = [
        {"keep": {"fc1.weight": n, "fc2.weight": n // 2}, "admm": TINY["admm"], "retrain": TINY["retrain"]}
        for n in (2000, 900, 400)
    ]
    recipe = {name: value for name, value in TINY.items() if name not in STEP} | {"steps": steps}
    networks = [model for model, _ in trained(recipe, 107, al.data.load("digits"), home=elsewhere)]
    assert len(networks) == 1 + 2 * 3
    for name, counts in {
        "fc1": (2000, 2000, 900, 900, 400, 400),
        "fc2": (1000, 1000, 450, 450, 200, 200),
    }.items():
        supports = [model.get_submodule(name).weight != 0 for model in networks]
        assert [int(each.sum()) for each in supports[1:]] == list(counts)
        assert all(bool((later <= earlier).all()) for earlier, later in pairwise(supports))
    assert (networks[-1].fc3.weight != 0).all()  # it has no budget


def test_dropout_is_of_the_dense_stage_alone(elsewhere, monkeypatch):
    seen = []
    real = stages.fit

    def watched(network, *args, **more):
        seen.append([m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)])
        return real(network, *args, **more)

    monkeypatch.setattr(stages, "fit", watched)
    recipe = {**TINY, "dense": {**TINY["dense"], "dropout": {"fc2": 0.2, "fc3": 0.5}}}
    networks = trained(recipe, 107, al.data.load("digits"))
    assert seen == [[0.2, 0.5], [], []]
    assert not any(isinstance(m, torch.nn.Dropout) for model, _ in networks for m in model.modules())


def test_retraining_on_the_shrunk_network_keeps_budget_and_zeros(elsewhere, monkeypatch):
    widths = []
    real = stages.fit

    def watched(network, *args, **more):
        widths.append(network.fc1.out_features)
        return real(network, *args, **more)

    monkeypatch.setattr(stages, "fit", watched)
    keep = {"fc1.weight": 500, "fc2.weight": 100, "fc3.weight": 60}
    recipe = {**TINY, "keep": keep, "retrain": {**TINY["retrain"], "shrink": True}}
    images = al.data.load("digits")
    _, (pruned, _), (retrained, _) = trained(recipe, 107, images)
    assert widths[:2] == [300, 300]
    assert widths[2] < 100  # most neurons have no weight left
    alive = al.shrink(pruned)  # what lies on dead paths is given up
    assert pruned.fc1.weight.count_nonzero() == 500
    assert retrained.fc1.weight.count_nonzero() == alive.fc1.weight.count_nonzero() < 500
    for name in keep:
        before, after = pruned.get_parameter(name), retrained.get_parameter(name)
        assert after.shape == before.shape
        assert bool(((after != 0) <= (before != 0)).all())
        assert not torch.equal(before, after)
    before, after = (al.evaluate(model, images.train) for model in (pruned, retrained))
    assert after.loss < before.loss


def test_filters_first_then_weights_of_the_shrunk_network(elsewhere, monkeypatch):
    """Both stages of the second step train what is left; a budget above that is no budget."""
    widths = []
    real = stages.fit

    def watched(network, *args, **more):
        widths.append((network.fc1.out_features, network.fc2.out_features))
        return real(network, *args, **more)

    monkeypatch.setattr(stages, "fit", watched)
    filters = {**STEP, "by": "filter", "keep": {"fc1.weight": 30, "fc2.weight": 20}}
    narrow = {stage: {**TINY[stage], "shrink": True} for stage in ("admm", "retrain")}
    elements = {**narrow, "keep": {"fc1.weight": 2000, "fc2.weight": 250, "fc3.weight": 1000}}
    recipe = {name: value for name, value in TINY.items() if name not in STEP}
    recipe["steps"] = [filters, elements]
    networks = [model for model, _ in trained(recipe, 107, al.data.load("digits"))]
    assert widths == [(300, 100)] * 3 + [(30, 20)] * 2
    assert [int(layer.weight.any(1).sum()) for layer in (networks[1].fc1, networks[1].fc2)] == [30, 20]
    for model in networks[3:]:
        assert int(model.fc1.weight.count_nonzero()) <= 2000
        assert int(model.fc2.weight.count_nonzero()) <= 250
        assert int(model.fc3.weight.count_nonzero()) <= 10 * 20  # its 1,000 are no longer there
        assert bool(((model.fc1.weight != 0).any(1) <= (networks[1].fc1.weight != 0).any(1)).all())


@pytest.mark.parametrize("rule", ["magnitude", "together"])
def test_a_rule_allocates_when_the_weights_are_there(elsewhere, rule):
    changes = {"allocation": {"rule": rule, "ratio": 50}, "admm": {**TINY["admm"], "balance": 10}}
    del changes["admm"]["rho_growth"]
    recipe = {name: value for name, value in TINY.items() if name != "keep"} | changes
    dense, _, pruned = (m for m, _ in trained(recipe, 107, al.data.load("digits")))
    kept = {name: int(weight.count_nonzero()) for name, weight in al.allocation.prunable(pruned).items()}
    assert sum(kept.values()) == 266_200 // 50
    chosen = {name: each.keep for name, each in al.allocation.by_magnitude(dense, 50).items()}
    assert (kept == chosen) == (rule == "magnitude")
