"""Ways of pruning under one protocol: tuned by the rule, recorded once, resumed, shared."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from unit.protocol import FEW, KEEP, WIDTHS, narrow

from admm_lib import comparison, data, files, records
from admm_lib.pruning_ways import WAYS, Way


def test_a_grid_goes_on_while_its_end_is_best():
    way = Way("", "rate", (1e-3, 2e-3, 4e-3), None)

    def tried(score):
        found = {}
        while (value := comparison._next(way, found)) is not None:
            found[value] = score(value)
        return list(found)

    assert tried(lambda value: -abs(value - 2e-3)) == [1e-3, 2e-3, 4e-3]
    assert tried(lambda value: value) == [1e-3, 2e-3, 4e-3, 8e-3, 16e-3, 32e-3, 64e-3]
    assert tried(lambda value: -value) == [1e-3, 2e-3, 4e-3, 5e-4, 2.5e-4, 1.3e-4, 6.8e-5]
    assert tried(lambda value: -abs(value - 8e-3)) == [1e-3, 2e-3, 4e-3, 8e-3, 16e-3]


def written(folder, **changes):
    path = folder / "few.yaml"
    path.write_text(yaml.safe_dump({**FEW, **changes}))
    return path


@pytest.fixture
def known(monkeypatch):
    """One value of each way, so that tuning is short."""
    for name in ("admm", "fresh", "torch-prune", "torch-pruning"):
        way = WAYS[name]
        monkeypatch.setitem(WAYS, name, replace(way, values=way.values[:1]))
    monkeypatch.setattr(comparison, "EXTENSIONS", 0)


@pytest.mark.usefixtures("known")
def test_it_is_recorded_resumed_and_the_same_when_killed(elsewhere):
    told, path = [], written(elsewhere)
    comparison.run(path, [120], told.append, elsewhere)
    record = files.read_json(elsewhere / "few.json", {})
    assert [(row["way"], row["at"]) for row in record["tuned"]] == [
        ("admm", "few"), ("fresh", "few"), ("torch-prune", "few"),
    ]  # fmt: skip
    assert [(row["seed"], row["way"], row["at"]) for row in record["runs"]] == [
        (120, way, at) for way, at in comparison.points(FEW)
    ]
    for row in record["runs"]:
        assert "torchao" not in row["provenance"]
        assert row["kept"] == FEW["budgets"][row["at"]]
        correct = records.unpack_bits(row["test_correct"], len(data.load("digits").test))
        assert row["test"] == pytest.approx(100 * correct.double().mean().item(), abs=1e-4)
    comparison.run(path, [120], told.append, elsewhere)  # nothing is left to do
    assert files.read_json(elsewhere / "few.json", {}) == record
    lost = {**record, "runs": record["runs"][:2]}
    files.write_json(elsewhere / "few.json", lost)
    comparison.run(path, [120], told.append, elsewhere)
    again = files.read_json(elsewhere / "few.json", {})
    assert [row["test_correct"] for row in again["runs"]] == [row["test_correct"] for row in record["runs"]]


@pytest.mark.usefixtures("known")
def test_a_full_disk_keeps_the_rows_that_are_there(elsewhere, monkeypatch):
    put, room = os.replace, iter(range(2))

    def failing(source, target):
        if Path(target).name == "few.json" and next(room, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(source, target)

    path = written(elsewhere, arms=[{"ways": ["torch-prune"], "at": ["few", "many"]}], seeds=[120])
    with monkeypatch.context() as full:
        full.setattr(os, "replace", failing)
        with pytest.raises(OSError, match="No space left"):
            comparison.run(path, folder=elsewhere)
    kept = files.read_json(elsewhere / "few.json", {})
    assert [len(kept["tuned"]), len(kept["runs"])] == [1, 1]
    comparison.run(path, folder=elsewhere)
    record = files.read_json(elsewhere / "few.json", {})
    assert record["tuned"] == kept["tuned"]
    assert [record["runs"][0]] == kept["runs"]
    assert [row["at"] for row in record["runs"]] == ["few", "many"]


@pytest.mark.usefixtures("known")
def test_filters_are_counted_in_the_smaller_network(elsewhere):
    changes = {"by": "filter", "budgets": {"few": WIDTHS}, "tuned_at": {"few": "few"}, "seeds": [120]}
    path = written(elsewhere, **changes, arms=[{"ways": ["admm", "torch-pruning"], "at": ["few"]}])
    comparison.run(path, folder=elsewhere)
    rows = files.read_json(elsewhere / "few.json", {})["runs"]
    assert [row["way"] for row in rows] == ["admm", "torch-pruning"]
    assert [row["provenance"].get("torch-pruning") for row in rows] == [None, version("torch-pruning")]
    assert [sum(row["kept"].values()) for row in rows] == [narrow(WIDTHS)] * 2


def test_the_number_that_was_best_is_taken(elsewhere):
    scores = {1e-4: 97.0, 3e-4: 98.5, 1e-3: 98.0, 3e-3: 96.0}
    tuned = [{"way": "admm", "at": "few", "value": value, "val": val} for value, val in scores.items()]
    tuned.append({"way": "fresh", "at": "few", "value": 9.0, "val": 99.0})
    files.write_json(elsewhere / "few.json", {"comparison": FEW, "tuned": tuned, "runs": []})
    work = comparison._Work(comparison.read(written(elsewhere)), elsewhere / "few.json", print)
    assert work.tuned("admm", "few") == work.value("admm", "many") == 3e-4


@pytest.mark.usefixtures("known")
def test_what_another_process_is_at_is_left_to_it(elsewhere):
    path, told = written(elsewhere), []
    work = comparison._Work(comparison.read(path), elsewhere / "few.json", told.append)
    with FileLock(work.cache / "120-torch-prune-few.lock"):
        comparison.run(path, [120], told.append, elsewhere)
    assert "few: 120-torch-prune-few is left to another process" in told
    rows = files.read_json(elsewhere / "few.json", {})["runs"]
    assert [row["way"] for row in rows] == ["admm", "fresh", "admm", "fresh"]


@pytest.mark.usefixtures("known")
def test_no_test_image_is_read_before_all_ways_are_tuned(elsewhere):
    path, told = written(elsewhere), []
    work = comparison._Work(comparison.read(path), elsewhere / "few.json", told.append)
    with ThreadPoolExecutor(1) as pool:
        with FileLock(work.cache / "tune-torch-prune-few.lock"):  # another process is still at it
            running = pool.submit(comparison.run, path, [120], told.append, elsewhere)
            while not any("fresh at few" in each for each in told):
                assert not running.done()
            with pytest.raises(TimeoutError):
                running.result(timeout=2)
            assert work.record()["runs"] == []
        running.result()
    assert {row["seed"] for row in work.record()["runs"]} == {120}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": "120"}, "few.yaml: a comparison has the fields name, title"),
        ({"name": "many"}, "few.yaml: name must be the file's, few"),
        ({"seeds": [20, 121]}, "the tuning seed is none of them"),
        ({"phases": [1, 0]}, "are counts, 1 or more"),
        ({"rate": -1.0}, "rates are positive"),
        ({"by": 3}, "each of its type; by, a view, may be missing"),
        ({"by": "block"}, r'by="block" needs group='),
        ({"seeds": [120, 120]}, "seeds are whole numbers, each of them once"),
        ({"seeds": ["a", "b"]}, "seeds are whole numbers, each of them once"),
        ({"dense": {"epochs": 1, "lr": 0.1, "drop": 1}}, "dense has epochs and lr"),
        ({"precision": "x"}, "precision is one of 32-true"),
        ({"shift_pixels": -2}, "shift_pixels 0 or more"),
        ({"by": "rows"}, "unknown view by='rows'"),
        ({"by": "filter"}, "conv1.weight keeps 1 to 20 filters, not 150"),
        ({"by": "filter", "budgets": {"many": WIDTHS, "few": WIDTHS}}, "torch-prune prunes by element"),
        ({"model": "lenet6"}, "lenet6"),
        ({"budgets": {"few": {**KEEP, "fc1.wieght": 1}}}, "did you mean 'fc1.weight'"),
        ({"budgets": {"few": {**KEEP, "fc2.weight": 5001}}}, "few: fc2.weight keeps 1 to 5000 weights, not"),
        ({"budgets": {"few": {"fc2.weight": 5}}}, "few has no budget for conv1.weight, conv2.weight, fc1.w"),
        ({"tuned_at": {"few": "few"}}, "tuned_at says for every budget"),
        ({"tuned_at": {"few": "few", "many": "most"}}, "tuned_at names most, which is no budget"),
        ({"arms": [{"ways": ["adam"], "at": ["few"]}]}, "adam is no way: magnitude, "),
        ({"arms": [{"ways": ["admm"], "at": ["most"]}]}, "most is no budget: few, many"),
        ({"arms": [{"ways": ["admm"], "at": ["many"]}]}, "admm is tuned at few, which it does not have"),
    ],
)
def test_what_is_not_in_order_is_said(elsewhere, changes, message):
    with pytest.raises(ValueError, match=message):
        comparison.read(written(elsewhere, **changes))


def test_other_seeds_and_another_record_of_that_name_are_refused(elsewhere):
    path = written(elsewhere)
    with pytest.raises(ValueError, match=r"few: \[5\] are not final seeds: \[120, 121\]"):
        comparison.run(path, [5], folder=elsewhere)
    kept = {"comparison": {**FEW, "images": 100}, "tuned": [], "runs": []}
    files.write_json(elsewhere / "few.json", kept)
    with pytest.raises(ValueError, match=r"few\.json was made by another comparison: rename this one"):
        comparison.run(path, [120], folder=elsewhere)


@pytest.mark.parametrize(
    ("runs", "changes", "fits"),
    [
        (1, {"title": "More", "arms": [*FEW["arms"], {"ways": ["random"], "at": ["few"]}]}, True),
        (0, {"arms": FEW["arms"][:1]}, True),
        (1, {"arms": FEW["arms"][:1]}, False),  # who sees what comes out must not choose the ways
        (1, {"budgets": {**FEW["budgets"], "some": KEEP},
             "tuned_at": {**FEW["tuned_at"], "some": "few"}}, True),
        (0, {"seeds": [120]}, True),
        (1, {"seeds": [120]}, False),  # nor the seeds
        (0, {"budgets": {**FEW["budgets"], "few": KEEP}}, False),
        (0, {"tuned_at": {"many": "many", "few": "few"}}, False),
        (0, {"rate": 0.002}, False),
        (0, {"by": "filter", "budgets": {"few": WIDTHS}, "tuned_at": {"few": "few"},
             "arms": [{"ways": ["admm"], "at": ["few"]}]}, False),
    ],
)  # fmt: skip
def test_a_record_goes_on_with_more_ways_and_budgets_and_nothing_else_changed(elsewhere, runs, changes, fits):
    made = [{"seed": 120, "way": "admm", "at": "few"}] * runs
    files.write_json(elsewhere / "few.json", {"comparison": FEW, "tuned": [], "runs": made})
    found = comparison.read(written(elsewhere, **changes))
    if fits:
        work = comparison._Work(found, elsewhere / "few.json", print)
        assert work.record() == {"comparison": found, "tuned": [], "runs": made}
    else:
        with pytest.raises(ValueError, match="made by another comparison"):
            comparison._Work(found, elsewhere / "few.json", print)


def test_more_images_than_there_are_are_refused(elsewhere):
    with pytest.raises(ValueError, match=r"few: there are 1,\d+ training images: lower images"):
        comparison.run(written(elsewhere, images=50_000), folder=elsewhere)


@pytest.mark.parametrize("path", sorted(comparison.HOME.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_committed_comparisons_are_in_order(path):
    found = comparison.read(path)
    count = narrow if found.get("by") == "filter" else lambda keep: sum(keep.values())
    sizes = {at: round(430_500 / count(keep)) for at, keep in found["budgets"].items()}
    assert sizes == {at: int(at.partition("x")[0]) for at in found["budgets"]}
