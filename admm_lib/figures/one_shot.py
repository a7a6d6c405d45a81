"""Figures of notebook 02."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from .style import BLUE, COLORS, FAINT, INK, LINES, MARKERS, ORANGE, new_figure, styled

COLUMNS = 8  # flipped images on show


@styled
def pruned_layers(
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    flipped: Sequence[tuple[Tensor, int, int, int]],
    headline: str,
) -> Figure:
    """Per layer the histogram of its weights and its mask as a picture; below, images that flipped.

    `weights` and `masks` by layer name; `flipped` holds (image, truth, dense answer, pruned answer).
    """
    figure = new_figure(7.5, 4.9, layout=None)
    figure.text(0.012, 0.963, headline, fontsize=10.5, weight="bold")
    _histograms(figure.add_axes((0.05, 0.63, 0.935, 0.24)), weights, masks)
    _masks(figure.add_axes((0.05, 0.33, 0.935, 0.235)), [masks[name] for name in weights])
    _strip(figure.add_axes((0.012, 0.01, 0.976, 0.26)), flipped[:COLUMNS])
    return figure


# All layers share one pair of axes, a column of width 1 each: matplotlib takes 30 ms for each pair of axes,
# and the panel has to follow the hand.
GAP = 0.18  # between two columns


def _histograms(axes: Axes, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Counts on a logarithmic scale, drawn by hand, for the same reason."""
    places, labels = [], []
    for column, (name, weight) in enumerate(weights.items()):
        limit = max(float(weight.abs().max()), 1e-9)
        left = column * (1 + GAP)
        edges = np.linspace(left, left + 1, 42)
        for values, color in ((weight.flatten(), FAINT), (weight[masks[name]], ORANGE)):
            counts = torch.histc(values.float(), 41, -limit, limit).numpy()
            axes.stairs(np.log10(counts.clip(0.7)), edges, baseline=np.log10(0.7), fill=True, color=color)
        axes.hlines(np.log10(0.7), left, left + 1, color=INK, lw=1)
        places += [left, left + 0.5, left + 1]
        labels += [f"{-limit:.1g}", "0", f"{limit:.1g}"]
        axes.text(left, 5.2, f"{name}: {int(masks[name].sum()):,}", fontsize=9.5, weight="bold", color=INK)
    axes.set_yticks([0, 2, 4], ["1", "100", "10k"], fontsize=7)
    axes.set_xticks(places, labels, fontsize=7)
    axes.set(xlim=(0, len(weights) * (1 + GAP) - GAP), ylim=(np.log10(0.7), 5))
    axes.spines["bottom"].set_visible(False)


def _masks(axes: Axes, masks: Sequence[Tensor]) -> None:
    """Each mask as (outputs, inputs), the darker the larger the share kept under a pixel."""
    for column, mask in enumerate(masks):
        matrix, left = mask.flatten(1).float(), column * (1 + GAP)
        grid = F.adaptive_avg_pool2d(matrix[None], (min(len(matrix), 50), min(matrix.shape[1], 80)))[0]
        frame = (left, left + 1, 0, 1)
        axes.imshow(grid.numpy(), "Greys", vmin=0, aspect="auto", interpolation="nearest", extent=frame)
    lefts = np.arange(len(masks)) * (1 + GAP)
    axes.vlines([*lefts, *(lefts + 1)], 0, 1, color=INK, lw=0.8)
    for height in (0, 1):
        axes.hlines([height] * len(masks), lefts, lefts + 1, color=INK, lw=0.8)
    axes.set(xlim=(-0.002, len(masks) * (1 + GAP) - GAP + 0.002), ylim=(-0.01, 1.01))
    axes.set_axis_off()


def _strip(axes: Axes, flipped: Sequence[tuple[Tensor, int, int, int]]) -> None:
    """The flipped images side by side in one picture, each under its answers."""
    title = "Images whose answer changed (truth: dense → pruned)" if flipped else "No answer changed"
    axes.set_title(title, fontsize=9.5, weight="normal", y=0.98)
    side = flipped[0][0].shape[-1] if flipped else 1
    strip = torch.zeros(side, COLUMNS * side * 3 // 2)
    for column, (image, truth, before, after) in enumerate(flipped):
        left = column * side * 3 // 2 + side // 4
        strip[:, left : left + side] = (image[0] - image.min()) / (image.max() - image.min() + 1e-9)
        axes.text(left + side / 2, -2, f"{truth}: {before} → {after}", fontsize=8.5, ha="center")
    axes.imshow(strip.numpy(), cmap="Greys", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axes.set(ylim=(side, -side * 0.55))
    axes.set_axis_off()


@styled
def training_curves(
    accuracies: Mapping[str, Sequence[float]],
    admm_epochs: int,
    dense: float,
    residuals: Mapping[str, Sequence[float]],
) -> Figure:
    """Left: projected validation accuracy per epoch and method. Right: ||W - Z|| / ||W|| per layer.

    `residuals` holds, per layer, the relative primal residual of each ADMM update.
    """
    figure = new_figure(7.5, 3.2)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    left.axhline(dense, color=COLORS["dense"], lw=1, label="dense network")
    left.axvline(admm_epochs + 0.5, color=INK, lw=0.8, ls=":")
    left.annotate(
        "ADMM ends,\nretraining starts",
        (admm_epochs + 0.7, 0.04),  # where accuracies are high, and nothing else is drawn
        xycoords=("data", "axes fraction"),
        fontsize=8,
    )
    left.set(xlabel="epoch", ylabel="validation accuracy,\nprojected weights (%)")
    right.set(xlabel="ADMM update", ylabel="||W − Z|| / ||W||", ylim=(0, 1))
    for axes, curves in ((left, accuracies), (right, residuals)):
        for key, values in curves.items():
            style = {"color": COLORS[key], "ls": LINES[key], "marker": MARKERS[key], "ms": 4}
            axes.plot(range(1, len(values) + 1), values, label=key, **style)
        axes.xaxis.get_major_locator().set_params(integer=True)
        columns = 3 if axes is left else 2  # four layers in one row would leave the figure
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncol=columns, columnspacing=1.2)
    return figure


@styled
def recorded_runs(records: Mapping[str, tuple[Sequence[float], Sequence[float]]], published: float) -> Figure:
    """Every recorded seed: its dense and its compressed test accuracy, joined; one group per record.

    `records` maps a label to (dense, compressed) accuracies in percent, seed by seed.
    """
    figure = new_figure(7.5, 0.9 + 0.62 * len(records))
    axes = figure.subplots()
    for row, (_, (dense, compressed)) in enumerate(records.items()):
        heights = row + np.linspace(-0.22, 0.22, len(dense)) if len(dense) > 1 else np.array([row])
        axes.hlines(heights, dense, compressed, color=FAINT, lw=1.5)
        axes.plot(dense, heights, MARKERS["dense"], color=COLORS["dense"], label=None if row else "dense")
        axes.plot(
            compressed,
            heights,
            MARKERS["retrained"],
            color=COLORS["retrained"],
            label=None if row else "pruned and retrained",
        )
    axes.axvline(published, color=BLUE, ls="--", lw=1, label=f"published: {published:g}%")
    axes.set_yticks(range(len(records)), list(records))
    axes.set(xlabel="test accuracy (%)", ylim=(len(records) - 0.5, -0.5))
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, 1.22 + 0.1 / len(records)), ncol=3)
    return figure
