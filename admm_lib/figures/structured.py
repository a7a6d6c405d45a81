"""Figures of notebook 06."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.colors import ListedColormap, to_rgba
from matplotlib.figure import Figure

from ..records import Interval
from .style import COLORS, FAINT, GREY, INK, LINES, MARKERS, RATIO, new_figure, styled, with_intervals


@styled
def views(masks: Mapping[str, np.ndarray]) -> Figure:
    """What each view keeps of one layer: its matrix, a row for each output, weights that stay in colour."""
    figure = new_figure(7.5, 0.35 + 1.25 * -(-len(masks) // 2))
    grid = figure.subplots(-(-len(masks) // 2), 2, squeeze=False)
    for axes in grid.flat[len(masks) :]:
        axes.axis("off")
    for axes, (by, mask) in zip(grid.flat, masks.items(), strict=False):
        colours = ListedColormap(["#f2f2f2", COLORS[by]])
        axes.imshow(mask, cmap=colours, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.set(xticks=[], yticks=[], title=f"{by}: {int(mask.sum()):,} of {mask.size:,}")
    return figure


@styled
def loss_by_ratio(
    panes: Mapping[str, Mapping[str, Sequence[tuple[float, Interval]]]], levels: Sequence[float],
    names: Mapping[str, str], lowest: float,
) -> Figure:  # fmt: skip
    """Points of accuracy gained or lost against weights / nonzero weights, on a logarithmic axis.

    For each pane, a title, and each arm, called as `names` says, its points with intervals; lines at the
    `levels` that are asked of. What lies below `lowest` is cut off.
    """
    figure = new_figure(7.5, 3.4)
    row = figure.subplots(1, len(panes), sharey=True, squeeze=False)[0]
    for axes, (title, arms) in zip(row, panes.items(), strict=True):
        axes.axhline(0, color=COLORS["dense"], lw=1)
        for level in levels:
            axes.axhline(-level, color=FAINT, lw=1)
            axes.text(
                1, -level, f" −{level:g}", transform=axes.get_yaxis_transform(), va="center", fontsize=8.5
            )
        for by, points in arms.items():
            with_intervals(axes, points, by, names[by])
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        ticks = [tick for tick in (1, 2, 3, 4, 6, 10, 20, 40, 80, 160, 320, 640) if low <= tick <= high]
        axes.set_xticks(ticks, [f"{tick}×" for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel=RATIO, title=title, ylim=(lowest, 1))
        axes.legend(loc="lower left")
    row[0].set_ylabel("test accuracy minus dense, points")
    return figure


@styled
def break_even(
    needed: Mapping[str, Sequence[tuple[float, float]]], found: Mapping[str, Interval], most: float = 8
) -> Figure:
    """How many times fewer weights pay for their positions, by the bits of a value; and what was found.

    `needed` has a curve of (bits of a value, ratio) for each way to write positions; `found` has a band for
    each network. Where a curve lies below a band, single weights take fewer bits; where above, groups do.
    """
    figure = new_figure(7.5, 3.3)
    axes = figure.subplots()
    beside = {"transform": axes.get_yaxis_transform(), "color": COLORS["element"], "va": "center"}
    # One band filled, the next hatched: two of one colour cannot be told apart.
    bands = (({"fc": to_rgba(COLORS["element"], 0.15), "lw": 0}, "-"),
             ({"fc": "none", "ec": INK, "hatch": "//", "lw": 0, "alpha": 0.5}, "--"))  # fmt: skip
    for (network, each), (face, line) in zip(found.items(), cycle(bands), strict=False):
        axes.axhspan(each.low, each.high, **face)
        axes.axhline(each.mean, color=COLORS["element"], lw=1.2, ls=line)
        axes.text(1.01, each.mean, network, fontsize=8.5, **beside)
    styles = ("-", "--", ":", "-.")
    for (name, points), style in zip(needed.items(), cycle(styles), strict=False):
        bits, ratios = zip(*points, strict=True)
        axes.plot(bits, ratios, style, color=INK, marker="o", ms=3.5, label=name)
    axes.set(xlabel="bits of a value", ylabel="ratio of single weights / ratio of groups")
    axes.set(xlim=(0.7, most + 0.3), ylim=(1, None))
    axes.legend(loc="upper right", title="needed where positions are")
    return figure


@styled
def times(
    panes: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], dense: str = "dense"
) -> Figure:
    """Time of each way over that of the dense network, against weights / nonzero weights; both logarithmic.

    For each pane, a title, and each way its points of ratio and time. Below the line a way is faster.
    """
    figure = new_figure(7.5, 0.7 + 2.5 * -(-len(panes) // 2))
    grid = figure.subplots(-(-len(panes) // 2), 2, sharey="row", squeeze=False)
    known = {}
    for axes in grid.flat[len(panes) :]:
        axes.axis("off")
    for axes, (title, ways) in zip(grid.flat, panes.items(), strict=False):
        axes.axhline(1, color=COLORS[dense], lw=1)
        for way, points in ways.items():
            ratios, spent = zip(*sorted(points), strict=True)
            axes.plot(
                ratios, spent, color=COLORS.get(way, GREY), marker=MARKERS.get(way, "."),
                ls=LINES.get(way, "-"), label=way,
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", title=title)
        low, high = axes.get_xlim()
        ticks = [tick for tick in (1, 2, 4, 8, 16, 32, 64, 128) if low <= tick <= high]
        axes.set_xticks(ticks, [f"{tick}×" for tick in ticks])
        axes.xaxis.minorticks_off()
        axes.yaxis.set_major_formatter("{x:g}")
        known |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    for axes in grid[:, 0]:
        axes.set_ylabel("time / dense")
    for axes in grid[-1]:
        axes.set_xlabel(RATIO)
    figure.legend(known.values(), known, loc="outside lower center", ncols=4)
    return figure


@styled
def pareto(
    panes: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], names: Mapping[str, str], lowest: float
) -> Figure:
    """Points of accuracy against storage in bytes, and each arm's front: what nothing else beats in both.

    For each pane, a title, the points (bytes, test accuracy minus dense) of each arm, called as `names` says.
    Points below `lowest` are left out.
    """
    figure = new_figure(7.5, 3.5)
    row = figure.subplots(1, len(panes), sharey=True, squeeze=False)[0]
    for axes, (title, arms) in zip(row, panes.items(), strict=True):
        axes.axhline(0, color=COLORS["dense"], lw=1)
        for by, points in arms.items():
            seen = [point for point in points if point[1] >= lowest]
            if not seen:
                continue
            axes.plot(*zip(*seen, strict=True), MARKERS[by], color=COLORS[by], ms=4, alpha=0.45)
            best = front(seen)
            axes.plot(
                *zip(*best, strict=True), color=COLORS[by], ls=LINES[by], marker=MARKERS[by], label=names[by]
            )
        axes.set(xscale="log", title=title, xlabel="kilobytes of values and positions", ylim=(lowest, 0.7))
        low, high = axes.get_xlim()
        ticks = [digit * 10**power for power in range(2, 8) for digit in (1, 2, 5)]
        ticks = [tick for tick in ticks if low <= tick <= high]
        axes.set_xticks(ticks, [f"{tick / 1e3:g}" for tick in ticks])
        axes.minorticks_off()
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower right")
    row[0].set_ylabel("test accuracy minus dense, points")
    return figure


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, gain) of more gain than all that cost as much or less, by rising cost."""
    best: list[tuple[float, float]] = []
    for cost, gain in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or gain > best[-1][1]:
            best.append((cost, gain))
    return best


