"""While a reader looks at a picture: first its numbers, then the pictures that are a few moves away."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

State = dict[str, Any]
Step = Callable[[], None]
REST = 0.3  # seconds without a move, longer than between two keys, after which slow numbers are worked out
PAUSE = 0.4  # seconds without a move after which drawing ahead begins: a hand on its way is not slowed
FIRST = 2.0  # seconds more after a panel was made: the cells behind it come first
FAR = 3  # moves along one control
BREATH = 0.02  # seconds between two steps, in which a move is noticed


class Ahead:
    """Takes one step after the other on the kernel's own event loop, until told to stop.

    Between two steps the kernel does whatever it is asked for, and while a cell runs none is taken. What a
    step raises is dropped: a state that cannot be drawn says so when the reader comes to it. Outside an event
    loop, where nobody looks, no step is taken.
    """

    def __init__(self, rest: float = REST, pause: float = PAUSE) -> None:
        self.rest, self.pause = rest, pause
        self._next: asyncio.TimerHandle | None = None

    def start(self, steps: Sequence[Step], first: Step | None = None, wait: float = 0) -> None:
        """Take these steps after a pause, `wait` longer than usual, in place of what is left of earlier ones.

        `first` is taken before them, when the hand rests; at once where no steps are taken.
        """
        self.stop()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            if first is not None:
                first()
            return
        if first is not None:
            self._next = loop.call_later(self.rest, self._begin, loop, first, list(steps))
        else:
            self._next = loop.call_later(self.pause + wait, self._step, loop, list(steps))

    def stop(self) -> None:
        """Take no more steps."""
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


def moves_away(
    state: State, options: Mapping[str, Sequence[Any]], moved: str | None, distance: int
) -> Iterator[State]:
    """The states in which one control stands so many places further or back, the one `moved` first."""
    for name in sorted(options, key=lambda name: name != moved):
        places = list(options[name])
        here = places.index(state[name])
        for place in (here + distance, here - distance):
            if 0 <= place < len(places):
                yield {**state, name: places[place]}
