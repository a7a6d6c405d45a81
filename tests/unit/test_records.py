"""Records: intervals, bitmaps, and every committed record re-counted from its file."""

import hashlib
import json
import os
import re
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch

import admm_lib as al
from admm_lib import claims, data, files, pipelines, recipes, records, results


def run(seed, dense=99.0, accuracy=99.0, **more):
    start = {"dense_test_accuracy": dense, "dense_test_correct": bitmap(1, 0, 1)}
    return {"seed": seed, "test_accuracy": accuracy, **start, **more}


def bitmap(*correct):
    return records.pack_bits(torch.tensor(correct, dtype=torch.bool))


def record(name, runs, **changes):
    return {"name": name, "runs": runs, "recipe": RECIPE | changes}


RECIPE = {
    "name": "toy", "model": "lenet5", "track": "from-lenet5", "dataset": "mnist", "batch_size": 8,
    "shift_pixels": 0, "dense": {"epochs": 1}, "keep": {}, "admm": {"epochs": 2}, "retrain": {"epochs": 3},
}  # fmt: skip


def test_interval_is_students():
    found = records.interval([1.0, 2.0, 3.0])
    assert found.mean == pytest.approx(2.0)
    assert found.high - found.mean == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)  # t(0.975, 2), s = 1
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_one_value_says_nothing_and_none_is_an_error():
    assert records.interval([1.0]).low == -np.inf
    with pytest.raises(ValueError, match="at least one value"):
        records.interval([])


def test_pairs_are_made_by_seed():
    ours, theirs = (
        record("a", [run(1, accuracy=99.0), run(2, accuracy=98.0)]),
        record("b", [run(2, accuracy=97.5)]),
    )
    assert records.paired_interval(ours, theirs).mean == pytest.approx(0.5)
    with pytest.raises(ValueError, match="share no seed"):
        records.paired_interval(ours, record("c", [run(3)]))
    with pytest.raises(ValueError, match="a and d start from other dense networks at seed 2"):
        records.paired_interval(ours, record("d", [run(2, dense_test_correct=bitmap(1, 1, 1))]))
    for changes in ({"batch_size": 9}, {"shift_pixels": 2}, {"retrain": {"epochs": 4}}):
        with pytest.raises(ValueError, match="a and e differ in epochs, batch size or augmentation"):
            records.paired_interval(ours, record("e", [run(2)], **changes))
    longer = {"admm": {"epochs": 1}, "retrain": {"epochs": 4}}  # in all as many
    assert records.paired_interval(ours, record("f", [run(2)], **longer)).mean == pytest.approx(-1.0)


def test_lossless_needs_the_whole_interval():
    steady = record("a", [run(i, 99.0, 98.95) for i in range(5)])
    spread = record("b", [run(i, 99.0, 98.95 + 0.3 * (-1) ** i) for i in range(5)])
    assert records.is_lossless(steady)
    assert not records.is_lossless(spread)
    assert not records.is_lossless(record("c", [run(1, 99.0, 99.5)]))  # one run is no evidence


@pytest.mark.parametrize("count", [1, 8, 1003])
def test_bitmaps_come_back(count):
    correct = torch.rand(count, generator=torch.Generator().manual_seed(0)) < 0.9
    assert torch.equal(records.unpack_bits(records.pack_bits(correct), count), correct)


def test_runs_are_added_in_order_and_replaced_by_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    for seed, accuracy in ((101, 99.0), (100, 98.0), (101, 99.5)):
        records.add_run(RECIPE, run(seed, accuracy=accuracy), {"file": "sum"})
    found = records.read("toy")
    assert [(r["seed"], r["test_accuracy"]) for r in found["runs"]] == [(100, 98.0), (101, 99.5)]
    assert found["summary"]["test_accuracy_mean"] == pytest.approx(98.75)
    assert records.names() == ["toy"]
    assert list(tmp_path.iterdir()) == [tmp_path / "toy.json"]  # no temporary file is left


def test_runs_added_side_by_side_are_all_there(tmp_path):
    """A process each, since a lock that only threads see would not do."""
    words = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from unit.test_records import RECIPE, run
