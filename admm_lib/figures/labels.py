"""Short texts beside points, moved about until they neither cover each other nor a point."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text

from .style import INK

DISTANCES = (4, 9, 16, 25, 36, 48)  # points from a point to its text; from 16 on a thin line joins them
SIDES = ((1, 0), (-1, 0), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7), (0, 1), (0, -1))
FAR, CLEAR = 16, 4  # where the line begins; how many points around a point are kept clear
THICK = 1  # points: a line through a text costs as much as a stripe of this height that is covered
ARROW = {"arrowstyle": "-", "lw": 0.5, "color": INK, "shrinkA": 0, "shrinkB": 2}


def place(
    axes: Axes,
    texts: Sequence[tuple[float, float, str]],
    taken: Sequence[tuple[float, float]] = (),
    size: float = 7,
) -> np.ndarray:
    """Write each (x, y, text) beside its point; `taken` are more points to keep clear, in data coordinates.

    Greedy: a text takes the place that covers least, lines through texts counted, the nearest of these;
    places are all around, at `DISTANCES`. The axes' limits and position must be final. Returns the boxes
    taken, one row (left, bottom, right, top) per text, in pixels.
    """
    pixel = axes.figure.dpi / 72
    spots = axes.transData.transform([*((x, y) for x, y, _ in texts), *taken]).reshape(-1, 2)
    covered = np.hstack([spots - CLEAR * pixel, spots + CLEAR * pixel])
    lines = np.empty((0, 2))  # a spot in every pixel of each line drawn so far
    for (x, y, text), spot in zip(texts, spots, strict=False):
        label = axes.annotate(
            text, (x, y), (0, 0), textcoords="offset points", fontsize=size, color=INK, arrowprops=ARROW
        )
        extent = Text.get_window_extent(label, axes.figure.canvas.get_renderer())  # without the line
        distances, boxes = _places(spot, extent.width, extent.height, pixel)
        cost = _shared(boxes, covered).sum(1) + 3 * _outside(boxes, np.array(axes.bbox.extents))
        crossed = (distances >= FAR) * _crossed(spot, boxes, covered[len(spots) :])
        cost += THICK * pixel * (crossed + _within(lines, boxes).sum(0))
        best = int(np.lexsort((distances, cost.round()))[0])
        label.xyann = tuple((boxes[best, :2] - spot) / pixel)
        label.set_verticalalignment("bottom")
        joined = bool(distances[best] >= FAR)
        label.arrow_patch.set_visible(joined)
        if joined:
            middle = (boxes[best, :2] + boxes[best, 2:]) / 2
            steps = np.linspace(0, 1, int(np.linalg.norm(middle - spot)))[:, None]
            lines = np.vstack([lines, spot + steps * (middle - spot)])
        covered = np.vstack([covered, boxes[best]])
    return covered[len(spots) :]


def _places(spot: np.ndarray, width: float, height: float, pixel: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances and boxes of every place around a spot for a text of this size."""
    size = np.array([width, height])
    grid = np.array([(d, across, up) for d, (across, up) in product(DISTANCES, SIDES)])
    corner = spot + grid[:, :1] * grid[:, 1:] * pixel + (np.sign(grid[:, 1:]) - 1) / 2 * size
    return grid[:, 0], np.hstack([corner, corner + size])


def _shared(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The area, in square pixels, that each box shares with each of the others."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return (high - low).clip(0).prod(-1)


def _crossed(spot: np.ndarray, boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How much of the line from a spot to the middle of each box lies in the other boxes, in pixels."""
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    line = spot + np.linspace(0, 1, 33)[:, None, None] * (middles - spot)
    return np.linalg.norm(middles - spot, axis=1) * _within(line, others).any(-1).mean(0)


def _within(spots: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether each spot, of any shape (..., 2), lies in each box, in the last dimension."""
    inside = (spots[..., None, :] >= boxes[:, :2]) & (spots[..., None, :] <= boxes[:, 2:])
    return inside.all(-1)


def _outside(boxes: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The area of each box that sticks out of a frame."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(-1) - _shared(boxes, frame[None])[:, 0]
