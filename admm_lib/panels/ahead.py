"""While a reader looks at a picture: first its numbers, then the pictures that are a few moves away."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

State = dict[str, Any]
Step = Callable[[], None]
REST = 0.15  # seconds without a move after which slow numbers are worked out
PAUSE = 0.4  # seconds without a move after which drawing ahead begins: a hand on its way is not slowed
FAR = 3  # moves along one control
BREATH = 0.02  # seconds between two states, in which a move is noticed


class Ahead:
    """Calls `visit` with one state after the other on the kernel's own event loop, until told to stop.

    Between two states the kernel does whatever it is asked for, and while a cell runs nothing is visited.
    What `visit` raises is dropped: a state that cannot be drawn says so when the reader comes to it.
    Outside an event loop, where nobody looks, nothing is visited.
    """

    def __init__(self, visit: Callable[[State], None], rest: float = REST, pause: float = PAUSE) -> None:
        self._visit, self.rest, self.pause = visit, rest, pause
        self._next: asyncio.TimerHandle | None = None

    def start(self, states: Sequence[State], first: Callable[[], None] | None = None) -> None:
        """Visit these states after a pause, in place of what is left of earlier ones.

        `first` is called before them, when the hand rests; at once where nothing can be visited.
        """
        self.stop()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            if first is not None:
                first()
            return
        steps = [partial(self._visit, state) for state in states]
        if first is not None:
            self._next = loop.call_later(self.rest, self._begin, loop, first, steps)
        else:
            self._next = loop.call_later(self.pause, self._step, loop, steps)

    def stop(self) -> None:
        """Visit no more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _begin(self, loop: asyncio.AbstractEventLoop, first: Step, left: list[Step]) -> None:
        self._next = loop.call_later(self.pause, self._step, loop, left)
        first()

    def _step(self, loop: asyncio.AbstractEventLoop, left: list[Step]) -> None:
        self._next = None
        if left:
            with suppress(Exception):
                left[0]()
            if self._next is None:
                self._next = loop.call_later(BREATH, self._step, loop, left[1:])


def few_moves_away(state: State, options: Mapping[str, Sequence[Any]], moved: str | None) -> Iterator[State]:
    """The states in which one control stands up to `FAR` places further or back: near ones first, and of
    these first those of the control just `moved`.
    """
    for distance in range(1, FAR + 1):
        for name in sorted(options, key=lambda name: name != moved):
            places = list(options[name])
            here = places.index(state[name])
            for place in (here + distance, here - distance):
                if 0 <= place < len(places):
                    yield {**state, name: places[place]}
