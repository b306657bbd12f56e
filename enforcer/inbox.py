"""Where changes of the cluster wait for the next sync: what arrives meanwhile becomes one batch."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from enforcer.model.changes import Change


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes in the order of their arrival; ``oldest`` is when the first came (monotonic, s)."""

    changes: tuple[Change, ...]
    oldest: float


class Inbox:
    """Collects changes until they are taken. One event loop, no locks."""

    def __init__(self) -> None:
        """Start empty."""
        self._changes: list[Change] = []
        self._oldest = 0.0
        self._something = asyncio.Event()

    def put(self, change: Change) -> None:
        """Add a change and wake who waits."""
        if not self._changes:
            self._oldest = time.monotonic()
        self._changes.append(change)
        self._something.set()

    def nudge(self) -> None:
        """Wake who waits though nothing of the cluster has changed."""
        if not self._changes:
            self._oldest = time.monotonic()
        self._something.set()

    async def take(self, patience: float) -> Batch:
        """Return what is there, at once or when something comes; empty after ``patience`` s."""
        try:
            async with asyncio.timeout(patience):
                await self._something.wait()
        except TimeoutError:
            return Batch((), time.monotonic())
        self._something.clear()
        changes, self._changes = self._changes, []
        return Batch(tuple(changes), self._oldest)
