"""Figures of notebook 00."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .style import BLUE, COLORS, FAINT, HATCHES, INK, MARKERS, ORANGE, RATIO, new_figure, styled


@styled
def ratio_story(
    ratio: float,
    weights: Tensor,
    mask: Tensor,
    curves: Mapping[str, Mapping[float, float]],
    kept: Mapping[str, int],
) -> Figure:
    """What a pruning ratio does: which magnitudes go, what accuracy is left, what each layer keeps.

    `weights` are all weights as one vector, `mask` those kept, `curves` accuracy in percent by ratio per
    method, and `kept` the nonzero weights per layer at this ratio.
    """
    figure = new_figure(7.5, 3.0, layout=None)
    histogram, accuracy, layers = figure.subplots(1, 3, width_ratios=(1.15, 1.15, 0.9))
    figure.subplots_adjust(0.075, 0.17, 0.985, 0.86, wspace=0.42)
    _magnitudes(histogram, weights.abs().numpy(), mask.numpy())
    for method, curve in curves.items():
        accuracy.plot(
            list(curve),
            list(curve.values()),
            color=COLORS[method],
            marker=MARKERS[method],
            label=method,
        )
        accuracy.plot(ratio, curve[ratio], "o", ms=11, mfc="none", mec=INK, mew=1.4)
    accuracy.set(xscale="log", ylim=(0, 104), xlabel=RATIO, ylabel="validation accuracy (%)")
    accuracy.set_xticks([1, 10, 100], ["1", "10", "100"])
    accuracy.set_title("before retraining")
    if len(curves) > 1:
        accuracy.legend(loc="lower left")
    names = list(kept)[::-1]
    layers.barh(
        names, [kept[name] for name in names], color=[COLORS.get(name, BLUE) for name in names],
        hatch=[HATCHES.get(name, "") for name in names], edgecolor="white", lw=0.5,
    )  # fmt: skip
    layers.set(xscale="log", xlim=(1, 2e6), xlabel="weights kept")
    for name in names:
        layers.annotate(
            f"{kept[name]:,}",
            (max(kept[name], 1), name),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    layers.set_title(f"{ratio:g}x")
    return figure


def _magnitudes(axes: Axes, magnitudes: np.ndarray, mask: np.ndarray) -> None:
    """A histogram of |w|, what is pruned faint."""
    edges = np.logspace(-5, 0.3, 60)
    for chosen, color in ((slice(None), FAINT), (mask, ORANGE)):
        counts, _ = np.histogram(magnitudes[chosen].clip(edges[0], edges[-1]), edges)
        axes.stairs(counts / 1000, edges, fill=True, color=color)
    axes.set(xscale="log", xlabel="magnitude |w|", ylabel="thousand weights")
    axes.set_title(f"kept: {int(mask.sum()):,}")


@styled
def nonzero_grid(ratio: float, weights: int) -> Figure:
    """One ratio in three ways of speaking: a field of 1,000 dots, of which the kept share is filled."""
    kept = int(weights / ratio + 1e-9)
    figure = new_figure(7.5, 1.9, layout=None)
    axes = figure.subplots()
    figure.subplots_adjust(0.01, 0.02, 0.99, 0.76)
    dots = np.arange(1000)
    filled = round(1000 * kept / weights)
    color = np.where(dots < filled, ORANGE, FAINT)
    axes.scatter(dots % 100, -(dots // 100), c=color, s=13)
    axes.set_axis_off()
    axes.set_title(
        f"{ratio:g}x  =  {100 * (1 - kept / weights):.2f}% zeros  =  {kept:,} of {weights:,} weights",
        fontsize=13, loc="center",
    )  # fmt: skip
    return figure


@styled
def learning(histories: Sequence[tuple[str, Sequence[float]]], dense: float) -> Figure:
    """Validation accuracy in percent over the epochs of successive stages, over the dense network's."""
    figure = new_figure(7.5, 2.6)
    axes = figure.subplots()
    start = 0
    for label, accuracies in histories:
        epochs = np.arange(start + 1, start + 1 + len(accuracies))
        key = "admm" if label.startswith("ADMM") else "retrained"
        axes.plot(epochs, accuracies, color=COLORS[key], marker=MARKERS[key], label=label)
        start += len(accuracies)
    axes.axhline(dense, color=COLORS["dense"], ls="--", label="dense network")
    axes.set(xlabel="epoch", ylabel="validation accuracy (%)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="lower right")
    return figure
