"""Runs skip what is finished, and record what their recipe and their file say."""

import copy
import hashlib
import json

import pytest
import torch
from unit.tiny import STEP, TINY, trained, written

import admm_lib as al
from admm_lib import codec, pipelines, recipes, records, stages
from admm_lib.codec import tensors
from admm_lib.recipe_stages import Done, Stage

STAGES = {"admm": ["admm", "retrain"], "magnitude": ["magnitude"]}


@pytest.mark.parametrize("method", ["admm", "magnitude"])
def test_a_run_is_recorded_with_the_file_it_was_measured_on(elsewhere, method):
    path = written(elsewhere, method=method)
    pipelines.run_recipes([path], report=lambda line: None)
    (run,) = records.read("tiny")["runs"]
    model = al.load(elsewhere / run["file"])
    kept = sum(int(p.count_nonzero()) for p in model.parameters() if p.dim() > 1)
    assert run["nonzero_weights"] == 4200 == kept
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


def test_other_seeds_than_the_final_ones_are_not_recorded(elsewhere):
    with pytest.raises(ValueError, match=r"\[3\] are not final seeds"):
        pipelines.run_recipes([written(elsewhere)], seeds=[3])
    assert records.names() == []


def test_a_record_of_another_recipe_is_found_before_any_work(elsewhere, monkeypatch):
    records.add_run({**TINY, "batch_size": 32}, {"seed": 107, "test_accuracy": 90.0}, {})
    tiny, first = written(elsewhere), elsewhere / "first.yaml"
    first.write_text(tiny.read_text().replace("name: tiny", "name: first"))
    worked = []
    monkeypatch.setattr(pipelines, "record_run", lambda *args: worked.append(args))
    with pytest.raises(ValueError, match="the record tiny was made with another recipe: rename"):
        pipelines.run_recipes([first, tiny])
    assert worked == []


def done(name, seconds, network):
    measured = {"loss": [], "val_accuracy": [], "provenance": {"device": "cpu"}}
    origin = {"seconds": seconds, "commit": "", **measured}
    return Done(Stage(name, {}), network, origin)


@pytest.fixture
def as_trained(monkeypatch):
    """A function: `train` gives this path, of a dense and a pruned network, and these tries of a search."""
    dense, pruned = (al.models.pretrained("lenet300", "digits") for _ in range(2))
    al.ADMM(pruned, al.suggest(pruned, 50)).finalize()
    path = [done("dense", 8.0, dense), done("admm", 2.0, dense), done("retrain", 3.0, al.bake(pruned))]

    def train(tried):
        monkeypatch.setattr(pipelines, "train", lambda *_: (path, tried))
        return path

    return train


def test_a_run_is_charged_with_every_child_of_its_search_and_not_with_the_dense_stage(elsewhere, as_trained):
    as_trained([])
    assert pipelines.record_run(TINY, 107)["seconds"] == 5.0
    as_trained([{"seconds": [4.0]}, {"seconds": [5.0, 7.5]}])
    assert pipelines.record_run(TINY, 107)["seconds"] == 16.5


def test_what_is_recorded_was_measured_on_the_decoded_file(elsewhere, as_trained, monkeypatch):
    """A file that would come back as something else is found out."""
    dense, _, pruned = as_trained([])
    other = copy.deepcopy(pruned.network)
    other.fc3.weight.data[:5] = 0
    monkeypatch.setattr(pipelines.codec, "load", lambda file, model: other)
    run, images = pipelines.record_run(TINY, 107), al.data.load("digits")
    for split in ("val", "test"):
        scores = [
            al.evaluate(network, getattr(images, split)).accuracy
            for network in (dense.network, pruned.network, other)
        ]
        assert len(set(scores)) == 3
        assert run[f"dense_{split}_accuracy"] == round(scores[0], 4)
        assert run[f"{split}_accuracy"] == round(scores[2], 4)
    right = records.unpack_bits(run["test_correct"], len(images.test))
    assert 100 * right.double().mean().item() == pytest.approx(run["test_accuracy"], abs=1e-3)
    assert run["nonzero_weights"] == sum(int(p.count_nonzero()) for p in other.parameters() if p.dim() > 1)
    assert run["layers"][-1]["nonzeros"] == int(other.fc3.weight.count_nonzero())


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


