"""Figures of notebook 06."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from ..records import Interval
from .style import COLORS, FAINT, GREY, INK, LINES, MARKERS, new_figure, styled


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
    arms: Mapping[str, Sequence[tuple[float, Interval]]], levels: Sequence[float], names: Mapping[str, str]
) -> Figure:
    """Points of accuracy gained or lost against weights / nonzero weights, on a logarithmic axis.

    For each arm, called as `names` says, its points with intervals; lines at the `levels` that are asked of.
    """
    figure = new_figure(7.5, 3.4)
    axes = figure.subplots()
    axes.axhline(0, color=COLORS["dense"], lw=1)
    for level in levels:
        axes.axhline(-level, color=FAINT, lw=1)
        axes.text(1, -level, f" −{level:g}", transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
    for by, points in arms.items():
        ratios, found = zip(*sorted(points, key=lambda point: point[0]), strict=True)
        means = [each.mean for each in found]
        spread = [[each.mean - each.low for each in found], [each.high - each.mean for each in found]]
        axes.errorbar(
            ratios, means, spread, color=COLORS[by], marker=MARKERS[by], ls=LINES[by], label=names[by],
            elinewidth=1, capsize=2.5,
        )  # fmt: skip
    axes.set_xscale("log")
    ticks = [tick for tick in (1, 2, 3, 4, 6, 10, 20, 40, 80, 160, 320) if tick <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, [f"{tick}×" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="weights / nonzero weights", ylabel="test accuracy minus dense, points")
    axes.legend(loc="lower left")
    return figure


@styled
def break_even(
    needed: Mapping[str, Sequence[tuple[float, float]]], found: Interval, what: str, most: float = 8
) -> Figure:
    """How many times fewer weights pay for their positions, by the bits of a value; and what was found.

    `needed` has a curve of (bits of a value, ratio) for each way to write positions; `found` is a band. Where
    a curve lies below the band, single weights take fewer bits; where it lies above, groups do.
    """
    figure = new_figure(7.5, 3.3)
    axes = figure.subplots()
    axes.axhspan(found.low, found.high, color=COLORS["element"], alpha=0.15, lw=0)
    axes.axhline(found.mean, color=COLORS["element"])
    axes.text(0.75, found.mean, what, color=COLORS["element"], va="bottom")
    styles = ("-", "--", ":", "-.")
    for (name, points), style in zip(needed.items(), styles, strict=False):
        bits, ratios = zip(*points, strict=True)
        axes.plot(bits, ratios, style, color=INK, marker="o", ms=3.5, label=name)
    axes.set(xlabel="bits of a value", ylabel="r of single weights / r of groups", xlim=(0.7, most + 0.3))
    axes.set_ylim(1, None)
    axes.legend(loc="upper right", title="needed where positions are")
    return figure


@styled
def times(
    panes: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], dense: str = "dense"
) -> Figure:
    """Time of each way over that of the dense network, against weights / nonzero weights; both logarithmic.

    For each pane, a title, and each way its points of ratio and time. Below the line a way is faster.
    """
    figure = new_figure(7.5, 3.2)
    row = figure.subplots(1, len(panes), sharey=True, squeeze=False)[0]
    for axes, (title, ways) in zip(row, panes.items(), strict=True):
        axes.axhline(1, color=COLORS[dense], lw=1)
        for way, points in ways.items():
            ratios, spent = zip(*sorted(points), strict=True)
            axes.plot(
                ratios, spent, color=COLORS.get(way, GREY), marker=MARKERS.get(way, "."),
                ls=LINES.get(way, "-"), label=way,
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", title=title, xlabel="weights / nonzero weights")
        axes.xaxis.set_major_formatter("{x:g}×")
        axes.yaxis.set_major_formatter("{x:g}")
    row[0].set_ylabel("time / dense")
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
