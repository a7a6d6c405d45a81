"""Figures of notebook 07."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from ..records import Interval
from .style import BLUE, COLORS, FAINT, GREEN, GREY, INK, LINES, MARKERS, ORANGE, PINK, new_figure, styled

Curve = Sequence[tuple[float, float]]
BINS = 81
STYLES = {  # of the weightings of a layer's error
    "weight": (BLUE, "-"), "layer": (ORANGE, "--"), "relative": (GREEN, "-."), "remaining": (PINK, ":"),
}  # fmt: skip


@styled
def fits(
    weights: Mapping[str, np.ndarray], scales: Mapping[str, float], apart: Mapping[str, float]
) -> Figure:
    """Each layer's weights as a histogram, on a logarithmic axis, and the Laplace distribution of its scale.

    A straight slope on both sides is what is assumed; `apart` is the distance that stands in the title.
    """
    figure = new_figure(7.5, 2.5)
    row = figure.subplots(1, len(weights), squeeze=False)[0]
    for axes, (name, values) in zip(row, weights.items(), strict=True):
        largest = float(np.abs(values).max())
        density, edges = np.histogram(values, bins=BINS, range=(-largest, largest), density=True)
        axes.stairs(density, edges, fill=True, color=FAINT)
        x = np.linspace(-largest, largest, 201)
        tau = scales[name]
        axes.plot(x, np.exp(-np.abs(x) / tau) / (2 * tau), color=COLORS[name], ls=LINES[name], lw=1.5)
        axes.set(yscale="log", title=f"{name}: {apart[name]:.2f} apart", xlabel="weight")
        axes.set_ylim(density[density > 0].min() / 2, 2 * density.max())
    row[0].set_ylabel("density")
    return figure


@styled
def errors(panes: Mapping[str, Mapping[str, tuple[Curve, Curve]]], labels: tuple[str, str]) -> Figure:
    """Errors as the closed form has them, lines, and as weights have them, marks; both axes logarithmic.

    For each pane, a title, and each layer a pair of curves: expected and found.
    """
    figure = new_figure(7.5, 3.2)
    row = figure.subplots(1, len(panes), squeeze=False)[0]
    for axes, (title, layers) in zip(row, panes.items(), strict=True):
        for name, (expected, found) in layers.items():
            style = {"color": COLORS.get(name, GREY), "label": name}
            axes.plot(*zip(*expected, strict=True), ls=LINES.get(name, "-"), **style)
            axes.plot(*zip(*found, strict=True), ls="", marker=MARKERS.get(name, "."), color=style["color"])
        axes.set(xscale="log", yscale="log", title=title)
        low, high = axes.get_xlim()
        ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5) if low <= tick <= high]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    for axes, label in zip(row, labels, strict=True):
        axes.set_xlabel(label)
    row[0].set_ylabel("error / mean square")
    row[-1].legend(loc="upper left")
    return figure


@styled
def codebooks(panes: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """The error of kept weights against all bits spent on their values, for each way to have codebooks."""
    figure = new_figure(7.5, 3.0)
    row = figure.subplots(1, len(panes), squeeze=False)[0]
    styles = {"layer": (BLUE, "o", "-"), "unified": (GREEN, "^", "--"), "channel": (ORANGE, "s", "-.")}
    for axes, (title, ways) in zip(row, panes.items(), strict=True):
        for way, points in ways.items():
            colour, marker, line = styles[way]
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, ls=line, label=way)
        axes.set(yscale="log", title=title, xticks=(2, 4, 6))
    row[0].set_ylabel("error / mean square")
    row[0].legend(loc="lower left")
    figure.supxlabel("bits a kept weight, codebooks included", fontsize=9.5)
    return figure


@styled
def arms(panes: Mapping[str, Mapping[str, Interval]], best: Mapping[str, str]) -> Figure:
    """Test accuracies of arms with their intervals, from above; the one that others are held against dark."""
    figure = new_figure(7.5, 0.8 + 0.27 * max(len(each) for each in panes.values()))
    row = figure.subplots(1, len(panes), squeeze=False)[0]
    for axes, (title, found) in zip(row, panes.items(), strict=True):
        names = list(found)
        for place, name in enumerate(names):
            each = found[name]
            colour = INK if name == best[title] else BLUE
            spread = [[each.mean - each.low], [each.high - each.mean]]
            axes.errorbar(each.mean, place, xerr=spread, fmt="o", color=colour, capsize=2.5, elinewidth=1)
        axes.set_yticks(range(len(names)), names)
        axes.set(ylim=(len(names) - 0.5, -0.5), title=title, xlabel="test accuracy (%)")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(visible=True, axis="x")
    return figure


@styled
def progress(panes: Mapping[str, Mapping[str, Curve]], lowest: float) -> Figure:
    """Validation accuracy, from `lowest` on, against epochs after the dense ones, for each way."""
    figure = new_figure(7.5, 3.0)
    row = figure.subplots(1, len(panes), squeeze=False)[0]
    for axes, (title, ways) in zip(row, panes.items(), strict=True):
        for (name, points), (colour, line) in zip(ways.items(), cycle(STYLES.values()), strict=False):
            axes.plot(*zip(*points, strict=True), color=colour, ls=line, label=name)
        axes.set(title=title, xlabel="epochs after the dense network", ylim=(lowest, None))
    row[0].set_ylabel("validation accuracy (%)")
    row[-1].legend(loc="lower right")
    return figure


@styled
def solution(
    weights: Mapping[str, np.ndarray], betas: Mapping[str, float], steps: Mapping[str, float],
    kept: Mapping[str, tuple[float, float]],
) -> Figure:  # fmt: skip
    """A panel's picture: each layer's weights, what is cut, and its levels; and what stays of each layer.

    `kept` has the share that stays, as expected and as found.
    """
    figure = new_figure(7.5, 2.9, layout=None)
    figure.subplots_adjust(left=0.055, right=0.99, top=0.9, bottom=0.15, wspace=0.3)
    row = figure.subplots(1, len(weights) + 1)
    for axes, (name, values) in zip(row, weights.items(), strict=False):
        largest, beta, step = float(np.abs(values).max()), betas[name], steps[name]
        counts, edges = np.histogram(values, bins=BINS, range=(-largest, largest))
        axes.stairs(np.maximum(counts, 0.5), edges, baseline=0.5, fill=True, color=COLORS[name])
        axes.set(yscale="log", ylim=(0.5, 2 * counts.max()))
        axes.axvspan(-beta, beta, color="white", alpha=0.7, lw=0)
        axes.axvline(-beta, color=INK, lw=0.8)
        axes.axvline(beta, color=INK, lw=0.8)
        levels = np.arange(max(1, round(beta / step)), largest / step + 0.5) * step
        axes.plot([*-levels, *levels], [0.5] * (2 * len(levels)), "|", color=INK, ms=9, clip_on=False)
        axes.set(title=name, xlabel="weight", xlim=(-largest, largest))
        axes.xaxis.set_major_locator(MaxNLocator(3))  # each tick takes two milliseconds
        axes.yaxis.set_major_locator(LogLocator(numticks=4))
    places = np.arange(len(kept))
    expected, found = zip(*kept.values(), strict=True)
    row[-1].barh(places - 0.19, expected, 0.36, color=GREY)
    row[-1].barh(places + 0.19, found, 0.36, color=[COLORS[name] for name in kept])
    row[-1].set_yticks(places, list(kept))
    row[-1].set(xscale="log", xlim=(1e-4, 1.3), ylim=(len(kept) - 0.5, -0.5), title="share that stays")
    row[-1].set_xlabel("grey: expected")
    return figure
