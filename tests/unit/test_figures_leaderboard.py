"""The leaderboard's figures by their data: every claim that belongs there, and nothing else."""

import itertools
import math

import numpy as np
import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from admm_lib import claims, records
from admm_lib.figures import labels, style
from admm_lib.figures import leaderboard as figures

ALL = claims.claims()
COMMITTED = [records.read(name) for name in records.headlines()]
TRACKS = ("from-lenet5", "from-lenet300")


@pytest.mark.parametrize("track", TRACKS)
def test_every_claim_with_a_ratio_is_a_point(track):
    points = figures.published_points(ALL, track)
    chosen = [claim for claim in ALL if claim.track == track and claim.ratio is not None]
    assert len(points) == len(chosen) > 10
    for point, claim in zip(points, chosen, strict=True):
        assert point.place == claim.ratio
        assert (point.value is None) == (claim.test_error is None)
        assert point.verified == (claim.verified == "yes")
        assert point.style == claim.counts in figures.RUNGS
    assert {p.style for p in figures.published_points(ALL, track, ["weights"])} == {"weights"}


def test_our_points_are_the_records_of_one_track():
    for track in TRACKS:
        points = {point.label: point for point in figures.our_points(COMMITTED, track)}
        for record in COMMITTED:
            ours = record["track"] == track and record["recipe"]["method"] == "admm"
            steps = record["recipe"].get("steps", [record["recipe"]])
            prunes = any("keep" in step or "allocation" in step for step in steps)
            assert (record["name"] in points) == (ours and prunes)
        for point in points.values():
            record = records.read(point.label)
            across = claims.accuracy(record)
            assert (point.low, point.value, point.high) == (across.low, across.mean, across.high)
            assert point.style == (record["recipe"]["shift_pixels"] > 0, "distill" in record["recipe"])
            assert point.place == claims.measured(record, "weights")
    files = figures.our_points(COMMITTED, "from-lenet5", "file")
    assert any("sets" in records.read(point.label)["recipe"] for point in files)
    for point in files:
        largest = max(run["file_bytes"] for run in records.read(point.label)["runs"])
        assert 4 * 430_500 / point.place == pytest.approx(largest)


def test_farthest_is_verified_and_at_the_floor_with_its_whole_interval():
    def point(place, value, label, verified=True, half=0.0):
        low, high = (None, None) if value is None else (value - half, value + half)
        return figures.Point(place, value, low, high, "weights", label, verified)

    points = [
        point(50, 99.5, "near"), point(60, 99.2, "a", half=0.1), point(60, 99.0, "b"),
        point(70, None, "silent"), point(80, 99.1, "wide", half=0.2),
        point(90, 99.4, "hollow", verified=False), point(95, 98.9, "low"),
    ]  # fmt: skip
    assert [each.label for each in figures.farthest(points, 99)] == ["a", "b"]
    assert [each.label for each in figures.farthest(points, 99, whole=False)] == ["wide"]
    assert figures.farthest(points, 99.9) == []


def test_one_seed_has_no_bar():
    several = next(each for each in COMMITTED if each["recipe"]["method"] == "admm")
    single = {**several, "runs": several["runs"][:1]}
    point = figures.our_points([single], single["track"], "file")[0]
    assert point.low == point.value == point.high


def test_ours_stand_at_their_ratio_and_beside_each_other_only_where_they_share_one():
    def moved(name, keep, **changes):
        run = {"weights": 430_500, "nonzero_weights": keep, "dense_test_accuracy": 99.4}
        runs = [run | {"test_accuracy": accuracy} for accuracy in (99.0, 99.1)]
        recipe = {"method": "admm", "shift_pixels": 0} | changes
        return {"name": name, "track": "from-lenet5", "dataset": "mnist", "recipe": recipe, "runs": runs}

    ours = [moved("a", 4_305), moved("b", 4_300, distill={}), moved("c", 1_237, distill={})]
    (axes,) = figures.accuracy_against_ratio(ALL, ours, "from-lenet5", "headline", ["weights"]).axes
    asides = {}
    for bar in axes.containers:
        data = bar.lines[0]
        x, y = data.get_xdata()[0], data.get_ydata()[0]
        asides[x] = (data.get_transform().transform((x, y)) - axes.transData.transform((x, y)))[0]
    left, right, alone = (asides[430_500 / keep] for keep in (4_305, 4_300, 1_237))
    assert left < 0
    assert left == pytest.approx(-right)
    assert alone == pytest.approx(0)


@pytest.mark.parametrize("track", TRACKS)
def test_the_legend_leaves_the_axis_alone(track):
    figure = figures.accuracy_against_ratio(ALL, COMMITTED, track, "headline")
    renderer = figure.canvas.get_renderer()
    (axes,), (legend,) = figure.axes, figure.legends
    assert not axes.get_tightbbox(renderer).overlaps(legend.get_window_extent(renderer))


def texts(axes):
    return [text for text in axes.texts if text.get_text()]


