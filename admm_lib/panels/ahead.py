"""Drawing ahead: while a reader looks at a picture, those that are one move away are made."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

PAUSE = 0.4  # seconds without a move after which drawing ahead begins: a hand on its way is not slowed


class Ahead:
    """Calls `visit` with one state after the other, in a thread, until the next call of `start`.

    What `visit` raises is dropped: a state that cannot be drawn says so when the reader comes to it.
    """

    def __init__(self, visit: Callable[[dict[str, Any]], None], pause: float = PAUSE) -> None:
        self._visit, self.pause = visit, pause
        self._moved = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, states: Sequence[dict[str, Any]]) -> None:
        """Visit these states after a pause, in place of what is left of earlier ones."""
        self._moved.set()
        self._moved = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(states, self._moved), daemon=True)
        self._thread.start()

    def join(self, timeout: float | None = None) -> None:
        """Wait until all have been visited, for tests."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self, states: Sequence[dict[str, Any]], moved: threading.Event) -> None:
        if moved.wait(self.pause):
            return
        for state in states:
            if moved.is_set():
                return
            with suppress(Exception):
                self._visit(state)


def one_move_away(
    state: dict[str, Any], options: dict[str, Sequence[Any]], moved: str
) -> Iterator[dict[str, Any]]:
    """The states in which one control stands one place further or back: first the control just `moved`."""
    for name in sorted(options, key=lambda name: name != moved):
        places = list(options[name])
        here = places.index(state[name])
        for place in (here + 1, here - 1):
            if 0 <= place < len(places):
                yield {**state, name: places[place]}
