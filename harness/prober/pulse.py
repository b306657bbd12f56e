"""How late this program itself is: an answer that waited for it has not taken that long to come.

Answers come to an event loop that may be busy (it has just started five hundred attempts) or may
not run at all (others have the processors). Who asks for the slowest answer wants to know about
servers and the way to them, so the longest moment in which nobody looked is taken off.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import deque
from collections.abc import AsyncIterator

from harness.clusters.base import Outcome, Verdict

BEAT = 0.005
"""Seconds between two beats."""
_REMEMBERED = 4096


class Pulse:
    """Beats while somebody asks it to, and remembers how late each beat was."""

    def __init__(self) -> None:
        """Start without a beat."""
        self._late: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        self._last = 0.0

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beat for as long as the context lasts."""
        task = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            task.cancel()

    def told(self, outcome: Outcome) -> Outcome:
        """Return an outcome of just now without the time that this program is to blame for."""
        if outcome.verdict is Verdict.DROPPED or outcome.seconds < BEAT:
            return outcome
        seconds = max(0.0, outcome.seconds - self.lateness(outcome.seconds))
        return dataclasses.replace(outcome, seconds=seconds)

    def lateness(self, seconds: float) -> float:
        """Return by how much this program was late at most, within the last seconds."""
        now = asyncio.get_running_loop().time()
        since = now - seconds
        under_way = now - self._last - BEAT if self._last else 0.0
        before = (late for when, late in reversed(self._late) if when >= since)
        return max((under_way, *before), default=0.0)

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        self._last = loop.time()
        while True:
            await asyncio.sleep(BEAT)
            now = loop.time()
            late = now - self._last - BEAT
            if late > BEAT:
                self._late.append((now, late))
            self._last = now
