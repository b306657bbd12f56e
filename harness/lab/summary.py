"""From rates to the cost table: each cell against no enforcement in the same guest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from harness.lab.cells import Kind
from harness.lab.loads import PACKETS, REQUESTS, Load
from harness.lab.study import Row

BASELINE = Kind.NONE.value


@dataclass(frozen=True, slots=True)
class Cost:
    """What one cell costs, with one load."""

    change: float
    """Of the rate, against no enforcement with as many nodes on the way: -0.025 is 2.5 % less."""
    spread: float
    """Half of what the guests disagree about it."""
    instructions: float
    """How many more the guest executes for a request or packet: all processes and the kernel."""
    scatter: float
    """Half of what the guests disagree about that."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table."""

    cell: str
    points: int
    costs: dict[Load, Cost]
    problem: str = ""


def lines(rows: Sequence[Row]) -> list[Line]:
    """Return the table, in the order in which the cells were measured first."""
    names = list(dict.fromkeys((row.cell, row.points) for row in rows if row.guest == 1))
    return [_line(rows, cell, points) for cell, points in names]


def _line(rows: Sequence[Row], cell: str, points: int) -> Line:
    mine = [row for row in rows if row.cell == cell]
    problems = sorted({row.error for row in mine if row.error})
    costs = {
        load: cost
        for load in Load
        if (cost := _cost([row for row in mine if row.load is load], rows)) is not None
    }
    return Line(cell, points, costs, "; ".join(problems))


def _cost(mine: Iterable[Row], rows: Sequence[Row]) -> Cost | None:
    pairs = [
        (row.rate, base.rate)
        for row in mine
        for base in rows
        if _is_baseline_of(base, row) and row.rate > 0 and base.rate > 0
    ]
    if not pairs:
        return None
    logs = [math.log(rate / base) for rate, base in pairs]
    more = [1e9 / rate - 1e9 / base for rate, base in pairs]
    return Cost(math.expm1(fmean(logs)), _half(logs), fmean(more), _half(more))


def _half(values: Sequence[float]) -> float:
    """Return half of what values disagree about."""
    return (max(values) - min(values)) / 2


def _is_baseline_of(base: Row, row: Row) -> bool:
    same = (base.guest, base.points, base.load) == (row.guest, row.points, row.load)
    return same and base.cell.partition(",")[0] == BASELINE


@dataclass(frozen=True, slots=True)
class Repeatability:
    """By how much what is measured of the same cell differs between guests, on average."""

    rates: float
    """Of requests: 0.002 is 0.2 %."""
    instructions: float
    """Of packets."""


def repeatability(rows: Sequence[Row]) -> Repeatability | None:
    """Return how well a run repeats itself; None where nothing was measured twice."""
    found: dict[tuple[str, Load], list[float]] = {}
    for row in rows:
        if row.rate > 0:
            found.setdefault((row.cell, row.load), []).append(row.rate)
    twice = {what: rates for what, rates in found.items() if len(rates) > 1}
    requests = [math.log(max(it) / min(it)) for (_, load), it in twice.items() if load in REQUESTS]
    packets = [1e9 / min(it) - 1e9 / max(it) for (_, load), it in twice.items() if load in PACKETS]
    return Repeatability(_mean(requests), _mean(packets)) if twice else None


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0
