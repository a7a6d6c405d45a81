"""Studies of k-means: checked before work, recorded arm by arm, resumed."""

import json

import pytest
import torch
import yaml

from admm_lib import data, files, records, studies
from admm_lib.__main__ import main
from admm_lib.quantization import Clusters

BASE = {
    "name": "base", "title": "a test", "model": "lenet300", "dataset": "digits", "track": "from-lenet300",
    "method": "admm", "seeds": [107, 108], "shift_pixels": 0, "batch_size": 64, "precision": "32-true",
    "dense": {"epochs": 3, "lr": 0.002}, "keep": {"fc1.weight": 3000, "fc2.weight": 900, "fc3.weight": 300},
    "admm": {"epochs": 1, "lr": 0.001, "rho": 0.001, "rho_growth": 10}, "retrain": {"epochs": 1, "lr": 0.002},
}  # fmt: skip
STUDY = {
    "name": "few", "title": "a test", "base": "base", "start": "dense", "seeds": [107],
    "arms": [{"init": ["forgy", "linear"], "bits": [2]}, {"init": ["optimal"], "bits": [1]}],
    "train": {"epochs": 1, "lr": 0.001},
}  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "HOME", tmp_path / "data")
    monkeypatch.setattr(studies, "HOME", tmp_path / "data" / "studies")
    monkeypatch.setattr(records, "FOLDER", tmp_path / "data" / "records")
    monkeypatch.setenv("ADMM_CACHE", str(tmp_path / "cache"))
    for folder in ("recipes", "studies"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    (tmp_path / "data" / "recipes" / "base.yaml").write_text(yaml.safe_dump(BASE))
    return tmp_path


def written(home, **changes):
    path = home / "data" / "studies" / "few.yaml"
    study = {name: each for name, each in {**STUDY, **changes}.items() if each is not None}
    path.write_text(yaml.safe_dump(study))
    return path


def recorded(home):
    return json.loads((home / "data" / "studies" / "few.json").read_text())


def test_arms_are_all_pairs_in_order():
    assert studies.arms(STUDY) == [
        {"bits": 2, "init": "forgy"}, {"bits": 2, "init": "linear"}, {"bits": 1, "init": "optimal"}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": None}, "a study has the fields name, title, base"),
        ({"colour": "red"}, "a study has the fields"),
        ({"seeds": 107}, "a study has the fields"),
        ({"name": "other"}, "name must be the file's"),
        ({"start": "wet"}, "start dense or pruned"),
        ({"seeds": [1]}, r"some of the final seeds of base, but \[1\] are given"),
        ({"seeds": [[107]]}, r"but \[\[107\]\] are given"),
        ({"seeds": []}, "but none are given"),
        ({"base": "other"}, "there is no recipe other"),
        ({"train": {"epochs": 1}}, "train needs epochs and lr"),
        ({"train": {"epochs": 0, "lr": 0.1}}, "both positive"),
        ({"train": {"epochs": "x", "lr": -1}}, "both positive"),
        ({"train": {"epochs": 1, "lr": 1, "precision": "fp8"}}, "precision must be one of 32-true"),
        ({"train": {"epochs": 1, "lr": 1, "rate": 1}}, "train needs epochs and lr"),
        ({"train": 3}, "maybe train, each of its type"),
        ({"arms": [{"init": ["linear"], "bits": [2], "largest": "wide"}]}, "unknown start init='wide'"),
        ({"arms": [{"init": ["linear"], "bits": [2], "layers": ["fc9"]}]}, "fc9 is none of fc1.weight"),
        ({"arms": []}, "arms is a list of"),
        ({"arms": [{"init": ["linear"], "bits": [2], "per": ["layer"]}]}, "arms is a list of"),
        ({"arms": [{"init": ["linear"], "bits": [2, 2]}]}, "a pair of bits and start twice"),
        ({"arms": [{"init": ["lineer"], "bits": [2]}]}, "unknown start init='lineer'"),
        ({"arms": [{"init": ["linear"], "bits": [0]}]}, "bits is a whole number"),
        ({"arms": [{"init": ["linear"]}]}, "arms is a list of"),
        ({"arms": [{"init": ["linear"], "bits": [2], "iterations": "x"}]}, "iterations is a whole number"),
    ],
)
def test_a_wrong_study_is_refused_with_the_reason(home, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        studies.read(written(home, **changes))
    assert str(caught.value).startswith("few.yaml: ")


def test_an_arm_is_named_twice_in_whatever_order_its_fields_stand(home):
    arms = [{"init": ["linear"], "bits": [2]}, {"bits": [2], "init": ["linear"]}]
    path = written(home)
    path.write_text(yaml.safe_dump({**STUDY, "arms": arms}, sort_keys=False))
    with pytest.raises(ValueError, match="a pair of bits and start twice"):
        studies.read(path)


def test_what_is_not_yaml_is_refused(home):
    path = home / "data" / "studies" / "few.yaml"
    path.write_text("a: [1,")
    with pytest.raises(ValueError, match=r"few\.yaml is not YAML of .* while parsing"):
        studies.read(path)


def test_seeds_may_come_from_an_iterator(home):
    studies.run(written(home), seeds=(seed for seed in [107]))
    assert recorded(home)["runs"][0]["seed"] == 107


@pytest.mark.parametrize("path", sorted(studies.HOME.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_committed_studies_are_in_order(path):
    studies.read(path)


def test_every_arm_is_recorded_before_and_after(home):
    path, told = written(home), []
    studies.run(path, report=told.append)
    (run,) = recorded(home)["runs"]
    assert [(arm["init"], arm["bits"]) for arm in run["arms"]] == [
        ("forgy", 2),
        ("linear", 2),
        ("optimal", 1),
    ]
    images = data.load("digits")
    for arm in run["arms"]:
        correct = records.unpack_bits(arm["test_correct"], len(images.test))
        assert 100 * correct.float().mean().item() == pytest.approx(arm["after"]["test"], abs=1e-3)
        assert arm["error"] > 0
        assert arm["before"] != arm["after"]
    assert run["start"]["test"] > 80
    assert any("forgy" in line and "->" in line for line in told)


def test_limited_iterations_are_an_arm_of_their_own(home):
    few = {"init": ["linear"], "bits": [2], "iterations": 1}
    studies.run(written(home, arms=[{"init": ["linear"], "bits": [2]}, few]))
    record = studies.result("few", studies.HOME)
    ((whole,), (short,)) = (
        studies.found(record, init="linear", bits=2, **more) for more in ({}, {"iterations": 1})
    )
    assert short["error"] > whole["error"]


def test_without_training_an_arm_is_scored_once(home):
    path = written(home, train=None)
    studies.run(path)
    (run,) = studies.result("few", studies.HOME)["runs"]
    for arm in run["arms"]:
        assert {"before", "error"} <= arm.keys()
        assert not {"after", "seconds", "test_correct"} & arm.keys()


def test_an_arm_of_some_layers_leaves_the_others(home):
    names = ["fc1.weight", "fc2.weight", "fc3.weight"]
    each = [{"init": ["linear"], "bits": [2], "layers": [name]} for name in names]
    studies.run(written(home, train=None, arms=[{"init": ["linear"], "bits": [2]}, *each]))
    record = studies.result("few", studies.HOME)
    ((whole,), *parts) = (studies.found(record, **arm) for arm in studies.arms(record["study"]))
    assert sum(part["error"] for (part,) in parts) == pytest.approx(whole["error"])
    assert all(part["error"] > 0 for (part,) in parts)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_the_largest_weights_take_the_values_of_another_start(memory):
    weight = torch.randn(40, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    weight[0] = 0
    weight = weight.to(memory_format=memory)
    sets = [Clusters(2, init="density", iterations=0), Clusters(2, init="linear", iterations=0)]
    mixed, largest = studies._clustered(weight, sets)
    assert int(largest.sum()) == 20  # 1% of those that are not zero
    assert weight[largest].abs().min() >= weight[~largest].abs().max()
    assert torch.equal(mixed[largest], sets[1].project(weight)[largest])
    assert torch.equal(mixed[~largest], sets[0].project(weight)[~largest])
    alone, _ = studies._clustered(weight, sets[:1])
    assert torch.equal(alone, sets[0].project(weight))


def test_the_error_of_the_largest_is_a_part(home):
    start = {"init": ["density"], "bits": [2], "iterations": 0}
    arms = [start, {**start, "largest": "linear"}]
    studies.run(written(home, train=None, arms=arms))
    record = studies.result("few", studies.HOME)
    (plain,), (mixed,) = (studies.found(record, **arm) for arm in studies.arms(record["study"]))
    assert 0 < mixed["error_of_largest"] < plain["error_of_largest"] < plain["error"]
    rest = [each["error"] - each["error_of_largest"] for each in (plain, mixed)]
    assert rest[0] == pytest.approx(rest[1])


def test_a_stopped_study_goes_on_and_a_finished_one_is_left_alone(home, monkeypatch):
    path = written(home)
    studies.run(path)
    whole = recorded(home)
    (home / "data" / "studies" / "few.json").unlink()
    train, calls = studies._scored, []

    def dies(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train(*args)

    monkeypatch.setattr(studies, "_scored", dies)
    with pytest.raises(KeyboardInterrupt):
        studies.run(path)
    assert len(recorded(home)["runs"][0]["arms"]) == 2
    studies.run(path)
    assert len(calls) == 4
    for mine, other in zip(recorded(home)["runs"][0]["arms"], whole["runs"][0]["arms"], strict=True):
        assert {**mine, "seconds": 0} == {**other, "seconds": 0}
    told = []
    studies.run(path, report=told.append)
    assert told == ["few seed 107: recorded already"]


def test_a_result_is_whole_and_its_arms_are_found(home):
    with pytest.raises(FileNotFoundError, match=r"no record of the study 'few': `admm study"):
        studies.result("few", studies.HOME)
    studies.run(written(home, seeds=[107, 108]))
    record = studies.result("few", studies.HOME)
    both = studies.found(record, init="linear", bits=2)
    assert both == [run["arms"][1] for run in record["runs"]]
    assert studies.found(record, init="linear", bits=3) == []
    assert studies.found(record, init="linear", bits=2, iterations=1) == []
    del record["runs"][1]["arms"][2]
    files.write_json(studies.HOME / "few.json", record)
    with pytest.raises(ValueError, match=r"few\.json lacks arms of the seeds \[108\]"):
        studies.result("few", studies.HOME)


def check_untrained(record, arm):
    """No error is below the optimum's, the largest weights have a part in it, and nothing was trained."""
    least = {key: each for key, each in arm.items() if key in ("bits", "layers")} | {"init": "optimal"}
    for run, each, best in zip(
        record["runs"], studies.found(record, **arm), studies.found(record, **least), strict=True
    ):
        if "largest" not in arm:  # which has the centroids of two starts
            assert best["error"] * (1 - 1e-6) <= each["error"]
        assert 0 <= each["error_of_largest"] <= each["error"]
        assert all(10 < each["before"][split] <= run["start"][split] + 0.5 for split in ("val", "test"))
        assert "after" not in each


@pytest.mark.parametrize("path", sorted(studies.HOME.glob("*.json")), ids=lambda path: path.stem)
def test_the_committed_records_are_whole_and_made_by_their_study(path):
    record, study = studies.result(path.stem), studies.read(path.with_suffix(".yaml"))
    assert record["study"] == study
    for arm in studies.arms(study):
        assert len(studies.found(record, **arm)) == len(study["seeds"])
        if "train" not in study:
            check_untrained(record, arm)
        for each in studies.found(record, **arm) if "train" in study else ():
            correct = records.unpack_bits(each["test_correct"], 10_000)
            assert round(100 * correct.float().mean().item(), 4) == pytest.approx(
                each["after"]["test"], abs=1e-3
            )


def test_the_pruned_network_is_that_of_the_committed_file(home):
    assert main(["run", str(home / "data" / "recipes" / "base.yaml"), "--seed", "107"]) == 0
    assert main(["study", str(written(home, start="pruned"))]) == 0
    base, (run,) = records.read("base")["runs"][0], recorded(home)["runs"]
    assert run["start"] == {"val": base["val_accuracy"], "test": base["test_accuracy"]}
    assert main(["study", str(written(home, start="pruned")), "--seed", "105"]) == 2


def test_a_changed_study_does_not_mix_with_old_arms(home):
    studies.run(written(home))
    with pytest.raises(ValueError, match=r"few\.json was made by another study"):
        studies.run(written(home, train={"epochs": 2, "lr": 0.001}))
