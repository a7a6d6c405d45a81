"""Figures of notebook 10: our records over the published points. Notebook 03 shows the first as well."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from .. import claims, records
from ..claims import Claim
from ..recipes import prunes
from .labels import place
from .style import BLUE, BROWN, FAINT, GREEN, GREY, INK, ORANGE, PINK, RED, SKY, new_figure, styled

RUNGS = {  # what a published number counts: marker, colour
    "weights": ("o", GREY),
    "structured weights": ("P", BROWN),
    "values": ("D", SKY),
    "values+positions": ("s", BLUE),
    "values+positions+codebooks": ("p", PINK),
    "file": ("*", RED),
    claims.NOT_READ: ("X", INK),
}
OURS = {  # (shifted images, a teacher): colour, marker, name
    (True, False): (GREEN, "^", "ours, shifted images"),
    (True, True): (GREEN, "v", "ours, shifted images, a teacher"),
    (False, False): (ORANGE, "^", "ours, images as they are"),
    (False, True): (ORANGE, "v", "ours, images as they are, a teacher"),
}
# From which a network might be rebuilt, or for all that was read of it.
SIZES = ("values+positions", "values+positions+codebooks", "file", claims.NOT_READ)
DENSE_BYTES = 4  # of a weight
HEIGHT, BELOW, ROW = 6.0, 0.53, 0.155  # of a figure, of its x axis, of a row of its legend, in inches
LINE = 0.13  # inches that a name above the upper edge takes
TO_POINT = {"arrowstyle": "-", "color": GREY, "lw": 0.6, "shrinkA": 0}  # from a name that was moved aside
COLUMNS = 3  # of the legend
ASIDE = 4 / 72  # inches between our points that share a ratio
ROOM = 5 / 72  # inches beside each of them that names keep clear
CROWDED = 30  # more published points than this, and a figure is larger and joined points share a name
WIDE = 9.0, 7.0  # of such a figure, in inches


@dataclass(frozen=True)
class Point:
    """One number in a figure; `low` and `high` are the ends of our interval, or `value` where none is known.

    `value` is None for a claim without an error. `style` is a key of `RUNGS` or of `OURS`.
    """

    place: float
    value: float | None
    low: float | None
    high: float | None
    style: Any
    label: str
    verified: bool = True


def published_points(found: Iterable[Claim], track: str, counted: Iterable[str] = RUNGS) -> list[Point]:
    """The claims of a track that state a ratio, as accuracy against ratio."""
    return [
        Point(claim.ratio, value, value, value, claim.counts, claim.label, not claim.doubt)
        for claim in found
        if claim.track == track and claim.ratio is not None and claim.counts in set(counted)
        for value in [None if claim.test_error is None else 100 - claim.test_error]
    ]


def our_points(records: Iterable[dict[str, Any]], track: str, counted: str = "weights") -> list[Point]:
    """The records of a track, as mean test accuracy with its interval against what is counted.

    Where weights are counted, networks that are quantized alone have no ratio, and are left out; where whole
    groups are, all that do not prune these alone.
    """
    points = []
    for record in records:
        ratio = claims.measured(record, counted)
        counts = ratio is not None and (counted != "weights" or prunes(record["recipe"]))
        if counts and record["track"] == track and record["recipe"]["method"] in claims.METHODS:
            across = claims.accuracy(record)
            low, high = (across.low, across.high) if across.count > 1 else (across.mean, across.mean)
            style = (bool(record["recipe"]["shift_pixels"]), "distill" in record["recipe"])
            points.append(Point(ratio, across.mean, low, high, style, record["name"]))
    return sorted(points, key=lambda point: point.place)


def farthest(points: Iterable[Point], floor: float, whole: bool = True) -> list[Point]:
    """The verified points of the largest ratio that lie at `floor` or above.

    With their whole interval, or, without `whole`, with their mean.
    """
    stated = [point for point in points if point.verified and point.value is not None]
    kept = [point for point in stated if (point.low if whole else point.value) >= floor]
    largest = max((point.place for point in kept), default=0)
    return [point for point in kept if point.place == largest]


@styled
def accuracy_against_ratio(
    found: Iterable[Claim],
    records: Iterable[dict[str, Any]],
    track: str,
    headline: str,
    counted: Sequence[str] = tuple(RUNGS),
    ours: str = "weights",
) -> Figure:
    """Test accuracy against ratio: published points by what they count, and the records of one track.

    `counted` chooses the published points, `ours` what our own ratios count. Hollow points are reported,
    not verified; claims without an error stand on the upper edge.
    """
    theirs, mine = published_points(found, track, counted), our_points(records, track, ours)
    name = "ratio (what it counts: see the markers)"
    if len(counted) == 1:
        alike = counted[0] == ours
        name = f"ratio, counting {ours}" if alike else f"ratio (published: {counted[0]}; ours: {ours})"
    return _drawn(theirs, mine, headline, (name, "test accuracy (%)"))


@styled
def error_against_bytes(
    found: Iterable[Claim], records: Iterable[dict[str, Any]], track: str, weights: int, headline: str
) -> Figure:
    """Test error against bytes; ours are whole files, theirs 4 x `weights` bytes over the stated ratio."""

    def turned(point: Point, size: float) -> Point:
        low, high, value = (None if v is None else 100 - v for v in (point.high, point.low, point.value))
        return Point(size, value, low, high, point.style, point.label, point.verified)

    dense = DENSE_BYTES * weights
    theirs = [turned(each, dense / each.place) for each in published_points(found, track, SIZES)]
    mine = [turned(each, dense / each.place) for each in our_points(records, track, "file")]
    return _drawn(theirs, mine, headline, ("bytes (what they hold: see the markers)", "test error (%)"))


def of_readme() -> Figure:
    """LeNet-5's test error against bytes, of all that was read and all headlines: data/errors.png."""
    ours = [records.read(name) for name in records.headlines()]
    title = "LeNet-5: test error against bytes"
    return error_against_bytes(claims.claims(), ours, "from-lenet5", 430_500, title)


