"""Recipes are checked whole before work starts; runs resume, and a run is what its recipe says."""

import json

import pytest
import torch
import yaml

import admm_lib as al
from admm_lib import data, pipelines, recipes, records

TINY = {
    "name": "tiny", "title": "a test", "model": "lenet300", "dataset": "digits", "track": "from-lenet300",
    "method": "admm", "seeds": [107], "shift_pixels": 1, "batch_size": 64, "precision": "32-true",
    "dense": {"epochs": 2, "lr": 0.002}, "keep": {"fc1.weight": 3000, "fc2.weight": 900, "fc3.weight": 300},
    "admm": {"epochs": 2, "lr": 0.001, "rho": 0.001, "rho_growth": 10}, "retrain": {"epochs": 2, "lr": 0.002},
}  # fmt: skip


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
        ({"method": "magic"}, "method must be one of admm, magnitude"),
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
        ({"dense": {"epochs": 0, "lr": 0.1}}, "dense: epochs must be"),
        ({"retrain": {"epochs": 2, "lr": -1}}, "retrain: lr must be"),
        ({"distill": {"temperature": 4}}, "distill needs exactly temperature, weight"),
        ({"distill": {"temperature": 0, "weight": 0.9}}, "distill: temperature must be a positive number"),
        ({"distill": {"temperature": 4, "weight": 1.1}}, "distill: weight is the teacher's share"),
        ({"distill": 4}, "distill must be a dict"),
        ({"precision": "8-bit"}, "precision must be one of"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_reason(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        recipes.read_recipe(written(tmp_path, **changes))
    assert str(caught.value).startswith("tiny.yaml: ")
    assert "\n" not in str(caught.value)


def test_what_is_not_yaml_and_what_is_not_there(tmp_path):
    (tmp_path / "bad.yaml").write_text("a: [1,")
    with pytest.raises(ValueError, match=r"bad\.yaml is not YAML"):
        recipes.read_recipe(tmp_path / "bad.yaml")
    with pytest.raises(FileNotFoundError):
        recipes.read_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize("path", sorted((data.HOME / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_committed_recipes_are_in_order(path):
    recipe = recipes.read_recipe(path)
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
    assert run["test_accuracy"] == round(al.evaluate(model, al.data.load("digits").test).accuracy, 4)
    assert json.loads(json.dumps(run)) == run


def test_finished_seeds_are_skipped_and_the_dense_stage_is_shared(elsewhere, monkeypatch):
    path = written(elsewhere)
    said = []
    pipelines.run_recipes([path], report=said.append)
    pipelines.run_recipes([path], report=said.append)
    assert said[-1] == "tiny seed 107: recorded already"
    trained = []
    monkeypatch.setattr(pipelines, "fit", lambda *_, **__: trained.append("stage"))
    pipelines.train_dense({**TINY, "method": "magnitude"}, 107, al.data.load("digits"))
    pipelines.compressed(TINY, 107, al.data.load("digits"))
    assert not trained  # the same dense stage, whatever the method; and the compressed network is kept too
    pipelines.train_dense({**TINY, "shift_pixels": 0}, 107, al.data.load("digits"))
    assert trained == ["stage"]


def test_an_interrupted_run_starts_again_from_the_last_finished_stage(elsewhere, monkeypatch):
    real, calls = pipelines.fit, []

    def dies_in_retraining(*args, **more):
        calls.append(args[2] if len(args) > 2 else more["epochs"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **more)

    monkeypatch.setattr(pipelines, "fit", dies_in_retraining)
    with pytest.raises(KeyboardInterrupt):
        pipelines.run_recipes([written(elsewhere)])
    assert records.names() == []  # nothing half-done is recorded
    pipelines.run_recipes([written(elsewhere)])
    assert len(calls) == 5  # dense, ADMM, killed; then ADMM and retraining, but not dense
    assert [run["seed"] for run in records.read("tiny")["runs"]] == [107]


def test_other_seeds_than_the_final_ones_are_not_recorded(elsewhere):
    with pytest.raises(ValueError, match=r"\[3\] are not final seeds"):
        pipelines.run_recipes([written(elsewhere)], seeds=[3])
    assert records.names() == []


def test_a_changed_recipe_does_not_mix_with_old_runs(elsewhere):
    pipelines.run_recipes([written(elsewhere)], report=lambda line: None)
    with pytest.raises(ValueError, match=r"tiny.*another recipe.*rename"):
        pipelines.run_recipes([written(elsewhere, seeds=[108], batch_size=32)], report=lambda line: None)


def test_the_same_seed_gives_the_same_network(elsewhere):
    images = al.data.load("digits")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        first, second = (
            pipelines.compress(pipelines.train_dense(TINY, 107, images)[0], TINY, 107, images)
            for _ in range(2)
        )
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


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
