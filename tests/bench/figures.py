"""What a bench found: figures with their units, and the bounds that were promised for some."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One number; ``most`` is what it may be at most, None where nothing was promised."""

    name: str
    value: float
    unit: str
    most: float | None = None

    @property
    def is_kept(self) -> bool:
        """Whether it is within its bound."""
        return self.most is None or self.value <= self.most

    def __str__(self) -> str:
        """Return a line for a person."""
        bound = "" if self.most is None else f"   (at most {self.most:g}: "
        verdict = "" if self.most is None else ("kept)" if self.is_kept else "NOT KEPT)")
        return f"{self.name:58} {self.value:12.3f} {self.unit}{bound}{verdict}"

    def as_json(self) -> dict[str, object]:
        """Return it for bench.json."""
        return {"name": self.name, "value": self.value, "unit": self.unit, "most": self.most}


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(name: str, seconds: Iterable[float], most: tuple[float, float] | None) -> list[Figure]:
    """Return median and 99th percentile in ms; ``most`` bounds both."""
    values = [1000 * item for item in seconds]
    p50, p99 = most or (None, None)
    return [
        Figure(f"{name}, p50", statistics.median(values), "ms", p50),
        Figure(f"{name}, p99", quantile(values, 0.99), "ms", p99),
    ]
