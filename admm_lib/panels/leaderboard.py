"""The panel of notebook 10: choose a network and what is counted, for theirs and for ours."""

import csv
import io
from collections.abc import Sequence

from matplotlib.figure import Figure

from .. import claims, records
from ..figures import leaderboard as figures
from .base import Panel, menu

TRACKS = {"LeNet-5": "from-lenet5", "LeNet-300-100": "from-lenet300"}
ALL = "everything"


def ratios(floor: float = 99.0) -> Panel:
    """Accuracy against ratio; our ratios count what theirs do, or else weights.

    Else: where theirs count several things, what was not read, or what no record of the network counts.

    `floor` is an accuracy in percent: the line below the picture names who keeps it at the largest ratio.
    """
    published = claims.claims()
    ours = [records.read(name) for name in records.headlines()]

    def of_ours(network: str, counted: str) -> str:
        known = counted in claims.COUNTED and figures.our_points(ours, TRACKS[network], counted)
        return counted if known else "weights"

    def draw(network: str, counted: str) -> Figure:
        headline = f"{network}: test accuracy against ratio, counting {counted}"
        chosen = _rungs(counted)
        return figures.accuracy_against_ratio(
            published, ours, TRACKS[network], headline, chosen, of_ours(network, counted)
        )

    def text(network: str, counted: str) -> str:
        theirs = figures.published_points(published, TRACKS[network], _rungs(counted))
        mine = figures.our_points(ours, TRACKS[network], of_ours(network, counted))
        best, own = (_named(figures.farthest(points, floor)) for points in (theirs, mine))
        by_mean = _named(figures.farthest(mine, floor, whole=False))
        return (
            f"{len(theirs)} published numbers, {sum(p.value is not None for p in theirs)} with an error; "
            f"{len(mine)} records, their ratios count {of_ours(network, counted)}. Largest ratio at "
            f"{floor:g}% or more: published and verified {best}, ours, whole interval, {own}, "
            f"by the mean alone {by_mean}."
        )

    def points(network: str, counted: str) -> tuple[str, bytes]:
        theirs = figures.published_points(published, TRACKS[network], _rungs(counted))
        mine = figures.our_points(ours, TRACKS[network], of_ours(network, counted))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("whose", "name", "ratio", "test accuracy, %"))
        for whose, found in (("published", theirs), ("ours", mine)):
            writer.writerows((whose, each.label, each.place, each.value) for each in found)
        return f"{network.lower()}-by-{counted}.csv".replace(" ", "-"), text.getvalue().encode()

    return Panel(
        "accuracy against ratio, by what is counted",
        {
            "network": menu("network", TRACKS, "LeNet-5"),
            "counted": menu("counted", (ALL, *figures.RUNGS), "file", "what a ratio counts"),
        },
        draw,
        alt="Test accuracy against ratio on a logarithmic axis, published points and our records: ours "
        "count the same as theirs where that is one thing that records have, else weights.",
        text=text,
        code=lambda network, counted: _code(network, counted, of_ours(network, counted)),
        files={"points": points},
    )


def _rungs(counted: str) -> tuple[str, ...]:
    return tuple(figures.RUNGS) if counted == ALL else (counted,)


def _named(points: Sequence[figures.Point]) -> str:
    return f"{points[0].place:,.1f}x ({', '.join(p.label for p in points)})" if points else "none"


def _code(network: str, counted: str, ours: str) -> str:
    return f"""from admm_lib import claims, records
from admm_lib.figures import leaderboard
from admm_lib.figures.style import show

published = claims.claims()
ours = [records.read(name) for name in records.headlines()]
figure = leaderboard.accuracy_against_ratio(
    published, ours, {TRACKS[network]!r}, {network!r}, {_rungs(counted)!r}, {ours!r}
)
show(figure, "test accuracy against ratio")
"""
