"""Pictures that replace one another while a run goes on, drawn no more often than anybody looks."""

from __future__ import annotations

import time
from collections.abc import Callable

from ignite.engine import Engine, Events

PAUSE = 30.0  # seconds; drawing takes one or two


class LatestFigure:
    """Draws the latest of what it is offered: a while after the last drawing, and when the run ends."""

    def __init__(self) -> None:
        self._drawn = time.monotonic()
        self._waiting: Callable[[], None] | None = None

    def attach(self, engine: Engine) -> None:
        """Draw what is left when `engine` ends."""
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def offer(self, draw: Callable[[], None]) -> None:
        """Draw, now or later, unless something newer is offered before."""
        self._waiting = draw
        if time.monotonic() - self._drawn >= PAUSE:
            self._finish()

    def _finish(self) -> None:
        if self._waiting is not None:
            self._waiting()
            self._waiting, self._drawn = None, time.monotonic()