def _drawn(
    theirs: Sequence[Point], mine: Sequence[Point], headline: str, axis_names: tuple[str, str]
) -> Figure:
    unstated = [point for point in theirs if point.value is None]
    above = 0.55 + 0.05 * max((len(text) for text in _above(unstated).values()), default=0)  # inches
    marks = _marks(theirs, mine)
    below = BELOW + ROW * -(-len(marks) // COLUMNS)
    stated = [point for point in theirs if point.value is not None]
    crowded = len(stated) > CROWDED
    width, height = WIDE if crowded else (7.5, HEIGHT)
    figure = new_figure(width, height, layout=None)
    axes = figure.add_axes((0.085, below / height, 0.9, 1 - (below + above) / height))
    figure.text(0.012, 1 - 0.2 / height, headline, fontsize=10.5, weight="bold")
    _limits(axes, [*theirs, *mine])
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1])
    axes.grid(True)
    _draw_theirs(axes, stated)
    _draw_ours(axes, mine)
    place(axes, _texts(stated, crowded), [*((point.place, point.value) for point in stated),
                                          *_covered(axes, mine)])  # fmt: skip
    _draw_unstated(axes, unstated)
    figure.legend(handles=marks, loc="lower left", ncols=COLUMNS, bbox_to_anchor=(0.03, 0), fontsize=7.5)
    return figure


def _limits(axes: Axes, points: Sequence[Point]) -> None:
    """Limits and ticks that hold all points."""
    left, right = (f(point.place for point in points) for f in (min, max))
    values = [value for point in points for value in (point.low, point.high) if value is not None]
    margin = 0.06 * (max(values) - min(values) + 0.1)
    axes.set(xscale="log", xlim=(left / 1.25, right * 1.25))
    axes.set_ylim(min(values) - margin, max(values) + margin)
    steps = [m * 10**e for e in range(7) for m in (1, 2, 5)]
    ticks = [step for step in steps if left / 1.25 < step < right * 1.25]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()


def _draw_theirs(axes: Axes, points: Sequence[Point]) -> None:
    """A marker per number, by what it counts; numbers of one name and rung are joined."""
    for group in _grouped(points):
        marker, color = RUNGS[group[0].style]
        line = sorted((point.place, point.value) for point in group)
        axes.plot(*zip(*line, strict=True), "-", color=FAINT, lw=1, zorder=1)
        for point in group:
            face = color if point.verified else "white"
            axes.plot(point.place, point.value, marker, color=color, mfc=face, ms=7 if marker == "*" else 5)


def _aside(point: Point, points: Sequence[Point]) -> float:
    """How far beside its ratio a point of ours stands, in inches: those that share one are spread."""
    order = list(OURS)
    near = {p.style for p in points if 1 / claims.TIE < p.place / point.place < claims.TIE}
    return (sorted(near, key=order.index).index(point.style) - (len(near) - 1) / 2) * ASIDE


