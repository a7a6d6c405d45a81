"""Ways of pruning under one protocol: budgets met, tuned by the rule, recorded once, resumed, shared."""

import copy
import json
from dataclasses import replace

import pytest
import torch
import yaml
from filelock import FileLock

import admm_lib as al
from admm_lib import comparison, comparison_results, data, models, records, results
from admm_lib.figures import comparison as figures
from admm_lib.figures.style import GREY, INK
from admm_lib.pruning_ways import WAYS, Task, Way

KEEP = {"conv1.weight": 150, "conv2.weight": 900, "fc1.weight": 1500, "fc2.weight": 300}
WIDTHS = {"conv1.weight": 7, "conv2.weight": 9, "fc1.weight": 30, "fc2.weight": 10}
FEW = {
    "name": "few", "title": "Few", "model": "lenet5", "dataset": "digits", "images": 200, "tuning_seed": 20,
    "seeds": [120, 121], "batch_size": 50, "precision": "32-true", "shift_pixels": 0,
    "dense": {"epochs": 1, "lr": 0.002}, "phases": [1, 1], "rate": 0.001, "lr": 0.002,
    "budgets": {"many": KEEP, "few": {**KEEP, "fc1.weight": 500}}, "tuned_at": {"many": "few", "few": "few"},
    "arms": [{"ways": ["admm", "fresh"], "at": ["many", "few"]}, {"ways": ["torch-prune"], "at": ["few"]}],
}  # fmt: skip


@pytest.fixture(scope="module")
def task():
    images = data.load("digits")
    few = data.Data(images.name, images.train.subset(200), images.val, images.test, images.note)
    dense = models.create("lenet5", 0)
    al.fit(dense, few, 1, lr=2e-3)

    def made(seed=3, by="element"):
        return Task(
            "lenet5", dense, few, KEEP if by == "element" else WIDTHS, seed, 1, (2, 1), 1e-3, 2e-3, 50,
            "32-true", 1, lambda: WAYS["admm"].prune(made(seed, by), 1e-3), by,
        )  # fmt: skip

    return made


@pytest.mark.filterwarnings("ignore:.*KernelPreference.*")  # torchao's own
@pytest.mark.parametrize("name", [name for name, way in WAYS.items() if way.only != "filter"])
def test_every_way_meets_every_budget_and_leaves_the_dense_network_alone(task, name):
    before = copy.deepcopy(task().dense.state_dict())
    pruned = WAYS[name].prune(task(), WAYS[name].values[1])
    assert {each: int(pruned.get_parameter(each).count_nonzero()) for each in KEEP} == KEEP
    assert pruned.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[each]) for each, tensor in task().dense.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*KernelPreference.*")
@pytest.mark.parametrize("name", [name for name, way in WAYS.items() if way.only != "filter"])
def test_every_way_leaves_a_layer_whole_whose_budget_is_all_of_it(task, name):
    keep = {**KEEP, "fc2.weight": 5_000}
    whole = replace(task(), keep=keep)
    pruned = WAYS[name].prune(replace(whole, by_admm=lambda: WAYS["admm"].prune(whole, 1e-3)), 1e-3)
    assert {each: int(pruned.get_parameter(each).count_nonzero()) for each in KEEP} == keep


@pytest.mark.parametrize("name", [name for name, way in WAYS.items() if way.only != "element"])
def test_every_way_by_filters_ends_at_the_widths(task, name):
    before = copy.deepcopy(task().dense.state_dict())
    pruned = WAYS[name].prune(task(by="filter"), WAYS[name].values[1])
    small = al.shrink(pruned)
    assert {each: len(small.get_parameter(each)) for each in WIDTHS} == WIDTHS
    assert small.fc1.in_features == 16 * WIDTHS["conv2.weight"]
    assert all(torch.equal(tensor, before[each]) for each, tensor in task().dense.state_dict().items())


