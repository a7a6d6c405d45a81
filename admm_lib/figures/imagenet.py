"""Figures of notebook 09."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ..records import Interval
from .style import BLUE, FAINT, GREEN, GREY, INK, ORANGE, PINK, RED, SKY, new_figure, styled

NETWORKS = {  # colour and marker of each
    "alexnet": (BLUE, "o"), "vgg16": (ORANGE, "s"), "resnet50": (GREEN, "^"), "mobilenet_v2": (PINK, "D"),
}  # fmt: skip
SPENT = {  # colour and marker of what time is spent on
    "forward and backward": (GREY, "s"), "optimizer": (INK, "v"), "penalty's gradient": (ORANGE, "^"),
    "Z- and U-updates": (RED, "o"),
}  # fmt: skip
HELD = {  # colour and hatch of what stands in memory
    "weights": (FAINT, ""), "gradients": (FAINT, ".."), "momentum": (GREY, "//"), "Z and U": (BLUE, ""),
    "U - Z, for the gradient": (SKY, "\\\\"), "while updating": (RED, "xx"),
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
    """What an epoch's seconds are spent on, marks on a logarithmic axis, and bytes in memory, as a bar: a row
    for each network.
    """
    height = 1.75 + 0.36 * len(networks)
    figure = new_figure(7.5, height, layout=None)
    figure.subplots_adjust(left=0.125, right=0.985, top=1 - 0.3 / height, bottom=1.3 / height, wspace=0.1)
    time, memory = figure.subplots(1, 2, sharey=True)
    for place, (seconds, held) in enumerate(networks.values()):
        left = 0.0
        for name, each in seconds.items():
            colour, marker = SPENT[name]
            time.plot(each, place, marker, color=colour, ms=8, label=name, ls="")
        for name, each in held.items():
            colour, hatch = HELD[name]
            memory.barh(place, each / GB, 0.7, left, color=colour, hatch=hatch, edgecolor="white", lw=0.5,
                        label=name)  # fmt: skip
            left += each / GB
    time.set_yticks(range(len(networks)), list(networks))
    time.set(title=title, xlabel="seconds of an epoch", xscale="log", xlim=(0.03, 2e7))
    time.set_ylim(len(networks) - 0.5, -0.5)
    time.set_xticks([10**power for power in range(-1, 8, 2)])
    time.grid(visible=True)
    memory.set(title="in memory, without activations", xlabel="gigabytes")
    for axes, at in ((time, 0.125), (memory, 0.57)):
        handles, labels = axes.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        figure.legend(
            unique.values(), unique, loc="lower left", bbox_to_anchor=(at, 0), ncols=2, handlelength=1.4,
            columnspacing=1, borderaxespad=0.2,
        )  # fmt: skip
    return figure


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
    axes.set(ylim=(len(found) - 0.5, -0.5), xlabel="test accuracy minus dense, points (black: a paper's)")
    return figure

