"""What all figures share: colours with fixed meanings, sizes, and how a figure becomes a picture.

Figures are `matplotlib.figure.Figure` objects with their own Agg canvas, never pyplot's: no global
state, nothing to close, and drawing works in any thread. Decorate each drawing function with
`styled`.
"""

import base64
import functools
import gc
import io
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, NullLocator

from ..records import Interval

# seaborn's "colorblind" palette, written out: importing seaborn for ten colours costs a second.
BLUE, ORANGE, GREEN, RED, PINK, BROWN, ROSE, GREY, YELLOW, SKY = PALETTE = (
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc",
    "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9",
)  # fmt: skip
INK, FAINT = "#333333", "#d9d9d9"  # text and thin lines; grids and background marks

# One meaning, one colour, one line and one marker: pictures stay readable in greyscale.
COLORS = {
    "dense": GREY, "pruned": ORANGE, "retrained": GREEN, "admm": BLUE, "magnitude": RED,
    "projected gradient": PINK, "truncation": RED, "direct": BLUE, "progressive": GREEN,
    "conv1": SKY, "conv2": BLUE, "fc1": ORANGE, "fc2": PINK, "fc3": BROWN,
    "W": BLUE, "Z": ORANGE, "U": GREEN,
    "forgy": RED, "density": ORANGE, "linear": BLUE, "k-means++": PINK, "optimal": GREEN,
    "snap": RED, "incremental": ORANGE, "straight-through": PINK, "ADMM": BLUE,
    "ADMM, then incremental": BROWN, "ADMM, then straight-through": GREEN,
    "clusters": GREEN, "both": BLUE, "low rank": PINK,
    "element": BLUE, "filter": ORANGE, "channel": ORANGE, "column": GREEN, "kernel": PINK, "block": BROWN,
    "n:m": RED, "mixed": GREEN, "CSR": BLUE, "BSR": SKY, "shrunk": ORANGE, "ONNX Runtime": GREY,
    "shrunk, ONNX Runtime": BROWN,
}  # fmt: skip
MARKERS = {
    "dense": "P", "pruned": "v", "retrained": "^", "admm": "o", "magnitude": "X",
    "projected gradient": "D", "truncation": "X", "direct": "o", "progressive": "^",
    "conv1": "o", "conv2": "s", "fc1": "^", "fc2": "D", "fc3": "v", "W": "o", "Z": "s", "U": "^",
    "forgy": "X", "density": "s", "linear": "o", "k-means++": "D", "optimal": "^",
    "snap": "X", "incremental": "s", "straight-through": "D", "ADMM": "o",
    "ADMM, then incremental": "v", "ADMM, then straight-through": "^",
    "clusters": "s", "both": "o", "low rank": "D",
    "element": "o", "filter": "s", "channel": "s", "column": "^", "kernel": "D", "block": "v", "n:m": "X",
    "mixed": "^", "CSR": "o", "BSR": "v", "shrunk": "s", "ONNX Runtime": "X", "shrunk, ONNX Runtime": "D",
}  # fmt: skip
LINES = {
    "dense": (0, (3, 1, 1, 1)), "pruned": ":", "retrained": "-", "admm": "-", "magnitude": "--",
    "projected gradient": "--", "truncation": ":", "direct": "-", "progressive": "--",
    "conv1": "-", "conv2": "--", "fc1": "-.", "fc2": ":", "fc3": (0, (5, 1, 1, 1, 1, 1)),
    "W": "-", "Z": "--", "U": ":",
    "forgy": ":", "density": "--", "linear": "-", "k-means++": "-.", "optimal": (0, (5, 1, 1, 1, 1, 1)),
    "snap": ":", "incremental": "--", "straight-through": "-.", "ADMM": "-",
    "ADMM, then incremental": (0, (5, 1, 1, 1, 1, 1)), "ADMM, then straight-through": "-",
    "clusters": "--", "both": "-", "low rank": "-.",
    "element": "-", "filter": "--", "channel": "--", "column": "-.", "kernel": ":",
    "block": (0, (5, 1, 1, 1, 1, 1)), "n:m": (0, (1, 1)), "mixed": "-.",
    "CSR": "-", "BSR": ":", "shrunk": "--", "ONNX Runtime": "-.",
    "shrunk, ONNX Runtime": (0, (5, 1, 1, 1, 1, 1)),
}  # fmt: skip
# Of bars, whose colours alone are the same grey for most layers; drawn in white.
HATCHES = {"conv1": "", "conv2": "", "fc1": "//", "fc2": "xx", "fc3": ".."}
RATIO = "ratio: weights / nonzero weights"  # the name of its axis

TEXT_WIDTH = 7.5  # inches: the width of a notebook's text, 720 CSS pixels
CSS_DPI = 96  # one inch of a figure is 96 CSS pixels on the page
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
DPI = 144  # pixels drawn per inch: 1.5 for each CSS pixel

