"""Long work behind a button: a thread, a progress bar, a Stop button; the kernel stays free."""

import html
import threading
import time
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets


class Worker:
    """A button for long work: it runs in a thread, with a progress bar and a Stop button.

    `work(stop, report)` should look at the event `stop` often and call `report(fraction, message)`;
    `done(result)` follows in the same thread unless the work failed. A failure is shown at the bar.
    """

    def __init__(
        self,
        label: str,
        work: Callable[[threading.Event, Callable[[float, str], None]], Any],
        done: Callable[[Any], None] | None = None,
    ) -> None:
        self._work, self._done, self._stop = work, done, threading.Event()
        self._thread: threading.Thread | None = None
        self._reported = 0.0
        self._start_button = widgets.Button(description=label, icon="play")
        self._stop_button = widgets.Button(description="Stop", icon="stop", disabled=True)
        self._bar = widgets.FloatProgress(min=0, max=1, layout=widgets.Layout(width="180px"))
        self._status = widgets.HTML()
        self._start_button.on_click(lambda _: self.start())
        self._stop_button.on_click(lambda _: self.stop())
        parts = [self._start_button, self._stop_button, self._bar, self._status]
        self.widget = widgets.Box(parts, layout=widgets.Layout(flex_flow="row wrap"))
        self._guard = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether the work is under way."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def status(self) -> str:
        """The message beside the bar."""
        return html.unescape(self._status.value)

    @property
    def progress(self) -> float:
        """The bar's fraction."""
        return self._bar.value

    def start(self) -> None:
        """Start the work, unless it is under way."""
        with self._guard:
            if self.running:
                return
            self._stop.clear()
            self._reported, self._bar.value, self._status.value = 0.0, 0.0, "starting"
            self._start_button.disabled, self._stop_button.disabled = True, False
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ask the work to end early."""
        self._stop.set()
        self._stop_button.disabled = True

    def join(self, timeout: float | None = None) -> None:
        """Wait until the work has ended."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _report(self, fraction: float, message: str) -> None:
        now = time.monotonic()
        if now - self._reported >= 0.1 or fraction >= 1:  # ten a second are enough for a browser
            self._reported, self._bar.value = now, min(max(fraction, 0.0), 1.0)
            self._status.value = html.escape(message)

    def _run(self) -> None:
        try:
            result = self._work(self._stop, self._report)
            if self._done is not None:
                self._done(result)
            if self._stop.is_set():
                self._status.value = html.escape(f"stopped; {self.status}")
            else:
                self._bar.value = 1.0
        except Exception as problem:
            self._status.value = html.escape(f"{type(problem).__name__}: {problem}")
        finally:
            self._start_button.disabled, self._stop_button.disabled = False, True
