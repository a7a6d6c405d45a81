"""Figures of notebook 03."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..admm import Residuals
from .style import BLUE, COLORS, FAINT, GREY, HATCHES, INK, LINES, MARKERS, ORANGE, RATIO, new_figure, styled


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


Curve = tuple[Sequence[float], Sequence[float]]  # training loss and accuracy (%), a value per epoch
LEAST = 0.1  # percent: what an error is drawn as where it is smaller, or none
LEAST_SHARE = 0.05  # percent: where the axis of what layers keep begins


@styled
def against_epochs(runs: Mapping[str, Mapping[str, Sequence[Curve]]], dense: float) -> Figure:
    """Training loss (above) and projected error (below) against cumulative epochs, a column per ratio.

    `runs` maps a column's title to {"direct" or "progressive": the curves of its seeds}; the mean is drawn
    over the single seeds. `dense` is the accuracy before pruning. Errors, 100 - accuracy, are on a
    logarithmic axis, which has room for the first projections and for the last tenths; none below `LEAST`.
    """
    figure = new_figure(7.5, 4.3)
    axes = figure.subplots(2, len(runs), sharex=True, sharey="row", squeeze=False)
    for column, (title, methods) in enumerate(runs.items()):
        for label, curves in methods.items():
            losses, accuracies = (np.array(values) for values in zip(*curves, strict=True))
            _with_mean(axes[0, column], losses, label)
            _with_mean(axes[1, column], np.maximum(100 - accuracies, LEAST), label)
        axes[0, column].set_title(title, fontsize=9.5)
        axes[1, column].axhline(max(100 - dense, LEAST), color=COLORS["dense"], lw=1)
        axes[1, column].set_xlabel("epoch")
        axes[1, column].xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].set(ylabel="training loss", yscale="log")
    axes[1, 0].set(ylabel="validation error,\nprojected weights (%)", yscale="log")
    axes[1, 0].yaxis.set_major_formatter("{x:g}")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncol=len(labels))
    return figure


def _with_mean(axes: Axes, values: np.ndarray, label: str) -> None:
    """The mean over rows (seeds) as a line with markers, each row as a thin line behind it."""
    epochs = np.arange(1, values.shape[1] + 1)
    if len(values) > 1:
        axes.plot(epochs, values.T, color=COLORS[label], lw=0.6, alpha=0.4)
    style = {"color": COLORS[label], "ls": LINES[label], "marker": MARKERS[label], "ms": 3.5, "lw": 1.6}
    axes.plot(epochs, values.mean(0), label=label, **style)


@styled
def who_keeps_what(kept: Mapping[str, Mapping[str, float]]) -> Figure:
    """The share of its weights that each layer keeps, one group of bars per way of deciding.

    `kept` maps a way to {layer: percentage kept}; below `LEAST_SHARE` there is a number and no bar.
    """
    figure = new_figure(7.5, 0.8 + 0.52 * len(kept))
    axes = figure.subplots()
    layers = list(next(iter(kept.values())))
    height = 0.8 / len(layers)
    for i, layer in enumerate(layers):
        places = np.arange(len(kept)) + (i - (len(layers) - 1) / 2) * height
        values = [each[layer] for each in kept.values()]
        bars = axes.barh(
            places, values, height * 0.92, color=COLORS[layer], hatch=HATCHES[layer], edgecolor="white",
            lw=0.5, label=layer,
        )  # fmt: skip
        for bar, value in zip(bars, values, strict=True):
            place = bar.get_y() + bar.get_height() / 2
            end = max(value, LEAST_SHARE), place
            axes.annotate(f"{value:.3g}%", end, (3, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_yticks(range(len(kept)), list(kept))
    axes.set(xscale="log", xlim=(LEAST_SHARE, 250), xlabel="weights kept (% of the layer)")
    axes.set_ylim(len(kept) - 0.45, -0.55)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=len(layers))
    return figure


@styled
def differences(
    rows: Mapping[str, tuple[float, float, float]], xlabel: str, linear: float | None = None
) -> Figure:
    """Paired differences with their 95% intervals, one row each: (mean, low, high) in points.

    Blue where the whole interval lies on one side of zero. Beyond +-`linear`, where given, the axis is
    logarithmic.
    """
    figure = new_figure(7.5, 0.8 + 0.38 * len(rows))
    axes = figure.subplots()
    axes.axvline(0, color=INK, lw=0.8, ls=":")
    for place, (mean, low, high) in enumerate(rows.values()):
        color = BLUE if low > 0 or high < 0 else COLORS["dense"]
        axes.hlines(place, low, high, color=color, lw=2)
        axes.plot(mean, place, "o", color=color, ms=6)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set(xlabel=xlabel, ylim=(len(rows) - 0.5, -0.5))
    if linear is not None:
        axes.set_xscale("symlog", linthresh=linear, linscale=1.5)
        most = max(abs(end) for row in rows.values() for end in row)
        series = [linear * step * 10**n for n in range(6) for step in (1, 2, 4)]
        ticks = [tick for tick in series if tick <= most]
        ticks = sorted([-tick for tick in ticks] + [0, *ticks])
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    return figure


@styled
def tree(search: Sequence[Mapping], ratios: Sequence[float], width: int) -> Figure:
    """A tree search: the accuracy of every child that was tried, joined to its parent, over ratio.

    `search` is that of a record: {"val_accuracy": of the children in order of their parents, "best"} for
    each step, of which the first `width` start from the dense network. The children that were kept are
    filled, and the way to the result is drawn thick.
    """
    figure = new_figure(7.5, 3.2)
    axes = figure.subplots()
    paths: list[list[tuple[float, float]]] = []  # of each model kept, its points from the first step on
    for number, (step, ratio) in enumerate(zip(search, ratios, strict=True), 1):
        parents = [[]] if number <= width else paths
        scores = step["val_accuracy"]
        children = [[*path, (ratio, score)] for path, score in zip(parents, scores, strict=True)]
        for child in children:
            axes.plot(*zip(*child[-2:], strict=True), color=GREY, lw=0.8, marker="o", mfc="white", ms=5)
        best = children[step["best"]]
        axes.plot(*best[-1], "o", color=BLUE, ms=6, zorder=3)
        if number <= width:
            paths.append(best)
        else:
            paths[step["best"]] = best
    axes.plot(*zip(*best, strict=True), color=BLUE, lw=2.4)
    axes.set(xscale="log", xlabel=RATIO, ylabel="validation accuracy (%)")
    axes.set_xticks(ratios, [f"{ratio:.0f}x" for ratio in ratios], minor=False)
    axes.minorticks_off()
    return figure


@styled
def paces(histories: Mapping[str, Mapping[str, Sequence[Residuals]]]) -> Figure:
    """How rho moves, and what it does: one column per way, rho above, ||W - Z|| / ||W|| below.

    `histories` maps a way to {layer: its residuals, update by update}.
    """
    figure = new_figure(7.5, 3.9)
    axes = figure.subplots(2, len(histories), sharex=True, sharey="row", squeeze=False)
    for column, (way, layers) in enumerate(histories.items()):
        for layer, history in layers.items():
            style = {"color": COLORS[layer], "ls": LINES[layer], "marker": MARKERS[layer], "ms": 4}
            updates = range(1, len(history) + 1)
            axes[0, column].plot(updates, [each.rho for each in history], label=layer, **style)
            axes[1, column].plot(updates, [each.primal / each.norm for each in history], **style)
        axes[0, column].set(title=way, yscale="log")
        axes[1, column].set_xlabel("ADMM update")
        axes[1, column].xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].set_ylabel("ρ")
    axes[1, 0].set(ylabel="||W − Z|| / ||W||", ylim=(0, None))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncol=len(labels))
    return figure
