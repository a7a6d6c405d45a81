"""Recipes are checked whole before work starts; runs resume, and a run is what its recipe says."""

import json
from itertools import pairwise

import pytest
import torch
import yaml

import admm_lib as al
from admm_lib import data, pipelines, recipes, records, stages

TINY = {
    "name": "tiny", "title": "a test", "model": "lenet300", "dataset": "digits", "track": "from-lenet300",
    "method": "admm", "seeds": [107], "shift_pixels": 1, "batch_size": 64, "precision": "32-true",
    "dense": {"epochs": 2, "lr": 0.002}, "keep": {"fc1.weight": 3000, "fc2.weight": 900, "fc3.weight": 300},
    "admm": {"epochs": 2, "lr": 0.001, "rho": 0.001, "rho_growth": 10}, "retrain": {"epochs": 2, "lr": 0.002},
}  # fmt: skip


STEP = {name: TINY[name] for name in ("keep", "admm", "retrain")}


def trained(*args, **more):
    """Each finished stage's network and origin."""
    path, tried = pipelines.train(*args, **more)
    assert tried == []  # no tree search
    return [(each.network, each.origin) for each in path]


STAGES = {"admm": ["admm", "retrain"], "magnitude": ["magnitude"]}


def stepped(*steps):
    given = [
        {name: each for name, each in step.items() if each is not None} if isinstance(step, dict) else step
        for step in steps
    ]
    return {**dict.fromkeys(STEP), "steps": given}


def allocated(rule, ratio):
    return {"keep": None, "allocation": {"rule": rule, "ratio": ratio}}


def quantized(sets):
    return {"keep": None, "sets": sets}