@pytest.mark.parametrize(("name", "by"), [("torch-prune", "element"), ("torch-pruning", "filter")])
def test_a_peer_cuts_before_every_epoch_of_the_first_phase(task, monkeypatch, name, by):
    left, trained = [], Task.train

    def train(self, model, *args, **settings):
        left.append(int(model.fc1.weight.count_nonzero()) if by == "element" else model.fc1.out_features)
        trained(self, model, *args, **settings)

    monkeypatch.setattr(Task, "train", train)
    WAYS[name].prune(task(by=by), 1e-3)
    # 400,000 to 1,500 by one factor, 500 to 30 by one difference
    assert left == ([24_495, 1_500, 1_500] if by == "element" else [265, 30, 30])


@pytest.mark.filterwarnings("ignore:.*KernelPreference.*")  # torchao's own
def test_torchao_computes_with_pruned_weights_in_every_step(task, monkeypatch):
    left, trained = [], Task.train

    def train(self, model, *args, **settings):
        model.fc1.register_forward_pre_hook(
            lambda module, _: left.append(int(module.weight.count_nonzero())) if module.training else None
        )
        trained(self, model, *args, **settings)

    monkeypatch.setattr(Task, "train", train)
    WAYS["torchao"].prune(task(), 1e-3)
    first = left[:8]  # two epochs of four steps
    assert first[0] == 400_000
    assert sorted(first, reverse=True) == first
    assert len(set(first)) > 5
    assert first[-1] < 20_000
def test_more_strength_of_group_norms_leaves_smaller_weights(task):
    weak, strong = (WAYS["group-norms"].prune(task(by="filter"), strength) for strength in (1e-9, 1e-1))
    assert strong.fc1.weight.norm() < 0.9 * weak.fc1.weight.norm()


def test_random_masks_are_drawn_by_the_seed(task):
    first, again, other = (WAYS["random"].prune(task(seed), 1e-3).fc1.weight != 0 for seed in (3, 3, 4))
    assert first.equal(again)
    assert not first.equal(other)


def test_fresh_weights_have_the_mask_of_admm(task):
    pruned, fresh = (WAYS[name].prune(task(), 1e-3) for name in ("admm", "fresh"))
    assert (pruned.fc1.weight != 0).equal(fresh.fc1.weight != 0)


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
    record = json.loads((elsewhere / "few.json").read_text())
    assert [(row["way"], row["at"]) for row in record["tuned"]] == [
        ("admm", "few"), ("fresh", "few"), ("torch-prune", "few"),
    ]  # fmt: skip
    assert [(row["seed"], row["way"], row["at"]) for row in record["runs"]] == [
        (120, way, at) for way, at in comparison.points(FEW)
    ]
    for row in record["runs"]:
        assert row["kept"] == FEW["budgets"][row["at"]]
        correct = records.unpack_bits(row["test_correct"], len(data.load("digits").test))
        assert row["test"] == pytest.approx(100 * correct.double().mean().item(), abs=1e-4)
    comparison.run(path, [120], told.append, elsewhere)  # nothing is left to do
    assert json.loads((elsewhere / "few.json").read_text()) == record
    lost = {**record, "runs": record["runs"][:2]}
    (elsewhere / "few.json").write_text(json.dumps(lost))
    comparison.run(path, [120], told.append, elsewhere)
    again = json.loads((elsewhere / "few.json").read_text())
    assert [row["test_correct"] for row in again["runs"]] == [row["test_correct"] for row in record["runs"]]


@pytest.mark.usefixtures("known")
def test_filters_are_counted_in_the_smaller_network(elsewhere):
    changes = {"by": "filter", "budgets": {"few": WIDTHS}, "tuned_at": {"few": "few"}, "seeds": [120]}
    path = written(elsewhere, **changes, arms=[{"ways": ["admm", "torch-pruning"], "at": ["few"]}])
    comparison.run(path, folder=elsewhere)
    rows = json.loads((elsewhere / "few.json").read_text())["runs"]
    assert [row["way"] for row in rows] == ["admm", "torch-pruning"]
    assert [sum(row["kept"].values()) for row in rows] == [narrow(WIDTHS)] * 2


