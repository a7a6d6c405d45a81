"""Figures of notebook 09."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure

from ..records import Interval
from .style import BLUE, FAINT, GREEN, GREY, INK, ORANGE, PINK, RED, SKY, new_figure, styled

NETWORKS = {  # colour and marker of each
    "alexnet": (BLUE, "o"), "vgg16": (ORANGE, "s"), "resnet50": (GREEN, "^"), "mobilenet_v2": (PINK, "D"),
}  # fmt: skip
SPENT = {  # colour and hatch of what time is spent on, and of what stands in memory
    "forward and backward": (FAINT, ""), "optimizer": (GREY, "//"), "penalty's gradient": (ORANGE, ""),
    "Z- and U-updates": (RED, "xx"), "weights": (FAINT, ""), "gradients": (FAINT, ".."),
    "momentum": (GREY, "//"), "Z and U": (BLUE, ""), "U - Z, for the gradient": (SKY, "\\\\"),
    "while updating": (RED, "xx"),
}  # fmt: skip
GB = 1e9


@styled
def updates(panes: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]) -> Figure:
    """Seconds of a Z- and U-update against the weights of a layer: a pane for each set, a mark for each layer
    of each network, both axes logarithmic, and where time is proportional to the weights of the largest.
    """
    figure = new_figure(7.5, 3.0)
    row = figure.subplots(1, len(panes), sharey=True, squeeze=False)[0]
    for axes, (title, networks) in zip(row, panes.items(), strict=True):
        largest = max(point for points in networks.values() for point in points)
        line = np.array([1e3, largest[0]])
        axes.plot(line, line * largest[1] / largest[0], color=INK, lw=0.8)
        for name, points in networks.items():
            colour, marker = NETWORKS[name]
            style = {"ls": "", "marker": marker, "color": colour, "ms": 4, "alpha": 0.7}
            axes.plot(*zip(*points, strict=True), label=name, **style)
        axes.set(xscale="log", yscale="log", title=title, xlabel="weights of a layer")
    row[0].set_ylabel("seconds of an update")
    row[0].legend(loc="upper left")
    return figure


@styled
def cost(networks: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]], title: str) -> Figure:
    """What an epoch's seconds are spent on, in percent, and bytes in memory: two bars for each network."""
    figure = new_figure(7.5, 1.6 + 0.42 * len(networks), layout=None)
    figure.subplots_adjust(left=0.12, right=0.985, top=0.9, bottom=0.5 - 0.05 * len(networks), wspace=0.1)
    time, memory = figure.subplots(1, 2, sharey=True)
    for place, (seconds, held) in enumerate(networks.values()):
        whole = sum(seconds.values())
        _stacked(time, place, {name: 100 * each / whole for name, each in seconds.items()})
        _stacked(memory, place, {name: each / GB for name, each in held.items()})
    for axes in (time, memory):
        axes.set_ylim(len(networks) - 0.5, -0.5)
        handles, labels = axes.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        axes.legend(
            unique.values(), unique, loc="upper center", bbox_to_anchor=(0.5, -0.62 / len(networks) - 0.2),
            ncols=2, handlelength=1.4, columnspacing=1,
        )  # fmt: skip
    time.set_yticks(range(len(networks)), list(networks))
    time.set(title=title, xlabel="share of an epoch (%)", xlim=(0, 100))
    memory.set(title="in memory, without activations", xlabel="gigabytes")
    return figure


def _stacked(axes: object, place: int, parts: Mapping[str, float]) -> None:
    left = 0.0
    for name, width in parts.items():
        colour, hatch = SPENT[name]
        axes.barh(place, width, 0.7, left, color=colour, hatch=hatch, edgecolor="white", lw=0.5, label=name)
        left += width


@styled
def shares(tables: Mapping[str, Mapping[str, float]]) -> Figure:
    """The share of each layer's weights that stays, in percent, one bar for each table."""
    figure = new_figure(7.5, 2.5)
    axes = figure.subplots()
    width = 0.8 / len(tables)
    for number, (title, layers) in enumerate(tables.items()):
        places = np.arange(len(layers)) + (number - (len(tables) - 1) / 2) * width
        colour, hatch = ((BLUE, ""), (ORANGE, "//"), (GREEN, ".."))[number]
        axes.bar(places, layers.values(), width, color=colour, hatch=hatch, edgecolor="white", label=title)
    axes.set_xticks(range(len(layers)), list(layers))
    axes.set(yscale="log", ylabel="weights that stay (%)")
    axes.set_yticks([1, 10, 100], ["1", "10", "100"])
    axes.minorticks_off()
    axes.legend(loc="upper right")
    return figure


@styled
def losses(found: Mapping[str, Interval], allowed: Mapping[str, float]) -> Figure:
    """Test accuracy minus that of the dense network, with intervals, and what a paper reports as a bar."""
    figure = new_figure(7.5, 0.9 + 0.32 * len(found))
    axes = figure.subplots()
    axes.axvline(0, color=GREY, lw=1)
    for place, (name, each) in enumerate(found.items()):
        spread = [[each.mean - each.low], [each.high - each.mean]]
        axes.errorbar(each.mean, place, xerr=spread, fmt="o", color=BLUE, capsize=2.5, elinewidth=1)
        if name in allowed:
            axes.plot(allowed[name], place, "|", color=INK, ms=14, mew=2)
    axes.set_yticks(range(len(found)), list(found))
    axes.set(ylim=(len(found) - 0.5, -0.5), xlabel="test accuracy minus dense, points; bar: a paper's")
    return figure


def linear(points: Sequence[tuple[int, float]]) -> float:
    """How far seconds are from proportional to weights among layers of a million and more: the largest ratio
    of seconds per weight of a layer to that of the next smaller one.
    """
    ordered = [seconds / weights for weights, seconds in sorted(points) if weights >= 1_000_000]
    return max((b / a for a, b in pairwise(ordered)), default=1.0)