def written(folder, **changes):
    recipe = {**TINY, **changes}
    path = folder / f"{TINY['name']}.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in recipe.items() if v is not None}))
    return path


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Records, files and cache in a temporary folder."""
    monkeypatch.setattr(records, "FOLDER", tmp_path / "data" / "records")
    monkeypatch.setattr(data, "HOME", tmp_path / "data")
    monkeypatch.setenv("ADMM_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "magic"}, "method must be one of admm, magnitude, snap, incremental, straight-through"),
        ({"track": "both"}, "track must be one of"),
        ({"model": "lenet7"}, "model must be one of lenet5, lenet300"),
        ({"dataset": "mnits"}, "dataset must be one of"),
        ({"seeds": 7}, "seeds must be a list"),
        ({"seeds": []}, "seeds must be different whole numbers from 100 on"),
        ({"seeds": [100, 100]}, "seeds must be different whole numbers"),
        ({"seeds": [0]}, "seeds must be different whole numbers"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"track": "from-lenet5"}, "track must be from-lenet300 or free"),
        ({"dense": None}, "the field 'dense' is missing"),
        ({"colour": "red"}, "unknown field 'colour'"),
        ({"name": "other"}, "must be the file's, 'tiny'"),
        ({"keep": {"fc1.weights": 10}}, "did you mean 'fc1.weight'"),
        ({"keep": {"fc3.weight": 1001}}, "keep=1001 is more than its 1000 weights"),
        ({"keep": {}}, "keep names no layer"),
        ({"admm": {"epochs": 2}}, "admm needs exactly"),
        ({"steps": []}, "keep belongs into each of the steps"),
        ({"keep": None, "admm": None, "retrain": None, "steps": []}, "steps names no step"),
        (stepped(7), "step 1: a step is a mapping of keep, by, allocation, sets, admm, retrain, not 7"),
        (stepped({"keep": {}}), "step 1: the field 'admm' is missing"),
        (stepped(STEP, {**STEP, "lr": 1}), "step 2: unknown field 'lr'"),
        ({"keep": None}, "give either keep, .* or allocation"),
        ({"allocation": {"rule": "lamp", "ratio": 20}}, "give either keep, .* or allocation"),
        (allocated("lamb", 20), "rule must be one of suggest, uniform, magnitude, lamp, together"),
        (allocated("lamp", 0.5), "allocation: ratio is weights per nonzero weight, 1 or more, but is 0.5"),
        (allocated("uniform", 5000), "ratio=5000 would leave fc3.weight without a weight"),
        (allocated(["lamp"], 20), "rule must be one of"),
        ({"admm": {"epochs": 2, "lr": 1, "rho": 1, "balance": 1}}, "balance is a ratio of residuals above 1"),
        ({**allocated("lamp", 5), "by": "filter"}, "rules count single weights"),
        (quantized(7), "sets must be a dict, but is 7"),
        (quantized({}), "sets names no layer"),
        (quantized({"fc1.weight": {"bits": 3}}), "fc1.weight needs a set, as in .set: levels, bits: 3."),
        (quantized({"fc1.weight": {"set": "octal"}}), "set must be one of clusters, levels, powers, ternary"),
        (quantized({"fc1.weight": {"set": "levels", "bits": 0}}), "bits is a whole number from 1 to 8"),
        (quantized({"fc1.weight": {"set": "binary", "bits": 1}}), "unexpected keyword argument 'bits'"),
        (quantized({"fc11.weight": {"set": "binary"}}), "did you mean 'fc1.weight'"),
        ({**quantized({"fc1.weight": {"set": "binary"}}), "by": "filter"}, "by= has no place beside them"),
        (
            {
                **quantized({"fc1.weight": {"set": "binary"}}),
                "retrain": {"epochs": 2, "lr": 1, "shrink": True},
            },
            "shrink is for pruned networks",
        ),
        (quantized({"fc1.weight": 7}), "fc1.weight needs a set"),
        (quantized({"fc1.weight": {"set": "clusters", "bits": 2, "seed": "x"}}), "seed is a whole number"),
        ({"method": "incremental"}, "method incremental quantizes: give sets"),
        ({"method": "straight-through"}, "method straight-through quantizes: give sets"),
        (
            {**quantized({"fc1.weight": {"set": "binary"}}), "method": "incremental"}
            | {"admm": {**TINY["admm"], "epochs": 1}},
            "incremental has 4 parts: give it as many epochs, not 3",
        ),
        (
            {**quantized({"fc1.weight": {"set": "binary", "per": "channel"}}), "method": "straight-through"},
            "finds levels for whole layers",
        ),
        (
            stepped({**STEP, "keep": None, "sets": {"fc1.weight": {"set": "binary"}}}, STEP),
            "step 2: fc1.weight is quantized already: prune first",
        ),
        ({"by": "row"}, "unknown view by='row'"),
        ({"by": "filter", "keep": {"fc1.weight": 301}}, "keep=301 is more than its 300 filters"),
        ({"search": {"width": 1}}, "width models are pruned first, and then one step at least"),
        ({"search": {"width": 1.5}}, "search: width must be a positive number"),
        ({"admm": {"epochs": 2, "lr": 1, "rho": 1}}, "admm needs either rho_growth or balance"),
        ({"admm": {**TINY["admm"], "balance": 10}}, "admm needs either rho_growth or balance"),
        (
            stepped(STEP, {**STEP, "keep": {**TINY["keep"], "fc1.weight": 3001}}),
            "step 2: fc1.weight keeps 3001, more than the 3000 of the step before",
        ),
        ({"dense": {"epochs": 0, "lr": 0.1}}, "dense: epochs must be"),
        ({"retrain": {"epochs": 2, "lr": -1}}, "retrain: lr must be"),
        ({"retrain": {"epochs": 2, "lr": float("nan")}}, "retrain: lr must be a positive number"),
        ({"admm": {**TINY["admm"], "rho": float("inf")}}, "admm: rho must be a positive number"),
        ({"retrain": {"epochs": 2, "lr": 1, "dropout": {}}}, "retrain needs exactly"),
        ({"retrain": {"epochs": 2, "lr": 1, "shrink": 1}}, "shrink must be true or false"),
        ({"retrain": {"epochs": 2, "lr": 1, "precision": "fp8"}}, "retrain: precision must be one of 32-true"),
        ({"dense": {"epochs": 2, "lr": 1, "dropout": 0.5}}, "dropout maps layers to the share"),
        (
            {"dense": {"epochs": 2, "lr": 1, "dropout": {"fc4": 0.5}}},
            "dropout: the network has no layer 'fc4'",
        ),
        ({"dense": {"epochs": 2, "lr": 1, "dropout": {"fc2": 1}}}, "share of fc2 lies from 0 to below 1"),
        ({"distill": {"temperature": 4}}, "distill needs exactly temperature, weight"),
        ({"distill": {"temperature": 0, "weight": 0.9}}, "distill: temperature must be a positive number"),
        ({"distill": {"temperature": 4, "weight": 1.1}}, "distill: weight is the teacher's share"),
        ({"distill": 4}, "distill must be a dict"),
        ({"precision": "8-bit"}, "precision must be one of"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_reason(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        recipes.read(written(tmp_path, **changes))
    assert str(caught.value).startswith("tiny.yaml: ")
    assert "\n" not in str(caught.value)


def test_what_is_not_yaml_and_what_is_not_there(tmp_path):
    (tmp_path / "bad.yaml").write_text("a: [1,")
    with pytest.raises(ValueError, match=r"bad\.yaml is not YAML"):
        recipes.read(tmp_path / "bad.yaml")
    with pytest.raises(FileNotFoundError):
        recipes.read(tmp_path / "none.yaml")


@pytest.mark.parametrize("path", sorted((data.HOME / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_committed_recipes_are_in_order(path):
    recipe = recipes.read(path)
    assert min(recipe["seeds"]) >= 100  # final seeds; lower ones are for tuning


@pytest.mark.parametrize("method", ["admm", "magnitude"])
def test_a_run_is_recorded_with_the_file_it_was_measured_on(elsewhere, method):
    path = written(elsewhere, method=method)
    pipelines.run_recipes([path], report=lambda line: None)
    (run,) = records.read("tiny")["runs"]
    model = al.load(elsewhere / run["file"])
    assert (
        run["nonzero_weights"] == 4200 == sum(int((p != 0).sum()) for p in model.parameters() if p.dim() > 1)
    )
    assert run["file_bytes"] == (elsewhere / run["file"]).stat().st_size
    assert [stage["name"] for stage in run["stages"]] == ["dense", *STAGES[method]]
    assert [len(stage["val_accuracy"]) for stage in run["stages"]] == (
        [2, 2, 2] if method == "admm" else [2, 4]
    )
    assert run["stages"][-1]["val_accuracy"][-1] == pytest.approx(run["val_accuracy"], abs=0.01)
    assert run["stages"][0]["loss"][0] > run["stages"][0]["loss"][1] > 0
    assert run["test_accuracy"] == round(al.evaluate(model, al.data.load("digits").test).accuracy, 4)
    assert json.loads(json.dumps(run)) == run


def test_finished_seeds_are_skipped_and_equal_stages_are_shared(elsewhere, monkeypatch):
    path = written(elsewhere)
    said = []
    pipelines.run_recipes([path], report=said.append)
    pipelines.run_recipes([path], report=said.append)
    assert said[-1] == "tiny seed 107: recorded already"
    fitted = []
    monkeypatch.setattr(stages, "fit", lambda *args, **_: fitted.append(args[2]) or [])
    images = al.data.load("digits")
    trained(TINY, 107, images)
    assert not fitted  # finished stages are kept
    trained({**TINY, "method": "magnitude"}, 107, images)
    assert fitted == [4]  # the same dense stage, whatever the method
    trained({**TINY, "retrain": {"epochs": 1, "lr": 0.002}}, 107, images)
    assert fitted == [4, 1]  # dense and ADMM are the same
    trained({**TINY, "shift_pixels": 0}, 107, images)
    assert fitted == [4, 1, 2, 2, 2]  # nothing is
    trained(TINY, 108, images)
    assert fitted == [4, 1, 2, 2, 2, 2, 2, 2]


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


LAYERS = ("fc1.weight", "fc2.weight", "fc3.weight")


@pytest.mark.parametrize("method", ["admm", "snap", "incremental", "straight-through"])
@pytest.mark.parametrize(
    "each", [{"set": "clusters", "bits": 2}, {"set": "levels", "bits": 2}, {"set": "binary"}]
)
def test_every_way_of_quantizing_ends_in_few_values(elsewhere, method, each):
    recipe = recipes.read(written(elsewhere, method=method, **quantized(dict.fromkeys(LAYERS, each))))
    (dense, _), *_, (network, origin) = trained(recipe, 0, data.load("digits"))
    total = recipe["admm"]["epochs"] + recipe["retrain"]["epochs"]
    assert len(origin["loss"]) == (recipe["retrain"]["epochs"] if method == "admm" else total)
    for name in LAYERS:
        weight = network.get_parameter(name)
        assert len(weight.unique()) <= 2 ** each.get("bits", 1)
        assert not torch.equal(weight, dense.get_parameter(name))
    assert list((elsewhere / "cache").glob("*.unfinished*")) == []


def test_layers_quantized_in_one_step_keep_their_signs_in_the_next(elsewhere):
    binary = {"set": "binary"}
    first = {**STEP, "sets": {"fc2.weight": binary}}
    last = {**STEP, "sets": {"fc1.weight": binary, "fc3.weight": binary}}
    both = [{name: step[name] for name in step if name != "keep"} for step in (first, last)]
    recipe = recipes.read(written(elsewhere, **stepped(*both)))
    _, _, (between, _), _, (network, _) = trained(recipe, 0, data.load("digits"))
    assert len(between.fc1.weight.unique()) > 1000
    for name in LAYERS:
        assert len(network.get_parameter(name).abs().unique()) == 1
    assert torch.equal(network.fc2.weight.sign(), between.fc2.weight.sign())
    assert not torch.equal(network.fc2.weight, between.fc2.weight)  # its magnitude goes on training


def test_pruned_then_clustered_keeps_both(elsewhere):
    clusters = {name: {"set": "clusters", "bits": 2} for name in LAYERS}
    last = {"sets": clusters, "admm": STEP["admm"], "retrain": STEP["retrain"]}
    recipe = recipes.read(written(elsewhere, **stepped(STEP, last)))
    *_, (network, _) = trained(recipe, 0, data.load("digits"))
    for name in LAYERS:
        weight = network.get_parameter(name)
        assert int(weight.count_nonzero()) == STEP["keep"][name]
        assert len(weight[weight != 0].unique()) <= 4


def test_a_killed_incremental_run_ends_as_one_that_was_not(elsewhere, monkeypatch):
    recipe = recipes.read(
        written(elsewhere, method="incremental", **quantized({"fc1.weight": {"set": "levels", "bits": 2}}))
    )
    whole = trained(recipe, 0, data.load("digits"), home=elsewhere / "whole")[-1]
    calls, fit = [], stages.fit

    def dies(*args, **kwargs):
        calls.append(kwargs)
        if len(calls) == 4:  # the dense network and two of four shares are done
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    monkeypatch.setattr(stages, "fit", dies)
    with pytest.raises(KeyboardInterrupt):
        trained(recipe, 0, data.load("digits"), home=elsewhere / "killed")
    monkeypatch.setattr(stages, "fit", fit)
    again = trained(recipe, 0, data.load("digits"), home=elsewhere / "killed")[-1]
    assert torch.equal(again[0].fc1.weight, whole[0].fc1.weight)
    assert again[1]["loss"] == whole[1]["loss"]


def test_methods_see_the_same_batches_in_the_same_order(elsewhere, monkeypatch):
    """ADMM's epochs and its retraining's are shuffled as those of the rival, which has one stage."""
    seen = {}
    for method in ("admm", "magnitude"):
        orders = []
        real = data.Split.batches

        def batches(split, size, generator=None, augment=None, orders=orders, real=real):
            if generator is not None:
                orders.append(generator.initial_seed())
            return real(split, size, generator, augment)

        with monkeypatch.context() as patch:
            patch.setattr(data.Split, "batches", batches)
            trained({**TINY, "method": method}, 107, al.data.load("digits"), home=elsewhere / method)
        seen[method] = orders
    assert seen["admm"] == seen["magnitude"] == list(range(107_001, 107_007))


def test_the_dense_network_is_the_teacher(elsewhere, monkeypatch):
    teachers = []
    real = stages.fit
    monkeypatch.setattr(
        stages, "fit", lambda *args, **more: teachers.append(more["teacher"]) or real(*args, **more)
    )
    recipe = {**TINY, "distill": {"temperature": 3, "weight": 0.5}}
    (dense, _), *_ = trained(recipe, 107, al.data.load("digits"))
    assert teachers[0] is None
    for teacher in teachers[1:]:
        assert (teacher.temperature, teacher.weight) == (3, 0.5)
        assert all(map(torch.equal, teacher.model.parameters(), dense.parameters()))


def test_other_seeds_than_the_final_ones_are_not_recorded(elsewhere):
    with pytest.raises(ValueError, match=r"\[3\] are not final seeds"):
        pipelines.run_recipes([written(elsewhere)], seeds=[3])
    assert records.names() == []


def test_a_changed_recipe_does_not_mix_with_old_runs(elsewhere):
    pipelines.run_recipes([written(elsewhere)], report=lambda line: None)
    with pytest.raises(ValueError, match=r"tiny.*another recipe.*rename"):
        pipelines.run_recipes([written(elsewhere, seeds=[108], batch_size=32)], report=lambda line: None)


def test_a_home_of_its_own_trains_everything_again_and_leaves_the_project_alone(elsewhere):
    recipe = written(elsewhere)
    pipelines.run_recipes([recipe])
    home = elsewhere / "build" / "records"
    pipelines.run_recipes([recipe], home=home)
    (first,), (second,) = (records.read("tiny", folder)["runs"] for folder in (None, home / "records"))
    assert (home.parent / second["file"]).exists()
    assert {path.name for path in (home / "cache").iterdir()} == {
        path.name for path in (elsewhere / "cache").iterdir()
    }
    assert first["provenance"] == second["provenance"]


def test_tree_search_replaces_the_parent_of_the_best_child(elsewhere):
    """Two models from the dense network, then children of both in every step; all epochs are charged."""
    steps = [
        {"keep": {"fc1.weight": n, "fc2.weight": n // 4}, "admm": TINY["admm"], "retrain": TINY["retrain"]}
        for n in (4000, 2000, 800, 300)
    ]
    recipe = {name: value for name, value in TINY.items() if name not in STEP}
    recipe |= {"steps": steps, "search": {"width": 2}}
    assert recipes.epochs(recipe) == 2 + 4 + 4 + 2 * (4 + 4)
    images, lines = al.data.load("digits"), []
    path, tried = pipelines.train(recipe, 107, images, report=lines.append)
    assert [len(each["val_accuracy"]) for each in tried] == [1, 1, 2, 2]
    assert [each["best"] for each in tried] == [
        each["val_accuracy"].index(max(each["val_accuracy"])) for each in tried
    ]
    epochs = [line for line in lines if ": loss " in line]
    assert len(epochs) == recipes.epochs(recipe)
    assert path[-1].network.fc1.weight.count_nonzero() == 300
    assert all(len(each["seconds"]) == len(each["val_accuracy"]) for each in tried)
    assert sum(sum(each["seconds"]) for each in tried) > sum(each.origin["seconds"] for each in path[1:])
    assert path[-1].origin["val_accuracy"][-1] == max(tried[-1]["val_accuracy"])
    # The winner's own path, found by hand: which of the first two it came from, and whether through step 3.
    parents = [[0], [1]]
    parents[tried[2]["best"]] = [*parents[tried[2]["best"]], 2]
    expected = [*parents[tried[3]["best"]], 3]
    keeps = [each.stage.settings["keep"] for each in path[1:] if each.stage.name == "admm"]
    assert keeps == [steps[number]["keep"] for number in expected]
