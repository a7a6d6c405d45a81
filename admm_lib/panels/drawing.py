"""A square to draw a digit in, and what a network takes it for."""

import html
from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np
import torch
from ipycanvas import Canvas
from torch import Tensor, nn

from ..data import MEAN, STD
from ..evaluation import in_eval_mode
from .page import Displayed

Stroke = Sequence[tuple[float, float]]  # points (x, y), y downwards, in any unit
SIDE, BOX = 28, 20  # pixels of an image of MNIST, and of the square that its digit just fits into
PEN = 1.3  # half the width of a stroke, in those pixels


def image_of(strokes: Sequence[Stroke]) -> Tensor:
    """Strokes as an image that MNIST could have: (1, 1, 28, 28), normalised.

    As there, the digit is scaled to fit a square of 20 pixels, and its centre of mass is the image's. Raises
    ValueError where nothing is drawn.
    """
    points = [np.asarray(stroke, dtype=float).reshape(-1, 2) for stroke in strokes if len(stroke)]
    if not points:
        raise ValueError("nothing is drawn yet")
    low, high = (pick(np.concatenate(points), axis=0) for pick in (np.min, np.max))
    scale = (BOX - 2 * PEN) / max(*(high - low), 1e-9)
    middle = (low + high) / 2
    ink = _ink([(each - middle) * scale + SIDE / 2 for each in points])
    centre = np.array([(ink.sum(axis) @ np.arange(0.5, SIDE)) / ink.sum() for axis in (0, 1)])
    ink = _ink([(each - middle) * scale + SIDE - centre for each in points])
    return ((torch.from_numpy(ink).float() - MEAN) / STD)[None, None]


def _ink(strokes: Sequence[np.ndarray]) -> np.ndarray:
    """How dark each pixel is, from 0 to 1: by the distance of its centre from the nearest stroke."""
    y, x = np.mgrid[0.5:SIDE, 0.5:SIDE]
    pixels = np.stack([x, y], axis=-1)
    nearest = np.full((SIDE, SIDE), np.inf)
    for points in strokes:
        for start, end in zip(points, points[1:] if len(points) > 1 else points, strict=False):
            way = end - start
            along = ((pixels - start) @ way / max(way @ way, 1e-12)).clip(0, 1)
            nearest = np.minimum(nearest, np.linalg.norm(pixels - start - along[..., None] * way, axis=-1))
    return (PEN + 0.5 - nearest).clip(0, 1)


@torch.no_grad()
def probabilities(network: nn.Module, strokes: Sequence[Stroke]) -> Tensor:
    """What `network` takes the strokes for: its softmax over the ten digits, (10,)."""
    with in_eval_mode(network):
        return network(image_of(strokes)).softmax(1)[0]


class Pad(Displayed):
    """A canvas for mouse or finger; after each stroke, the digit that `network` sees in it."""

    def __init__(self, network: nn.Module, size: int = 224) -> None:
        self.network, self.strokes = network, []
        self._down = False
        self.canvas = Canvas(width=size, height=size)
        self.canvas.layout.border = "1px solid #888"
        self.canvas.line_width, self.canvas.line_cap = 2 * PEN * size / SIDE, "round"
        self._line = widgets.HTML("Draw a digit here.")
        clear = widgets.Button(description="Clear", icon="eraser")
        clear.on_click(lambda _: self.clear())
        self.canvas.on_mouse_down(self.begin)
        self.canvas.on_mouse_move(self.go_on)
        self.canvas.on_mouse_up(lambda x, y: self.end())
        self.canvas.on_mouse_out(lambda x, y: self.end())
        self.canvas.on_touch_start(lambda points: self.begin(*points[0]))
        self.canvas.on_touch_move(lambda points: self.go_on(*points[0]))
        self.canvas.on_touch_end(lambda points: self.end())
        self.widget = widgets.HBox([self.canvas, widgets.VBox([clear, self._line])])

    @property
    def line(self) -> str:
        """The text beside the canvas."""
        return html.unescape(self._line.value)

    def begin(self, x: float, y: float) -> None:
        """A stroke begins."""
        self._down = True
        self.strokes.append([(x, y)])
        self.canvas.stroke_line(x, y, x, y)

    def go_on(self, x: float, y: float) -> None:
        """It goes on, where one has begun."""
        if self._down:
            self.canvas.stroke_line(*self.strokes[-1][-1], x, y)
            self.strokes[-1].append((x, y))

    def end(self) -> None:
        """It ends, and the network looks at all of them."""
        if self._down:
            self._down = False
            found = probabilities(self.network, self.strokes)
            best = int(found.argmax())
            self._line.value = f"This is a {best}, says the network ({100 * found[best]:.0f}%)."

    def clear(self) -> None:
        """An empty canvas."""
        self.strokes.clear()
        self.canvas.clear()
        self._line.value = "Draw a digit here."

    def __repr__(self) -> str:
        return "A square to draw a digit in (where a kernel runs)"