@pytest.fixture
def recorded(elsewhere, monkeypatch):
    """A record whose file is of a format in which every value is spelled out, and its run."""
    few = {name: {"set": "levels", "bits": 2} for name in TINY["keep"]}
    path = written(elsewhere, sets=few, joint="intersection")
    with monkeypatch.context() as patched:
        patched.setattr(tensors, "_few_values", lambda *_: [])
        pipelines.run_recipes([path])
    return records.read("tiny")["runs"][0]


def test_a_packed_network_is_in_the_sets_of_its_last_steps(elsewhere):
    first = {"sets": {"fc1.weight": {"set": "binary"}}, "admm": STEP["admm"], "retrain": STEP["retrain"]}
    few = {name: {"set": "levels", "bits": 3} for name in TINY["keep"]}
    last = {**STEP, "sets": few, "joint": "intersection"}
    whole = {name: None for name in STEP}
    pipelines.run_recipes([written(elsewhere, **whole, steps=[first, last])])
    model = al.load(elsewhere / records.read("tiny")["runs"][0]["file"])
    sizes = model.fc1.weight.abs().unique()
    assert len(sizes) > 2  # zero, and more than the one magnitude of the first step


def test_a_packed_network_has_its_live_units_first_and_its_biases_in_their_sets(elsewhere):
    filters = {**STEP, "by": "filter", "keep": {"fc1.weight": 40, "fc2.weight": 25}}
    few = {f"{layer}.{part}": {"set": "levels", "bits": 3} for layer in ("fc1", "fc2", "fc3")
           for part in ("weight", "bias")}  # fmt: skip
    last = {**STEP, "sets": few, "joint": "intersection"}
    steps = {**dict.fromkeys(STEP), "steps": [filters, last], "finish": "incremental"}
    steps["steps"][1]["retrain"] = {"epochs": 4, "lr": 0.002}
    pipelines.run_recipes([written(elsewhere, **steps)])
    model = al.load(elsewhere / records.read("tiny")["runs"][0]["file"])
    for layer, most in ((model.fc1, 40), (model.fc2, 25)):
        alive = layer.weight.any(1)
        assert 0 < int(alive.sum()) <= most
        assert bool(alive[: int(alive.sum())].all())  # none behind a dead one
    for layer in (model.fc1, model.fc2, model.fc3):
        for each in (layer.weight.detach(), layer.bias.detach()):
            values = each[each != 0].unique()
            assert len(values) <= 8
            assert torch.equal(al.Levels(bits=3).project(each), each)


def test_files_are_written_anew_where_that_is_smaller_and_nothing_is_measured(
    elsewhere, recorded, monkeypatch
):
    before = al.load(elsewhere / recorded["file"])
    monkeypatch.setattr(pipelines, "evaluate", lambda *_: pytest.fail("something was measured"))
    said = []
    pipelines.reencode(report=said.append)
    (run,) = records.read("tiny")["runs"]
    assert run["file_bytes"] < recorded["file_bytes"] / 3
    content = (elsewhere / run["file"]).read_bytes()
    assert len(content) == run["file_bytes"] == run["ladder_bits"]["file"] / 8
    assert hashlib.sha256(content).hexdigest() == run["sha256"] != recorded["sha256"]
    same = {key for key in run if run.get(key) == recorded.get(key)}
    assert set(run) - same == {"ladder_bits", "file_bytes", "sha256", "reencoded"}
    after = al.load(elsewhere / run["file"])
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))
    assert len(said) == 1
    pipelines.reencode(report=said.append)
    assert len(said) == 1  # it is no smaller now


def test_a_killed_reencoding_is_made_good(elsewhere, recorded, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(records, "add_run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pipelines.reencode()
    assert records.read("tiny")["runs"][0]["sha256"] == recorded["sha256"]
    pipelines.reencode()
    (run,) = records.read("tiny")["runs"]
    content = (elsewhere / run["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == run["sha256"] != recorded["sha256"]


def test_another_file_than_the_records_is_refused(elsewhere, recorded):
    other = al.load(elsewhere / recorded["file"])  # with as many weights in each layer
    with torch.no_grad():
        other.fc3.weight.mul_(2)
    codec.save(other, elsewhere / recorded["file"])
    with pytest.raises(ValueError, match=r"tiny-seed107.admm is not its record's file"):
        pipelines.reencode(["tiny"])