from admm_lib import records
print("ready", flush=True)
sys.stdin.read(1)
for seed in range(int(sys.argv[1]), 140, 2):
    records.add_run(RECIPE, run(seed, accuracy=99.0), {}, Path(sys.argv[2]))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parts = [
        subprocess.Popen(
            [sys.executable, "-c", words, str(first), str(tmp_path)],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for first in (100, 101)
    ]  # fmt: skip
    assert [part.stdout.readline() for part in parts] == ["ready\n"] * 2
    for part in parts:  # at once
        part.stdin.write("!")
        part.stdin.flush()
    assert [part.communicate()[0] for part in parts] == ["", ""]
    assert [part.returncode for part in parts] == [0, 0]
    (path,) = tmp_path.glob("*.json")
    assert [each["seed"] for each in records.read(path.stem, tmp_path)["runs"]] == list(range(100, 140))


def test_a_run_on_other_data_is_refused(tmp_path):
    records.add_run(RECIPE, run(100, accuracy=99.0), {"archive": "AAA"}, tmp_path)
    with pytest.raises(ValueError, match=r"is of other data: \{'archive': 'AAA'\}"):
        records.add_run(RECIPE, run(101, accuracy=99.0), {"archive": "BBB"}, tmp_path)


def test_a_bitmap_of_another_length_is_refused():
    with pytest.raises(ValueError, match="16 bits are packed, not 32"):
        records.unpack_bits(records.pack_bits(torch.ones(16, dtype=torch.bool)), 32)


def test_arms_of_a_study_are_no_headlines(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    records.add_run(RECIPE, run(100, accuracy=99.0), {})
    records.add_run({**RECIPE, "name": "arm", "study": "steps"}, run(100, accuracy=98.0), {})
    assert records.names() == ["arm", "toy"]
    assert records.headlines() == ["toy"]


def test_missing_and_damaged_records_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no record 'x': there are none yet"):
        records.read("x")
    (tmp_path / "x.json").write_text('{"name": "x"')
    with pytest.raises(ValueError, match=r"x\.json is damaged \(Expecting"):
        records.read("x")
    files.write_json(tmp_path / "x.json", {"name": "x"})
    with pytest.raises(ValueError, match=r"lacks dataset, model"):
        records.read("x")


# The committed records.

COMMITTED = records.names()
RUNS = [(name, run) for name in COMMITTED for run in records.read(name)["runs"]]


HEADLINES = records.headlines()
# Made while pages, tables and figures had uncommitted changes, and so marked: no more records than these.
BESIDE_OTHER_WORK = (
    "clusters-lenet300-", "quantized-lenet300-", "lenet300-1bit", "lenet5-binary", "lenet5-ternary",
    "lenet5-2bit", "lenet5-3bit", "lenet5-4bit",
)  # fmt: skip


# Evaluating a file takes seconds: those of studies are for the slow tier, and see a part of the images.
PART = 1_000
LARGE = 10_000_000  # weights, of which reading a file takes seconds, too
SCORED = [
    (name, run) if name in HEADLINES else pytest.param((name, run), marks=pytest.mark.full)
    for name, run in RUNS
]
DECODED = [
    pytest.param(pair, marks=pytest.mark.full) if pair[1]["weights"] > LARGE else pair for pair in RUNS
]


def of_run(pair):
    return f"{pair[0]}-{pair[1]['seed']}"


def test_there_are_records():
    assert {"lenet5-71x", "lenet5-71x-plain", "lenet5-71x-plain-distilled"} <= set(COMMITTED)
    assert {"lenet300-23x", "lenet300-23x-plain", "lenet300-23x-magnitude"} <= set(COMMITTED)


@pytest.mark.parametrize("name", COMMITTED)
def test_a_record_holds_its_committed_recipe_and_all_its_seeds(name):
    found = records.read(name)
    recipe = recipes.read(data.HOME / "recipes" / f"{name}.yaml")
    assert found["recipe"] == recipe
    assert [each["seed"] for each in found["runs"]] == recipe["seeds"]
    assert found["summary"] == records._summary(found["runs"])
    if not name.startswith(BESIDE_OTHER_WORK):
        assert all("-dirty" not in each["provenance"]["commit"] for each in found["runs"])


@pytest.mark.parametrize("pair", DECODED, ids=of_run)
def test_the_file_decodes_to_what_the_record_counts(pair):
    name, found = pair
    file = data.HOME.parent / found["file"]
    content = file.read_bytes()
    assert hashlib.sha256(content).hexdigest() == found["sha256"]
    assert len(content) == found["file_bytes"] == found["ladder_bits"]["file"] / 8
    model = pipelines.network(records.read(name)["recipe"], file)
    weights = {n: p for n, p in model.named_parameters() if p.dim() > 1}
    own = sum(p.numel() for p in weights.values())
    assert getattr(model, "reference_weights", own) == found["weights"]
    assert sum(int(p.count_nonzero()) for p in weights.values()) == found["nonzero_weights"]
    for layer in found["layers"]:
        assert int(weights[layer["name"]].count_nonzero()) == layer["nonzeros"]
    last = recipes.steps(records.read(name)["recipe"])[-1]
    if recipes.for_bytes(last):
        assert 0.95 * last["allocation"]["bytes"] <= len(content) <= last["allocation"]["bytes"]


@pytest.mark.parametrize("pair", RUNS, ids=of_run)
def test_the_bitmaps_agree_with_the_accuracies(pair):
    name, found = pair
    images = 5_000 if ":" in records.read(name)["dataset"] else 10_000
    for bitmap, accuracy in (
        ("test_correct", "test_accuracy"),
        ("dense_test_correct", "dense_test_accuracy"),
    ):
        correct = records.unpack_bits(found[bitmap], images)
        assert 100 * correct.float().mean().item() == pytest.approx(found[accuracy], abs=1e-3)


@cache
def images_of(dataset):
    try:
        return al.data.load(dataset).test
    except al.data.DataError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("pair", SCORED, ids=of_run)
def test_the_file_scores_what_the_record_says(pair):
    name, found = pair
    recipe = records.read(name)["recipe"]
    network = pipelines.network(recipe, data.HOME.parent / found["file"])
    images = images_of(recipe["dataset"])
    if name in HEADLINES:
        scored = al.evaluate(network, images)
        assert scored.accuracy == pytest.approx(found["test_accuracy"], abs=0.02)
    else:
        scored = al.evaluate(network, images.subset(PART))
        recorded = records.unpack_bits(found["test_correct"], len(images))[:PART]
        assert int((scored.correct != recorded).sum()) <= 2


def test_the_readme_table_is_todays():
    readme = (data.HOME.parent / "README.md").read_text()
    assert results.fill(readme) == readme, "the README's table is stale: run `make table`"


def test_every_headline_has_a_row_and_every_claim_a_source():
    assert [row[0] for row in results.rows()] == HEADLINES
    for name in ("leaderboard", "layers", "rho"):
        assert all(row["source"] and row["verified"] for row in claims.published(name))
    assert json.dumps(results.rows())  # plain text in every cell


def test_a_text_without_marks_is_refused():
    with pytest.raises(ValueError, match="lacks the two lines"):
        results.fill("no marks")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "data/README.md"])
def test_links_lead_somewhere(page):
    path = data.HOME.parent / page
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        assert target.startswith("https://") or (path.parent / target).exists(), target