def test_the_number_that_was_best_is_taken(elsewhere):
    scores = {1e-4: 97.0, 3e-4: 98.5, 1e-3: 98.0, 3e-3: 96.0}
    tuned = [{"way": "admm", "at": "few", "value": value, "val": val} for value, val in scores.items()]
    tuned.append({"way": "fresh", "at": "few", "value": 9.0, "val": 99.0})
    (elsewhere / "few.json").write_text(json.dumps({"comparison": FEW, "tuned": tuned, "runs": []}))
    work = comparison._Work(comparison.read(written(elsewhere)), elsewhere / "few.json", print)
    assert work.tuned("admm", "few") == work._value("admm", "many") == 3e-4


@pytest.mark.usefixtures("known")
def test_what_another_process_is_at_is_left_to_it(elsewhere):
    path, told = written(elsewhere), []
    work = comparison._Work(comparison.read(path), elsewhere / "few.json", told.append)
    with FileLock(work.cache / "120-torch-prune-few.lock"):
        comparison.run(path, [120], told.append, elsewhere)
    assert "few: 120-torch-prune-few is left to another process" in told
    rows = json.loads((elsewhere / "few.json").read_text())["runs"]
    assert [row["way"] for row in rows] == ["admm", "fresh", "admm", "fresh"]


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
    (elsewhere / "few.json").write_text(json.dumps(kept))
    with pytest.raises(ValueError, match=r"few\.json was made by another comparison: rename this one"):
        comparison.run(path, [120], folder=elsewhere)


@pytest.mark.parametrize(
    ("runs", "changes", "fits"),
    [
        (1, {"title": "More", "arms": FEW["arms"][:1]}, True),
        (1, {"budgets": {**FEW["budgets"], "some": KEEP},
             "tuned_at": {**FEW["tuned_at"], "some": "few"}}, True),
        (0, {"seeds": [120]}, True),
        (1, {"seeds": [120]}, False),  # who sees what comes out must not choose the seeds
        (0, {"budgets": {**FEW["budgets"], "few": KEEP}}, False),
        (0, {"tuned_at": {"many": "many", "few": "few"}}, False),
        (0, {"rate": 0.002}, False),
        (0, {"by": "filter", "budgets": {"few": WIDTHS}, "tuned_at": {"few": "few"},
             "arms": [{"ways": ["admm"], "at": ["few"]}]}, False),
    ],
)  # fmt: skip
def test_a_record_goes_on_with_more_ways_and_budgets_and_nothing_else_changed(elsewhere, runs, changes, fits):
    made = [{"seed": 120, "way": "admm", "at": "few"}] * runs
    (elsewhere / "few.json").write_text(json.dumps({"comparison": FEW, "tuned": [], "runs": made}))
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


def test_a_result_is_whole_and_differences_are_paired(elsewhere):
    point = {"120": {"admm": 98.0, "fresh": 97.5, "torch-prune": 97.0},
             "121": {"admm": 99.0, "fresh": 98.3, "torch-prune": 99.0}}  # fmt: skip
    runs = [
        {"seed": int(seed), "way": way, "at": at, "test": point[seed][way]}
        for seed in reversed(point) for way, at in comparison.points(FEW)
    ]  # fmt: skip
    path = elsewhere / "few.json"
    path.write_text(json.dumps({"comparison": FEW, "tuned": [], "runs": runs}))
    record = comparison_results.result("few", elsewhere)
    assert comparison_results.accuracies(record, "fresh", "many") == {121: 98.3, 120: 97.5}
    found = comparison_results.difference(record, "admm", "fresh", "few")
    assert (found.mean, found.count) == (pytest.approx(0.6), 2)
    assert comparison_results.difference(record, "fresh", "admm", "few").mean == pytest.approx(-0.6)
    path.write_text(json.dumps({"comparison": FEW, "tuned": [], "runs": runs[1:]}))
    with pytest.raises(ValueError, match=r"few.json lacks 1 of 10 runs: run it to its end, `admm compare"):
        comparison_results.result("few", elsewhere)
    with pytest.raises(FileNotFoundError, match="no record of the comparison 'many': `admm compare"):
        comparison_results.result("many", elsewhere)