RC = {
    "font.family": "DejaVu Sans", "font.size": 9.5,
    "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.titley": 1.0,  # a fixed place: searching for one takes a quarter of the drawing time
    "axes.labelsize": 9.5, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5, "legend.frameon": False, "legend.handlelength": 2.2,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK,
    "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
    "axes.grid": False, "grid.color": FAINT, "grid.linewidth": 0.7, "axes.axisbelow": True,
    "axes.prop_cycle": mpl.cycler(color=[BLUE, ORANGE, GREEN, RED]),
    "lines.linewidth": 1.8, "lines.markersize": 5,
    "figure.facecolor": "white", "savefig.facecolor": "white", "axes.facecolor": "white",
}  # fmt: skip

# matplotlib's settings and font caches are global: one thread draws at a time.
DRAWING = threading.RLock()

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """A drawing function that runs with the shared sizes and fonts, one thread at a time."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with DRAWING, mpl.rc_context(RC):
            return draw(*args, **kwargs)

    return wrapped


def new_figure(width: float = TEXT_WIDTH, height: float = 3.0, layout: str | None = "constrained") -> Figure:
    """An empty figure of `width` x `height` inches with an Agg canvas; add axes with `.subplots()`.

    In a panel choose layout=None and `subplots_adjust`: the axes then keep their place from one
    picture to the next, and drawing takes half the time.
    """
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def lightened(figure: Figure) -> Figure:
    """The same figure, drawn in half the time: on logarithmic axes no minor ticks, and labels without TeX.

    Each tick is made anew for each picture, a millisecond apiece, and each label such as 10⁻³ is parsed.
    Labels that a drawing function has chosen stay. For panels, whose picture has to follow the hand.
    """
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                axis.set_minor_locator(NullLocator())
                if isinstance(axis.get_major_formatter(), LogFormatterSciNotation):
                    axis.set_major_formatter(FuncFormatter(_power))
    return figure


@contextmanager
def collected_later() -> Iterator[None]:
    """Python collects garbage afterwards, and the young alone: a figure leaves much of it, and to go through
    all that torch's modules hold, in the middle of a drawing, takes longer than the drawing.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
            gc.collect(1)


def _power(value: float, _: int | None = None) -> str:
    """10⁻³ for 0.001; plain where it is no power of ten."""
    exponent = math.log10(value) if value > 0 else 0.5
    if abs(exponent - round(exponent)) > 1e-6:
        return f"{value:g}"
    return "10" + str(round(exponent)).translate(SUPERSCRIPTS)


def with_intervals(
    axes: Axes, points: Sequence[tuple[float, Interval]], kind: str, label: str
) -> None:
    """A line through means at their places, with their intervals, in the style of its kind."""
    places, found = zip(*sorted(points, key=lambda point: point[0]), strict=True)
    means = [each.mean for each in found]
    spread = [[each.mean - each.low for each in found], [each.high - each.mean for each in found]]
    axes.errorbar(
        places, means, spread, color=COLORS[kind], marker=MARKERS[kind], ls=LINES[kind], label=label,
        elinewidth=1, capsize=2.5,
    )  # fmt: skip


def png(figure: Figure, dpi: int = DPI, compress: int = 9) -> bytes:
    """The figure as PNG, without date or version: equal figures give equal bytes.

    `compress` trades size for time, from 1 (fast, for a panel) to 9 (small, for a notebook).
    """
    buffer = io.BytesIO()
    with DRAWING, mpl.rc_context(RC):
        figure.savefig(
            buffer,
            format="png",
            dpi=dpi,
            metadata={"Software": None},
            pil_kwargs={"compress_level": compress},
        )
    return buffer.getvalue()


@dataclass(frozen=True, eq=False, repr=False)
class Picture:
    """A drawn figure for a notebook: a PNG whose text form is its alternative text."""

    figure: Figure
    alt: str

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, **_: object) -> tuple[dict, dict]:
        width, height = self.figure.get_size_inches()
        size = {"width": round(width * CSS_DPI), "height": round(height * CSS_DPI), "alt": self.alt}
        data = {"text/plain": self.alt, "image/png": base64.b64encode(png(self.figure)).decode()}
        return data, {"image/png": size}


def show(figure: Figure, alt: str) -> Picture:
    """The figure as the last expression of a cell. `alt` is one sentence that says what it shows.

    The sentence is the output's plain text: what nbval compares and what a reader without pictures
    gets, so numbers in it must hold on every machine. Raises ValueError for an empty one.
    """
    if not alt.strip():
        raise ValueError("a figure needs an alternative text: one sentence that says what it shows")
    return Picture(figure, " ".join(alt.split()))
