"""Throttled redrawing of a figure that is updated during a run."""

from __future__ import annotations

import time
from collections.abc import Callable

from ignite.engine import Engine, Events

INTERVAL = 30.0  # seconds between two drawings, which take one or two seconds


class ThrottledFigure:
    """Handler that draws the latest submitted figure, at most every `INTERVAL` seconds and when the run ends."""

    def __init__(self) -> None:
        self._drawn = time.monotonic()
        self._pending: Callable[[], None] | None = None

    def attach(self, engine: Engine) -> None:
        """Draw a pending figure when `engine` completes."""
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def submit(self, draw: Callable[[], None]) -> None:
        """Draw now, or later unless a newer figure is submitted before."""
        self._pending = draw
        if time.monotonic() - self._drawn >= INTERVAL:
            self._finish()

    def _finish(self) -> None:
        if self._pending is not None:
            self._pending()
            self._pending, self._drawn = None, time.monotonic()
