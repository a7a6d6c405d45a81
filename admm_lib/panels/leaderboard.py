"""The panel of notebook 10: choose a network and what is counted, for theirs and for ours."""

from matplotlib.figure import Figure

from .. import claims, records
from ..figures import leaderboard as figures
from .base import Panel, menu

TRACKS = {"LeNet-5": "from-lenet5", "LeNet-300-100": "from-lenet300"}
ALL = "everything"


def ratios(floor: float = 99.0) -> Panel:
    """Accuracy against ratio; our ratios count what theirs do, and weights where that is not one thing.

    `floor` is an accuracy in percent: the line below the picture names who keeps it at the largest ratio.
    """
    published = claims.claims()
    ours = [records.read(name) for name in records.headlines()]

    def draw(network: str, counted: str) -> Figure:
        headline = f"{network}: test accuracy against ratio, counting {counted}"
        chosen = _rungs(counted)
        return figures.accuracy_against_ratio(
            published, ours, TRACKS[network], headline, chosen, _of_ours(counted)
        )

    def text(network: str, counted: str) -> str:
        theirs = figures.published_points(published, TRACKS[network], _rungs(counted))
        mine = figures.our_points(ours, TRACKS[network], _of_ours(counted))
        kept = [
            max(points, key=lambda point: point.place, default=None)
            for points in (
                [p for p in theirs if p.verified and (p.value or 0) >= floor],
                [p for p in mine if p.low >= floor],
            )
        ]
        best, own = ("none" if p is None else f"{p.place:,.1f}x ({p.label})" for p in kept)
        return (
            f"{len(theirs)} published numbers, {sum(p.value is not None for p in theirs)} with an error; "
            f"{len(mine)} records, their ratios count {_of_ours(counted)}. Largest ratio at {floor:g}% or "
            f"more: published and verified {best}, ours, whole interval, {own}."
        )

    return Panel(
        "accuracy against ratio, by what is counted",
        {
            "network": menu("network", TRACKS, "LeNet-5"),
            "counted": menu("counted", (ALL, *figures.RUNGS), "file", "what a ratio counts"),
        },
        draw,
        alt="Test accuracy against ratio on a logarithmic axis, published points and our records, both "
        "counting the same.",
        text=text,
        code=_code,
    )


def _rungs(counted: str) -> tuple[str, ...]:
    return tuple(figures.RUNGS) if counted == ALL else (counted,)


def _of_ours(counted: str) -> str:
    return counted if counted in claims.COUNTED else "weights"


def _code(network: str, counted: str) -> str:
    return f"""from admm_lib import claims, records
from admm_lib.figures import leaderboard
from admm_lib.figures.style import show

published = claims.claims()
ours = [records.read(name) for name in records.headlines()]
figure = leaderboard.accuracy_against_ratio(
    published, ours, {TRACKS[network]!r}, {network!r}, {_rungs(counted)!r}, {_of_ours(counted)!r}
)
show(figure, "test accuracy against ratio")
"""