@pytest.mark.parametrize(
    ("spans", "stands"),
    [
        (((0.1, 0.3), (0.2, 0.4)), "ahead"),
        (((-0.3, -0.1), (-0.4, -0.2)), "behind"),
        (((0.1, 0.3), (-0.1, 0.4)), "level"),
        (((-0.3, -0.1), (-0.4, 0.2)), "level"),
        (((0.1, 0.3), (-0.4, -0.2)), "level"),  # one arm of ADMM each way
    ],
)
def test_a_verdict_needs_every_arm_of_admm(spans, stands):
    found = [records.Interval((low + high) / 2, low, high, 5) for low, high in spans]
    assert comparison_results.verdict(found) == stands


def test_the_table_has_a_line_for_each_way_and_leaves_open_what_did_not_run():
    arms = [{"ways": ["magnitude", "admm", "admm-rate"], "at": ["many", "few"]},
            {"ways": ["random"], "at": ["few"]}]  # fmt: skip
    made = {"magnitude": 97.0, "admm": 98.0, "admm-rate": 98.5, "random": 98.2}
    runs = [
        {"seed": seed, "way": way, "at": at, "test": made[way] + (0.02 if seed == 121 else 0)}
        for seed in FEW["seeds"] for arm in arms for at in arm["at"] for way in arm["ways"]
    ]  # fmt: skip
    record = {"comparison": {**FEW, "arms": arms}, "tuned": [], "runs": runs}
    found = comparison_results.against_admm(record, "few")
    assert {way: [round(each.mean, 2) for each in both] for way, both in found.items()} == {
        "magnitude": [-1.0, -1.5], "random": [0.2, -0.3],
    }  # fmt: skip
    lines = results.ways(record).splitlines()
    assert lines[0] == "| way | many | few |"
    assert lines[2:] == [
        "| largest weights, at once | 97.01 [96.88, 97.14], behind | 97.01 [96.88, 97.14], behind |",
        "| ADMM | 98.01 [97.88, 98.14] | 98.01 [97.88, 98.14] |",
        "| ADMM, its rate tuned | 98.51 [98.38, 98.64] | 98.51 [98.38, 98.64] |",
        "| random mask |  | 98.21 [98.08, 98.34], level |",
    ]


def test_ways_are_dark_where_they_are_told_from_all_others():
    def interval(low, high):
        return records.Interval((low + high) / 2, low, high, 5)

    found = {"told": [interval(-0.3, -0.1), interval(-2, -1)], "not": [interval(-0.1, 0.1)] * 2,
             "one": [interval(0.1, 0.2), interval(-0.1, 0.2)]}  # fmt: skip
    figure = figures.ways({"71×": found, "167×": {"told": [interval(-9, 0.3)] * 2}}, ["A", "B"])
    left, right = figure.axes
    colors = [mark.get_color() for mark in left.lines if len(mark.get_xdata()) == 1]
    assert colors == 2 * [INK] + 4 * [GREY]
    assert [each.get_text() for each in left.get_yticklabels()] == ["told", "not", "one"]
    assert [each.get_text() for each in figure.legends[0].texts] == ["points above A", "points above B"]
    assert "−10" in [each.get_text() for each in right.get_xticklabels()]


def narrow(widths):
    """The weights of a LeNet-5 of such widths."""
    first, second, third, last = widths.values()
    return 25 * first + 25 * first * second + 16 * second * third + third * last


@pytest.mark.parametrize("path", sorted(comparison.HOME.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_committed_comparisons_are_in_order(path):
    found = comparison.read(path)
    count = narrow if found.get("by") == "filter" else lambda keep: sum(keep.values())
    sizes = {at: round(430_500 / count(keep)) for at, keep in found["budgets"].items()}
    assert sizes == {at: int(at.partition("x")[0]) for at in found["budgets"]}