@pytest.mark.parametrize("track", TRACKS)
def test_the_accuracy_figure_holds_its_points_and_its_names(track):
    figure = figures.accuracy_against_ratio(ALL, COMMITTED, track, "headline")
    (axes,) = figure.axes
    points = figures.published_points(ALL, track)
    drawn = {(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if len(line.get_xdata()) == 1}
    for point in points:
        assert (point.place, 1 if point.value is None else point.value) in drawn
        assert axes.get_xlim()[0] < point.place < axes.get_xlim()[1]
    written = ", ".join(text.get_text() for text in texts(axes))
    assert all(point.label in written for point in points)
    assert any(text.get_text() == "headline" for text in figure.texts)
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert len(hollow) == sum(not point.verified for point in points)


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("counted", [["weights"], list(figures.RUNGS)], ids=["weights", "all"])
def test_names_above_the_edge_do_not_cover_each_other(track, counted):
    figure = figures.accuracy_against_ratio(ALL, COMMITTED, track, "headline", counted)
    (axes,) = figure.axes
    renderer = figure.canvas.get_renderer()
    above = [text for text in texts(axes) if text.get_rotation() == 90]
    boxes = [Text.get_window_extent(text, renderer) for text in above if not text.update_positions(renderer)]
    boxes.sort(key=lambda box: box.x0)
    for left, right in itertools.pairwise(boxes):
        assert left.x1 <= right.x0
    assert all(box.y0 >= axes.bbox.y1 for box in boxes)
    assert track != "from-lenet5" or len(boxes) > 5


def test_what_is_counted_stands_on_the_axis_where_it_is_one_thing():
    def named(counted, ours="weights"):
        figure = figures.accuracy_against_ratio(ALL, COMMITTED, "from-lenet5", "h", counted, ours)
        return figure.axes[0].get_xlabel(), figure.legends[0].get_texts()[0].get_text()

    assert named(["weights"]) == ("ratio, counting weights", "published, counts: weights")
    assert named(["file"], "file") == ("ratio, counting file", "published, counts: file")
    mixed = "ratio (published: structured weights; ours: weights)"
    assert named(["structured weights"]) == (mixed, "published, counts: structured weights")
    assert named(["weights", "values"]) == ("ratio (what it counts: see the markers)", "counts: weights")


@pytest.mark.parametrize("counted", [["weights"], list(figures.RUNGS)], ids=["weights", "all"])
def test_names_keep_off_our_points(counted):
    figure = figures.accuracy_against_ratio(ALL, COMMITTED, "from-lenet5", "h", counted)
    (axes,) = figure.axes
    renderer = figure.canvas.get_renderer()
    for bar in axes.containers:
        mean, _, (line,) = bar.lines
        spots = [*line.get_segments()[0], mean.get_xydata()[0]]
        spots = mean.get_transform().transform(spots)
        box = Bbox(np.array([spots.min(0) - 2, spots.max(0) + 2]))
        for text in texts(axes):
            text.update_positions(renderer)
            assert not box.overlaps(Text.get_window_extent(text, renderer)), text.get_text()


def test_points_of_one_spot_share_a_text_and_joined_ones_a_name_in_a_crowd():
    def point(place, label):
        return figures.Point(place, 99.0, 99.0, 99.0, "weights", label)

    points = [point(10, "a"), point(20, "a"), point(20, "b"), *(point(place, "c") for place in (1, 2, 3))]
    assert figures._texts(points, crowded=False) == [(3, 99.0, "c"), (10, 99.0, "a"), (20, 99.0, "a\nb")]
    assert figures._texts(points, crowded=True) == [(3, 99.0, "c"), (20, 99.0, "a\nb")]


def test_places_are_moved_apart_as_little_as_possible():
    assert figures.apart([], 1) == []
    assert figures.apart([0, 2, 5], 1) == [0, 2, 5]
    assert figures.apart([0, 4, 4.5, 9], 1) == pytest.approx([0, 3.75, 4.75, 9])
    assert figures.apart([3, 3, 3], 2) == pytest.approx([1, 3, 5])
    assert figures.apart([0, 0.9, 1.2], 1) == pytest.approx([-0.3, 0.7, 1.7])


def test_the_bytes_figure_turns_ratios_into_bytes_and_accuracies_into_errors():
    figure = figures.error_against_bytes(ALL, COMMITTED, "from-lenet5", 430_500, "headline")
    (axes,) = figure.axes
    drawn = {(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if len(line.get_xdata()) == 1}
    assert any(math.isclose(x, 1_722_000 / 555) and math.isclose(y, 0.69) for x, y in drawn)
    assert not any(math.isclose(x, 1_722_000 / 1_910) for x, _ in drawn)  # values alone are no size


def test_a_line_is_charged_where_it_runs_through_a_text():
    spot, boxes = np.zeros(2), np.array([[90.0, -10, 110, 10], [-10, 90, 10, 110]])  # to the right, and above
    between = np.array([[40.0, -5, 60, 5]])
    right, above = labels._crossed(spot, boxes, between)
    assert (right, above) == (pytest.approx(20, abs=4), 0)


def test_names_cover_neither_each_other_nor_points():
    figure = style.new_figure(6, 4, layout=None)
    axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
    axes.set(xlim=(0, 10), ylim=(0, 10))
    spots = [(1 + i % 3 * 0.1, 1 + i // 3 * 0.3) for i in range(12)]
    boxes = labels.place(axes, [(x, y, f"name {i}") for i, (x, y) in enumerate(spots)])
    pixels = axes.transData.transform(spots)
    for i, box in enumerate(boxes):
        assert not any(Bbox.from_extents(*box).contains(x, y) for x, y in pixels)
        for other in boxes[i + 1 :]:
            shared = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
            assert shared.min() <= 0.5
        axes.texts[i].update_positions(figure.canvas.get_renderer())
        drawn = Text.get_window_extent(axes.texts[i], figure.canvas.get_renderer())
        assert np.allclose(drawn.extents, box, atol=3)  # the text is where its box is
    assert (boxes[:, 0] > axes.bbox.x0).all()