def _covered(axes: Axes, points: Sequence[Point]) -> np.ndarray:
    """What our points cover, each with its interval and room at both sides, as spots in data coordinates."""
    spots = []
    for point in points:
        bar = [(point.place, y) for y in np.linspace(point.low, point.high, 33)]
        for beside in (-ROOM, 0, ROOM):
            aside = (_aside(point, points) + beside) * axes.figure.dpi
            spots += list(axes.transData.transform(bar) + np.array([aside, 0]))
    return axes.transData.inverted().transform(np.array(spots).reshape(-1, 2))


def _draw_ours(axes: Axes, points: Sequence[Point]) -> None:
    """Means with their intervals, beside each other where they share a ratio; recipes differ, so no line."""
    for point in points:
        color, marker, _ = OURS[point.style]
        aside = ScaledTranslation(_aside(point, points), 0, axes.figure.dpi_scale_trans)
        axes.errorbar(point.place, point.value, [[point.value - point.low], [point.high - point.value]],
                      color=color, marker=marker, ms=6, lw=1.3, capsize=2.5, zorder=5,
                      transform=axes.transData + aside)  # fmt: skip


def _draw_unstated(axes: Axes, points: Sequence[Point]) -> None:
    """A marker on the upper edge for each, and the names above it, moved aside where they would overlap."""
    edge = axes.get_xaxis_transform()
    for point in points:
        marker, color = RUNGS[point.style]
        face = color if point.verified else "white"
        axes.plot(point.place, 1, marker, color=color, mfc=face, ms=4.5, transform=edge, clip_on=False)
    names = _above(points)
    inches = [axes.transData.transform((ratio, 0))[0] / axes.figure.dpi for ratio in names]
    for ratio, start, end in zip(names, inches, apart(inches, LINE), strict=True):
        moved = abs(end - start) > 0.01
        axes.annotate(names[ratio], (ratio, 1), (72 * (end - start), 10 if moved else 6), xycoords=edge,
                      textcoords="offset points", fontsize=7, rotation=90, ha="center", va="bottom",
                      arrowprops=TO_POINT if moved else None)  # fmt: skip


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places, moved as little as possible (in squares) so that neighbours are `gap` apart."""
    blocks: list[tuple[float, int]] = []  # mean and number of places that are moved together
    for i, place_ in enumerate(places):
        mean, count = place_ - i * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, many = blocks.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        blocks.append((mean, count))
    flat = [mean for mean, count in blocks for _ in range(count)]
    return [mean + i * gap for i, mean in enumerate(flat)]


def _above(points: Iterable[Point]) -> dict[float, str]:
    """The names above the upper edge by their place; those at nearly one place share it."""
    names: dict[float, list[str]] = {}
    for point in sorted(points, key=lambda point: point.place):
        near = [place for place in names if point.place < claims.TIE * place]
        names.setdefault(near[-1] if near else point.place, []).append(point.label)
    return {place: ", ".join(dict.fromkeys(labels)) for place, labels in names.items()}


def _grouped(points: Iterable[Point]) -> list[list[Point]]:
    """Points by name and what they count, each group from left to right."""
    groups: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for point in sorted(points, key=lambda point: point.place):
        groups[point.label, point.style].append(point)
    return list(groups.values())


def _texts(points: Iterable[Point], crowded: bool) -> list[tuple[float, float, str]]:
    """Names with their spots: all of a group of two, the outermost of a longer one; of any if `crowded`.

    Points of one spot share a text, a line for each.
    """
    longest = 1 if crowded else 2
    named = [point for group in _grouped(points)
             for point in (group if len(group) <= longest else group[-1:])]  # fmt: skip
    spots: dict[tuple[float, float | None], list[str]] = {}
    for point in named:
        spots.setdefault((point.place, point.value), []).append(point.label)
    return [(*spot, "\n".join(dict.fromkeys(names))) for spot, names in spots.items()]


def _marks(theirs: Sequence[Point], mine: Sequence[Point]) -> list[Line2D]:
    """What the legend holds: a handle for each kind of point that is drawn."""
    used = {point.style for point in (*theirs, *mine)}
    kinds = [(name, *mark) for name, mark in RUNGS.items() if name in used]
    counts = "counts: " if len(kinds) > 1 else "published, counts: "
    marks = [(m, color, color, f"{counts}{name}") for name, m, color in kinds]
    if not all(point.verified for point in theirs):
        marks.append(("o", GREY, "white", "hollow: reported, unverified"))
    if any(point.value is None for point in theirs):
        marks.append(("", INK, INK, "on the upper edge: no error read"))
    marks += [(marker, color, color, name) for style, (color, marker, name) in OURS.items() if style in used]
    return [Line2D([], [], ls="", marker=m, color=c, mfc=face, label=text) for m, c, face, text in marks]