@styled
def changes(
    panes: Mapping[str, Mapping[str, Sequence[tuple[float, Interval]]]], names: Mapping[str, str]
) -> Figure:
    """Accuracy in percent against the size of a change of the images: a pane for each change, a line for each
    network, called as `names` says, with its interval over seeds.
    """
    figure = new_figure(7.5, 1.0 + 2.2 * -(-len(panes) // 2))
    grid = figure.subplots(-(-len(panes) // 2), 2, squeeze=False)
    for axes in grid.flat[len(panes) :]:
        axes.axis("off")
    for axes, (title, lines) in zip(grid.flat, panes.items(), strict=False):
        for kind, points in lines.items():
            with_intervals(axes, points, kind, names[kind])
        axes.set(title=title, ylim=(0, 103))
    for axes in grid[:, 0]:
        axes.set_ylabel("right (%)")
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@styled
def one_view(mask: np.ndarray, shares: Mapping[str, float], by: str) -> Figure:
    """Left, what a view keeps of one layer; right, the `shares` of the dense network's cost, as bars.

    The axis of shares is logarithmic, from a thousandth to thirty; the line is the dense network.
    """
    figure = new_figure(7.5, 3.0, layout=None)
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
    figure.subplots_adjust(0.02, 0.16, 0.975, 0.9, wspace=0.55)
    colours = ListedColormap(["#f2f2f2", COLORS[by]])
    left.imshow(mask, cmap=colours, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    left.set(xticks=[], yticks=[], title=f"{by}: {int(mask.sum()):,} of {mask.size:,} weights of conv2")
    bars = right.barh(range(len(shares)), list(shares.values()), 0.65, color=COLORS[by], left=0)
    for bar, share in zip(bars, shares.values(), strict=True):
        end = max(share, 1e-3), bar.get_y() + bar.get_height() / 2
        right.annotate(f"{share:.3g}", end, (3, 0), textcoords="offset points", va="center", fontsize=8.5)
    right.axvline(1, color=COLORS["dense"], lw=1.2)
    right.set(xscale="log", xlim=(1e-3, 30), ylim=(len(shares) - 0.4, -0.6))
    right.set_xlabel("whole network, over the dense one")
    right.set_yticks(range(len(shares)), list(shares))
    right.minorticks_off()
    right.tick_params(axis="y", length=0)
    return figure
