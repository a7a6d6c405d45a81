"""Figures of notebook 03."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import BLUE, COLORS, FAINT, INK, LINES, MARKERS, ORANGE, new_figure, styled


@styled
def schedule(kept: Sequence[int], weights: int, rho: Sequence[float], headline: str) -> Figure:
    """What a run will do, epoch by epoch: above, the weights the budget leaves; below, rho.

    `kept` and `rho` hold one value per epoch; rho is NaN while a pruned network is retrained.
    """
    figure = new_figure(7.5, 3.3, layout=None)
    above, below = figure.subplots(2, 1, sharex=True)
    figure.subplots_adjust(0.1, 0.14, 0.985, 0.9, hspace=0.18)
    edges = np.arange(len(kept) + 1) + 0.5
    above.stairs(kept, edges, baseline=1, fill=True, color=FAINT)
    above.stairs(kept, edges, baseline=None, color=ORANGE, lw=1.8)
    above.set(yscale="log", ylim=(300, 2.2 * weights), ylabel="weights kept")
    for start in [0, *(np.flatnonzero(np.diff(kept)) + 1)]:
        text = f"{weights / kept[start]:.3g}x"
        above.annotate(text, (start + 0.65, kept[start] * 1.25), fontsize=8.5, color=INK)
    epochs = np.arange(1, len(rho) + 1)
    below.plot(epochs, rho, "o-", color=BLUE, ms=3.5)
    retraining = [(epoch - 0.5, 1) for epoch in epochs[np.isnan(rho)]]
    below.broken_barh(retraining, (0, 1), color=FAINT, lw=0, transform=below.get_xaxis_transform())
    below.set(yscale="log", ylim=(5e-5, 0.2), ylabel="ρ", xlabel="epoch (grey: masked retraining)")
    below.set_xlim(edges[0], edges[-1])
    above.set_title(headline)
    return figure


@styled
def against_epochs(
    runs: Mapping[str, tuple[Sequence[float], Sequence[float]]], dense: float, floor: float
) -> Figure:
    """Training loss and projected validation accuracy against cumulative epochs, one line per method.

    `runs` maps "direct" and "progressive" to (loss, accuracy in percent), a value per epoch. Accuracies
    below `floor` lie under the picture.
    """
    figure = new_figure(7.5, 3.0)
    left, right = figure.subplots(1, 2)
    for label, (loss, accuracy) in runs.items():
        for axes, values in ((left, loss), (right, accuracy)):
            style = {"color": COLORS[label], "ls": LINES[label], "marker": MARKERS[label], "ms": 3.5}
            axes.plot(range(1, len(values) + 1), values, label=label, **style)
    right.axhline(dense, color=COLORS["dense"], lw=1)
    left.set(xlabel="epoch", ylabel="training loss", yscale="log")
    right.set(xlabel="epoch", ylabel="validation accuracy,\nprojected weights (%)", ylim=(floor, 100))
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    left.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncol=2)
    return figure


@styled
def who_keeps_what(densities: Mapping[str, Mapping[str, float]]) -> Figure:
    """The share of its weights that each layer keeps, one group of bars per way of deciding.

    `densities` maps a way to {layer: percentage kept}.
    """
    figure = new_figure(7.5, 0.8 + 0.52 * len(densities))
    axes = figure.subplots()
    layers = list(next(iter(densities.values())))
    height = 0.8 / len(layers)
    for i, layer in enumerate(layers):
        places = np.arange(len(densities)) + (i - (len(layers) - 1) / 2) * height
        values = [each[layer] for each in densities.values()]
        axes.barh(places, values, height * 0.92, color=COLORS[layer], label=layer)
        for place, value in zip(places, values, strict=True):
            axes.annotate(
                f"{value:.3g}%", (value, place), (3, 0), textcoords="offset points", va="center", fontsize=7
            )
    axes.set_yticks(range(len(densities)), list(densities))
    axes.set(xscale="log", xlim=(0.05, 250), xlabel="weights kept (% of the layer)")
    axes.set_ylim(len(densities) - 0.45, -0.55)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=len(layers))
    return figure


def _error_bar(axes: Axes, place: float, interval: tuple[float, float, float], color: str) -> None:
    mean, low, high = interval
    axes.hlines(place, low, high, color=color, lw=2)
    axes.plot(mean, place, "o", color=color, ms=6)


@styled
def differences(rows: Mapping[str, tuple[float, float, float]], xlabel: str) -> Figure:
    """Paired differences with their 95% intervals, one row each: (mean, low, high) in points."""
    figure = new_figure(7.5, 0.8 + 0.38 * len(rows))
    axes = figure.subplots()
    axes.axvline(0, color=INK, lw=0.8, ls=":")
    for place, interval in enumerate(rows.values()):
        sure = interval[1] > 0 or interval[2] < 0
        _error_bar(axes, place, interval, BLUE if sure else COLORS["dense"])
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set(xlabel=xlabel, ylim=(len(rows) - 0.5, -0.5))
    return figure
