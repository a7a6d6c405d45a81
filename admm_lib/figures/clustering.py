"""Figures of notebook 04."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from .style import BLUE, COLORS, FAINT, GREY, INK, LINES, MARKERS, new_figure, styled

BINS = 81
POINTS = 400  # of a cumulative distribution


@styled
def one_layer(
    values: np.ndarray, start: Sequence[float], end: Sequence[float], optimum: Sequence[float], headline: str
) -> Figure:
    """A layer's weights and its centroids: above, the histogram; below, where k-means moved them.

    `start` and `end` hold as many centroids each, ascending; grey ticks mark those of the `optimum`.
    """
    figure = new_figure(7.5, 3.6, layout=None)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.5, 1))
    figure.subplots_adjust(0.085, 0.12, 0.985, 0.91, hspace=0.08)
    _histogram(above, values)
    for centroid in end:
        above.axvline(centroid, color=BLUE, lw=0.8)
    above.set_title(headline)
    below.plot(np.array([start, end]), [1, 0], color=FAINT, lw=1)
    below.plot(start, np.ones(len(start)), "o", mfc="white", color=BLUE, ms=5)
    below.plot(end, np.zeros(len(end)), "o", color=BLUE, ms=5)
    below.plot(optimum, np.full(len(optimum), -0.55), "|", color=INK, ms=9)
    below.set_yticks([1, 0, -0.55], ["start", "end", "optimum"])
    below.set(ylim=(-0.9, 1.35), xlabel="weight")
    below.tick_params(axis="y", length=0)
    return figure


def _histogram(axes: Axes, values: np.ndarray) -> None:
    """Counts on a logarithmic scale, drawn by hand, which is faster than matplotlib's log axes."""
    counts, edges = np.histogram(values, BINS)
    axes.stairs(np.log10(counts.clip(0.7)), edges, baseline=np.log10(0.7), fill=True, color=FAINT)
    ticks = range(int(np.log10(max(counts.max(), 1))) + 1)
    axes.set_yticks(list(ticks), [f"{10**tick:,}".replace(",000", "k") for tick in ticks])
    axes.set(ylabel="weights", ylim=(np.log10(0.7), None))


@styled
def where_centroids_lie(values: np.ndarray, found: Mapping[str, Sequence[float]]) -> Figure:
    """Left, the histogram of the weights; right, their cumulative distribution; on both the centroids.

    `found` maps a start to its centroids before any iteration. After the figure in 1510.00149, Section 3.2.
    """
    figure = new_figure(7.5, 3.3)
    left, right = figure.subplots(1, 2)
    _histogram(left, values)
    ordered = np.sort(values)
    shares = np.linspace(0, 1, POINTS)
    right.plot(np.quantile(ordered, shares), shares, color=GREY, lw=1.2)
    for row, (start, centroids) in enumerate(found.items(), 1):
        style = {"color": COLORS[start], "marker": MARKERS[start], "ms": 5, "ls": ""}
        left.plot(centroids, np.full(len(centroids), np.log10(0.7) - 0.45 * row), label=start, **style)
        right.plot(centroids, np.searchsorted(ordered, centroids, side="right") / len(ordered), **style)
    left.set(xlabel="weight", ylim=(np.log10(0.7) - 0.45 * len(found) - 0.3, None))
    right.set(xlabel="weight", ylabel="share of weights at or below")
    figure.legend(loc="outside upper right", ncol=len(found))
    return figure


@styled
def against_bits(
    panes: Mapping[str, Mapping[str, Mapping[int, tuple[float, float, float]]]],
    ylabel: str,
    log: bool = False,
) -> Figure:
    """A quantity against bits, one pane each, one line per start or method, with its interval.

    `panes` maps a title to {label: {bits: (mean, low, high)}}.
    """
    figure = new_figure(7.5, 3.2)
    axes = figure.subplots(1, len(panes), sharex=True, sharey=True, squeeze=False)[0]
    for pane, (title, lines) in zip(axes, panes.items(), strict=True):
        for label, points in lines.items():
            bits = list(points)
            mean, low, high = np.array(list(points.values())).T
            pane.fill_between(bits, low, high, color=COLORS[label], alpha=0.15, lw=0)
            style = {"color": COLORS[label], "ls": LINES[label], "marker": MARKERS[label], "ms": 4.5}
            pane.plot(bits, mean, label=label, **style)
        pane.set_title(title)
        pane.set(xlabel="bits", xticks=sorted({b for points in lines.values() for b in points}))
    axes[0].set(ylabel=ylabel, yscale="log" if log else "linear")
    if log:
        axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes[0].yaxis.set_minor_locator(NullLocator())
        axes[0].yaxis.set_major_formatter("{x:g}")
    known = {line.get_label(): line for pane in axes for line in pane.lines}
    figure.legend(known.values(), known.keys(), loc="outside upper right", ncol=len(known))
    return figure
