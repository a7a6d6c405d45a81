"""How ways to prune stand beside others, in notebooks 02 and 06."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ..records import Interval
from .style import GREY, INK, new_figure, styled


@styled
def ways(
    panes: Mapping[str, Mapping[str, Sequence[Interval]]], others: Sequence[str], linear: float = 0.5
) -> Figure:
    """How far each way of pruning ends from each of `others`, in points, 95% intervals, a pane per budget.

    Dark where a way is ahead of all of them, or behind all. Beyond +-`linear` the axes are logarithmic.
    """
    names = list(dict.fromkeys(name for found in panes.values() for name in found))
    figure = new_figure(7.5, 1.2 + (0.2 + 0.12 * len(others)) * len(names))
    row = figure.subplots(1, len(panes), squeeze=False, sharey=True)[0]
    heights = np.linspace(-0.17, 0.17, len(others)) if len(others) > 1 else [0.0]
    for axes, (title, found) in zip(row, panes.items(), strict=True):
        axes.axvline(0, color=INK, lw=0.8, ls=":")
        for name, each in found.items():
            told = all(one.low > 0 for one in each) or all(one.high < 0 for one in each)
            color = INK if told else GREY
            for one, above, mark in zip(each, heights, "os", strict=False):
                axes.hlines(names.index(name) + above, one.low, one.high, color=color, lw=1.6)
                axes.plot(one.mean, names.index(name) + above, mark, color=color, ms=4.5)
        axes.set_xscale("symlog", linthresh=linear, linscale=1.5)
        ends = [end for each in found.values() for one in each for end in (one.low, one.high)]
        ticks = [0.0]
        for end, sign in ((-min(ends), -1), (max(ends), 1)):
            steps = [linear * times for times in (0.4, 1, 4, 20, 100) if linear * times <= 1.5 * end]
            ticks += [sign * step for step in steps if step != linear or len(steps) < 3]  # it leaves room
        ticks.sort()
        axes.set_xticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
        axes.tick_params(axis="y", length=0)
        axes.minorticks_off()
        axes.set(title=title, ylim=(len(names) - 0.4, -0.6))
        axes.grid(visible=True, axis="x")
    row[0].set_yticks(range(len(names)), names)
    marks = [row[0].plot([], [], mark, color=INK, ms=4.5)[0] for mark, _ in zip("os", others, strict=False)]
    labels = [f"minus {other}, points" for other in others]
    figure.legend(marks, labels, loc="outside lower center", ncol=len(others))
    return figure
