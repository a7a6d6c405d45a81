"""The machinery of all panels: controls, a picture that follows, errors in place, code to copy.

A panel is a function `draw(**state) -> Figure` with a control for each argument. Everything goes
through `observe` and an Image widget; `interact` and Output widgets are avoided because nbclient
and nbval cannot execute them reliably. Long work belongs into a `Worker`.
"""

import html
import json
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure
from traitlets import TraitError

from ..figures.style import CSS_DPI, Picture, collected_later, lightened, png, show
from . import downloads
from .ahead import FAR, FIRST, Ahead, State, moves_away
from .controls import choices, menu, slider
from .page import COPY, ON_THE_PAGE, Displayed
from .worker import Worker

__all__ = ["Panel", "State", "Worker", "choices", "menu", "slider"]

DPI = 120  # pixels per inch of a panel: fewer than in a printed figure, for speed
COUNTING = "…"  # the line under a picture that is there before its numbers
QUICK, SLOW = 0.03, 0.1  # seconds that these may take to be there at once, or to be worked out ahead


@dataclass
class Shown:
    """A picture, as PNG, and the line under it, None as long as nobody has asked for it."""

    picture: bytes
    line: str | None = None


class Panel(Displayed):
    """Controls above one picture that follows them.

    `draw(**state)` returns a Figure and depends on nothing else, so the same state gives the same
    picture: here, in the static figure below the panel and in tests. `alt` is the picture's sentence for
    those who do not see it. `text(**state)` is a line of plain text under the picture, which may come a
    moment after it where a hand moves a control; `code(**state)` what "Copy as code" gives. `actions` maps a
    button's label to a function of the state that returns the controls to change, `files` what "Save"
    buttons are for, beside the figure, to functions of the state that return a file's name and content.
    `below` are further widgets. What any of these functions raises is shown inside the panel.
    """

    def __init__(
        self,
        title: str,
        controls: Mapping[str, widgets.Widget],
        draw: Callable[..., Figure],
        *,
        alt: str,
        text: Callable[..., str] | None = None,
        code: Callable[..., str] | None = None,
        actions: Mapping[str, Callable[[State], State]] | None = None,
        files: Mapping[str, downloads.File] | None = None,
        below: Sequence[widgets.Widget] = (),
        cache: int = 64,
    ) -> None:
        self.title, self.alt, self.controls = title, alt, dict(controls)
        self._draw, self._text, self._code, self._size = draw, text, code, cache
        self._drawn: OrderedDict[tuple, Shown] = OrderedDict()
        self._lock, self._pending, self._muted = threading.Lock(), False, False
        self._line_later, self._longest = False, 0.0
        self._error, self.ahead = "", Ahead()
        # Without a tooltip: ipywidgets 8.1 fails in the browser to draw an Image that has one.
        self._image = widgets.Image(format="png", layout=widgets.Layout(object_fit="contain"))
        self._line, self._alert, self._shown_code, self._link = (widgets.HTML() for _ in range(4))
        self._line.add_class("admm-line")
        self.buttons = {label: widgets.Button(description=label) for label in actions or {}}
        for label, button in self.buttons.items():
            button.on_click(lambda _, act=actions[label]: self._act(act))
        if code is not None:
            self.buttons["Copy as code"] = widgets.Button(description="Copy as code", icon="copy")
            self.buttons["Copy as code"].on_click(lambda _: self._toggle_code())
        for label, file in {"figure": self._figure_file, **(files or {})}.items():
            button = widgets.Button(description=f"Save {label}", icon="download")
            button.on_click(lambda _, file=file: self._save(file))
            self.buttons[button.description] = button
        for button in self.buttons.values():
            button.layout.width = "auto"
        for control in self.controls.values():
            control.observe(self._follow, "value")
        row = widgets.Layout(flex_flow="row wrap")
        self.widget = widgets.VBox(
            [
                widgets.HTML(ON_THE_PAGE.replace("ALT", html.escape(json.dumps(alt))),
                             layout=widgets.Layout(display="none")),
                widgets.Box(list(self.controls.values()), layout=row),
                widgets.Box(list(self.buttons.values()), layout=row),
                self._alert, self._image, self._line, self._link, self._shown_code, *below,
            ]
        )  # fmt: skip
        self.refresh()
        if os.environ.get("ADMM_PROGRESS") != "off":  # as where notebooks are run and nobody looks
            self._look_ahead(wait=FIRST)

    @property
    def state(self) -> State:
        """The controls' values by name."""
        return {name: control.value for name, control in self.controls.items()}

    @property
    def error(self) -> str:
        """The message shown in the panel, or an empty string."""
        return self._error

    @property
    def image(self) -> bytes:
        """The PNG on show."""
        return bytes(self._image.value)

    @property
    def line(self) -> str:
        """The text on show under the picture."""
        return html.unescape(self._line.value)

    @property
    def code(self) -> str:
        """The code of the current state; empty where the panel has none."""
        return "" if self._code is None else self._code(**self.state)

    @property
    def link(self) -> str:
        """The download on offer, as HTML, or an empty string."""
        return self._link.value

    def offer(self, name: str, content: bytes) -> None:
        """Show a link to a file, until a control is moved."""
        self._link.value = downloads.link(name, content)

    def figure(self, **values: Any) -> Figure:
        """The panel's figure for its current state, with `values` in place of some of it."""
        return lightened(self._draw(**{**self.state, **values}))

    def picture(self) -> Picture:
        """The static figure under the panel, for readers without a kernel."""
        return show(self.figure(), self.alt)

    def set(self, **values: Any) -> None:
        """Move several controls and draw once; ValueError for an unknown control or value."""
        if unknown := values.keys() - self.controls.keys():
            known = ", ".join(self.controls)
            raise ValueError(f"no control {', '.join(sorted(unknown))}: there are {known}")
        self._muted = True
        try:
            for name, value in values.items():
                try:
                    self.controls[name].value = value
                except TraitError:
                    raise ValueError(f"{name}={value!r} is not on its control") from None
        finally:
            self._muted = False
            self.refresh()

    def refresh(self) -> None:
        """Draw the current state; calls during a drawing only ask for one more at its end."""
        self.ahead.stop()
        self._pending, self._link.value = True, ""
        self._catch_up()

    def _follow(self, change: Mapping[str, Any]) -> None:
        """Draw what a control was moved to, and then what its next move may ask for."""
        if not self._muted:
            self._line_later = True
            try:
                self.refresh()
            finally:
                self._line_later = False
            self._look_ahead(change["owner"])

    def _look_ahead(self, moved: widgets.Widget | None = None, wait: float = 0) -> None:
        listed = {name: control for name, control in self.controls.items() if hasattr(control, "options")}
        options = {name: choices(control) for name, control in listed.items()}
        last = next((name for name, control in listed.items() if control is moved), None)
        ways = [list(moves_away(self.state, options, last, distance)) for distance in range(1, FAR + 1)]
        steps = [partial(self._foresee, state) for states in ways for state in states]
        if self._longest <= SLOW:  # else a hand that moves meanwhile would wait for them
            steps += [partial(self._foresee_line, state) for state in ways[0]]
        self.ahead.start(steps, self.refresh_line if self._line.value == COUNTING else None, wait)

    def refresh_line(self) -> None:
        """Work out the line under the picture, where that came first."""
        self._pending = True
        self._catch_up()

    def _foresee_line(self, state: State) -> None:
        with self._lock:
            if shown := self._drawn.get(tuple(state.items())):
                self._told(shown, state)
        self._catch_up()

    def _foresee(self, state: State) -> None:
        with self._lock:
            self._lookup(state)
        self._catch_up()  # where another thread of the kernel has moved a control meanwhile

    def _catch_up(self) -> None:
        while self._pending and self._lock.acquire(blocking=False):
            try:
                self._pending = False
                with collected_later():
                    self._render()
            finally:
                self._lock.release()

    def _render(self) -> None:
        try:
            state = self.state
            shown = self._lookup(state)
            self._image.value = shown.picture
            later = self._line_later and shown.line is None and self._longest > QUICK
            self._line.value = COUNTING if later else html.escape(self._told(shown, state))
            self._error = self._alert.value = ""
            if self._shown_code.value:
                self._show_code()
        except Exception as problem:  # the reader must see it where the picture is
            self._complain(problem)

    def _told(self, shown: Shown, state: State) -> str:
        if shown.line is None:
            began = time.perf_counter()
            shown.line = self._text(**state) if self._text else ""
            self._longest = max(self._longest, time.perf_counter() - began)
        return shown.line

    def _lookup(self, state: State) -> Shown:
        key = tuple(state.items())
        if key not in self._drawn:
            figure = lightened(self._draw(**state))
            if not self._drawn:
                self._fix_size(figure)
            self._drawn[key] = Shown(png(figure, dpi=DPI, compress=1), None if self._text else "")
        self._drawn.move_to_end(key)
        while len(self._drawn) > self._size:
            self._drawn.popitem(last=False)
        return self._drawn[key]

    def _fix_size(self, figure: Figure) -> None:
        """A fixed height, so that the page does not jump between two pictures."""
        width, height = (f"{CSS_DPI * inches:.0f}px" for inches in figure.get_size_inches())
        self._image.layout.width, self._image.layout.height = width, height
        self._image.layout.max_width = "100%"

    def _complain(self, problem: Exception) -> None:
        self._error = f"{type(problem).__name__}: {problem}"
        if self._line.value == COUNTING:
            self._line.value = ""
        message = html.escape(self._error)
        self._alert.value = f'<div role="alert" style="color:#a12a00">{message}</div>'

    def _act(self, act: Callable[[State], State]) -> None:
        try:
            self.set(**act(self.state))
            self._look_ahead()
        except Exception as problem:
            self._complain(problem)

    def _save(self, file: downloads.File) -> None:
        try:
            self.offer(*file(**self.state))
        except Exception as problem:
            self._complain(problem)

    def _figure_file(self, **state: Any) -> tuple[str, bytes]:
        words = f"{self.title.split(',')[0]} {' '.join(map(str, state.values()))}"
        name = "-".join(re.findall(r"[a-z0-9.]+", words.lower()))
        return f"{name}.png", png(self.figure())

    def _toggle_code(self) -> None:
        try:
            if self._shown_code.value:
                self._shown_code.value = ""
            else:
                self._show_code()
        except Exception as problem:
            self._complain(problem)

    def _show_code(self) -> None:
        self._shown_code.value = COPY + html.escape(self.code) + "</pre>"

    def __repr__(self) -> str:
        return f"Panel: {self.title} (it moves where a kernel runs; a still picture is below)"
