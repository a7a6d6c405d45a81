"""Figures of notebook 03."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from .style import BLUE, FAINT, INK, ORANGE, new_figure, styled


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
