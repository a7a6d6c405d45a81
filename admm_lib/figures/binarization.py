"""Figures of notebook 08."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from .clustering import _histogram
from .style import BLUE, COLORS, GREY, INK, MARKERS, new_figure, styled

ROWS = 50  # filters on show, evenly chosen where a layer has more
MOST = 60  # percent: where the axis of errors ends, the same for all sets unless one needs more


@styled
def one_layer(
    weights: np.ndarray, values: Sequence[np.ndarray], errors: Mapping[str, float], chosen: str, headline: str
) -> Figure:
    """Left, a layer's weights as a histogram, and the values they may take; right, each layer's error.

    `values` holds one array for the whole layer, drawn as lines from bottom to top, or one per filter,
    drawn in a row of its own, the first at the bottom. `errors` maps each layer to ||W - Z||^2 / ||W||^2
    in percent; the `chosen` layer's bar is blue.
    """
    figure = new_figure(7.5, 3.2, layout=None)
    left, right = figure.subplots(1, 2, width_ratios=(1.9, 1))
    figure.subplots_adjust(0.08, 0.145, 0.985, 0.91, wspace=0.23)
    _histogram(left, weights)
    rows = [values[i] for i in np.linspace(0, len(values) - 1, min(len(values), ROWS)).round().astype(int)]
    counts = [len(row) for row in rows]
    bottoms = np.repeat(np.arange(len(rows)) / len(rows), counts)
    place = {"transform": left.get_xaxis_transform(), "color": BLUE, "lw": 1.1}
    left.vlines(np.concatenate(rows), bottoms, bottoms + 1 / len(rows), **place)
    note = f" (blue: the values of {len(rows)} filters, a row each)"
    left.set(xlabel="weight" + (note if len(rows) > 1 else ""))
    left.set_title(headline)
    colors = [BLUE if layer == chosen else GREY for layer in errors]
    bars = right.barh(range(len(errors)), list(errors.values()), 0.7, color=colors)
    for bar, error in zip(bars, errors.values(), strict=True):
        end = error, bar.get_y() + bar.get_height() / 2
        right.annotate(f"{error:.3g}%", end, (3, 0), textcoords="offset points", va="center", fontsize=8.5)
    names = right.set_yticks(range(len(errors)), list(errors))
    names[list(errors).index(chosen)].label1.set_fontweight("bold")  # a bar may be too short to be seen
    right.tick_params(axis="y", length=0)
    right.set(ylim=(len(errors) - 0.4, -0.6), xlim=(0, max(MOST, 1.2 * max(errors.values()))))
    right.set(xlabel="||W − Z||² / ||W||² (%)")
    return figure


Row = tuple[float, float, float]  # mean, low and high end of an interval


@styled
def accuracies(panes: Mapping[str, Mapping[str, Row]], dense: float, xlabel: str) -> Figure:
    """Test accuracies with their intervals, in percent: a pane for each title, in it a row for each label.

    All panes have the same rows. The grey line is the `dense` network's accuracy. A label with a fixed colour
    and marker is drawn in these.
    """
    labels = list(next(iter(panes.values())))
    figure = new_figure(7.5, 0.95 + 0.33 * len(labels))
    axes = figure.subplots(1, len(panes), sharex=True, sharey=True, squeeze=False)[0]
    for pane, (title, rows) in zip(axes, panes.items(), strict=True):
        pane.axvline(dense, color=COLORS["dense"], lw=1.2)
        for place, label in enumerate(labels):
            mean, low, high = rows[label]
            color = COLORS.get(label, BLUE)
            pane.hlines(place, low, high, color=color, lw=2)
            pane.plot(mean, place, MARKERS.get(label, "o"), color=color, ms=6)
        pane.set_title(title)
        pane.set_xlabel(xlabel)
    above = {"xycoords": axes[-1].get_xaxis_transform(), "textcoords": "offset points", "ha": "right"}
    axes[-1].annotate(f"dense: {dense:.2f}%", (dense, 1), (0, 3), color=INK, fontsize=8.5, **above)
    axes[0].set_yticks(range(len(labels)), labels)
    axes[0].set_ylim(len(labels) - 0.5, -0.5)
    return figure
