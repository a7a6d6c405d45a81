"""Figures of notebook 05."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ..records import Interval
from .style import (
    BLUE,
    COLORS,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PINK,
    SKY,
    new_figure,
    styled,
    with_intervals,
)

PARTS = {"values": BLUE, "positions": ORANGE, "codebooks": GREEN, "biases": PINK, "header": GREY}
PART_HATCHES = {"positions": "//", "biases": "xx"}  # else some parts are the same grey

BESIDE = {  # where the labels of a curve, and some of them apart, stand: so that they do not meet
    "low rank": ((4, -14), "left", "top"), "pruned": ((4, -8), "left", "top"),
    "clusters": ((6, 8), "left", "bottom"), "both": ((5, -6), "left", "top"),
    "1 bit": ((-6, 0), "right", "center"), "10x, 4": ((0, 8), "center", "bottom"),
    "5x, 4": ((0, 8), "center", "bottom"),
}  # fmt: skip


@styled
def file_bar(sections: Mapping[str, int], most: float, headline: str) -> Figure:
    """The bits of a file's sections as one bar from left to right, in bytes; the axis ends at `most`."""
    figure = new_figure(7.5, 1.75, layout=None)
    axes = figure.subplots()
    figure.subplots_adjust(0.03, 0.3, 0.97, 0.64)
    left = 0.0
    for name, color in PARTS.items():
        width = sections[name] / 8
        axes.barh(
            0, width, 0.8, left, color=color, hatch=PART_HATCHES.get(name), edgecolor="white", lw=0.5,
            label=f"{name} {width:,.0f}",
        )  # fmt: skip
        left += width
    axes.set(xlim=(0, most), ylim=(-0.5, 0.5), yticks=[], xlabel="bytes of the whole file")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines["left"].set_visible(False)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=5, handlelength=1, columnspacing=1.4)
    axes.set_title(headline, y=1.32)
    return figure


@styled
def codes(panes: Mapping[str, Mapping[str, float]], own: str = "file") -> Figure:
    """What codes need, bits shown as bytes: a pane for each title, a bar for each code, `own` in blue."""
    figure = new_figure(7.5, 0.85 + 0.27 * max(map(len, panes.values())))
    row = figure.subplots(1, len(panes), squeeze=False)[0]
    for axes, (title, found) in zip(row, panes.items(), strict=True):
        sizes = [bits / 8 for bits in found.values()]
        axes.barh(range(len(sizes)), sizes, 0.7, color=[BLUE if name == own else SKY for name in found])
        beside = {"textcoords": "offset points", "va": "center", "fontsize": 8.5}
        for place, size in enumerate(sizes):
            axes.annotate(f"{size:,.0f}", (size, place), (3, 0), **beside)
        axes.set_yticks(range(len(found)), list(found))
        axes.tick_params(axis="y", length=0)
        axes.set(xlim=(0, 1.22 * max(sizes)), ylim=(len(found) - 0.4, -0.6), xlabel="bytes", title=title)
        axes.xaxis.set_major_formatter("{x:,.0f}")
    return figure


@styled
def accuracy_by_size(
    curves: Mapping[str, Sequence[tuple[float, Interval, str]]], dense: tuple[float, float]
) -> Figure:
    """Test accuracy against whole files: for each way its points of bytes, accuracy and what to write there.

    `dense` is the bytes and the accuracy of the network before; the axis of bytes is logarithmic.
    """
    figure = new_figure(7.5, 3.6)
    axes = figure.subplots()
    axes.axhline(dense[1], color=COLORS["dense"], lw=1)
    said = f"dense: {dense[0]:,.0f} bytes"
    axes.text(
        0.01, dense[1], said, transform=axes.get_yaxis_transform(), va="center", color=COLORS["dense"],
        bbox={"fc": "white", "lw": 0, "pad": 1},
    )  # fmt: skip
    for way, points in curves.items():
        sizes, found, labels = zip(*sorted(points, key=lambda point: point[0]), strict=True)
        with_intervals(axes, list(zip(sizes, found, strict=True)), way, way)
        beside = {"textcoords": "offset points", "fontsize": 8, "color": COLORS[way]}
        for size, each, label in zip(sizes, found, labels, strict=True):
            side, ha, va = BESIDE.get(label, BESIDE[way])
            axes.annotate(label, (size, each.mean), side, ha=ha, va=va, **beside)
    axes.set_xscale("log")
    axes.margins(x=0.1)
    axes.set(xlabel="bytes of the whole file", ylabel="test accuracy (%)")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(loc="lower right", title="what is done")
    return figure


@styled
def histograms(panes: Mapping[str, tuple[np.ndarray, np.ndarray]], most: int = 60) -> Figure:
    """For each layer its nonzero weights, above, and the gaps between them, below, as histograms.

    Gaps of `most` and more are in the last bar.
    """
    figure = new_figure(7.5, 3.6)
    rows = figure.subplots(2, len(panes), squeeze=False)
    for above, below, (layer, (weights, gaps)) in zip(*rows, panes.items(), strict=True):
        values, counts = np.unique(weights, return_counts=True)
        above.vlines(values, 0, counts, color=COLORS.get(layer, BLUE), lw=1.5)
        above.set(title=layer, xlabel="weight", ylim=(0, None))
        below.bar(*np.unique(gaps.clip(max=most), return_counts=True), 0.9, color=COLORS.get(layer, BLUE))
        below.set(xlabel=f"gap to the next\n(last bar: {most} or more)", xlim=(0, most + 1))
    rows[0][0].set_ylabel("weights")
    rows[1][0].set_ylabel("weights")
    return figure


@styled
def qr_code(image: np.ndarray, headline: str) -> Figure:
    """A QR code as it may be scanned, each of its modules as sharp as it is."""
    figure = new_figure(4.6, 4.9, layout=None)
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.9))
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.axis("off")
    axes.set_title(headline)
    return figure


@styled
def digits(images: np.ndarray, labels: Sequence[str]) -> Figure:
    """Images of digits in a row, (n, 28, 28), each with its label below."""
    figure = new_figure(7.5, 1.1)
    for axes, image, label in zip(figure.subplots(1, len(images)), images, labels, strict=True):
        axes.imshow(image, cmap="gray_r")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_xlabel(label, color=INK)
    return figure
