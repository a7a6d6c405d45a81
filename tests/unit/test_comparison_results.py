"""What a whole comparison says: pairs, verdicts, its table and its figure."""

import pytest
from unit.protocol import FEW

from admm_lib import comparison, comparison_results, files, records, results
from admm_lib.figures import comparison as figures
from admm_lib.figures.style import GREY, INK


def test_a_result_is_whole_and_differences_are_paired(elsewhere):
    point = {"120": {"admm": 98.0, "fresh": 97.5, "torch-prune": 97.0},
             "121": {"admm": 99.0, "fresh": 98.3, "torch-prune": 99.0}}  # fmt: skip
    runs = [
        {"seed": int(seed), "way": way, "at": at, "test": point[seed][way]}
        for seed in reversed(point) for way, at in comparison.points(FEW)
    ]  # fmt: skip
    path = elsewhere / "few.json"
    files.write_json(path, {"comparison": FEW, "tuned": [], "runs": runs})
    record = comparison_results.result("few", elsewhere)
    assert comparison_results.accuracies(record, "fresh", "many") == {121: 98.3, 120: 97.5}
    found = comparison_results.difference(record, "admm", "fresh", "few")
    assert (found.mean, found.count) == (pytest.approx(0.6), 2)
    assert comparison_results.difference(record, "fresh", "admm", "few").mean == pytest.approx(-0.6)
    files.write_json(path, {"comparison": FEW, "tuned": [], "runs": runs[1:]})
    with pytest.raises(ValueError, match=r"few.json lacks 1 of 10 runs: run it to its end, `admm compare"):
        comparison_results.result("few", elsewhere)
    with pytest.raises(FileNotFoundError, match="no record of the comparison 'many': `admm compare"):
        comparison_results.result("many", elsewhere)


@pytest.mark.parametrize(
    ("spans", "stands"),
    [
        (((0.1, 0.3), (0.2, 0.4)), "ahead"),
        (((-0.3, -0.1), (-0.4, -0.2)), "behind"),
        (((0.1, 0.3), (-0.1, 0.4)), "ahead of rho"),
        (((-0.1, 0.4), (-0.3, -0.1)), "behind rate"),
        (((0.1, 0.3), (-0.4, -0.2)), "ahead of rho, behind rate"),
        (((-0.1, 0.3), (-0.4, 0.2)), "level"),
        (((0.1, 0.3),), "ahead"),
    ],
)
def test_a_verdict_says_which_arms_of_admm(spans, stands):
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
        "| the largest, at once | 97.01 [96.88, 97.14], behind | 97.01 [96.88, 97.14], behind |",
        "| ADMM, its rho tuned | 98.01 [97.88, 98.14] | 98.01 [97.88, 98.14] |",
        "| ADMM, its rate tuned | 98.51 [98.38, 98.64] | 98.51 [98.38, 98.64] |",
        "| random mask |  | 98.21 [98.08, 98.34], ahead of rho, behind rate |",
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
    assert [each.get_text() for each in figure.legends[0].texts] == ["minus A, points", "minus B, points"]
    assert "−10" in [each.get_text() for each in right.get_xticklabels()]
