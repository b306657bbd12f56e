"""Exponential backoff with jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Waits that double from ``first`` to ``most`` seconds.

    Each is drawn from its upper half, so that a hundred nodes do not come back as one.
    """

    first: float
    most: float
    _failures: int = 0

    def next(self, at_least: float = 0.0) -> float:
        """Return how long to wait after one more failure, in seconds."""
        longest = min(self.most, self.first * 2.0**self._failures)
        if longest < self.most:
            self._failures += 1
        # Jitter needs no unpredictable numbers.
        drawn = longest * random.uniform(0.5, 1.0)  # noqa: S311
        return at_least + drawn if at_least else drawn

    def reset(self) -> None:
        """Begin again with the shortest wait."""
        self._failures = 0
