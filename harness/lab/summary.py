"""From rates to the cost table: each cell against no enforcement in the same guest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from harness.lab.cells import Kind
from harness.lab.study import Row
from harness.load.ab import Connections

BASELINE = Kind.NONE.value


@dataclass(frozen=True, slots=True)
class Cost:
    """What one cell costs, in one way of using connections."""

    change: float
    """Of the rate, against no enforcement with as many nodes on the way: -0.025 is 2.5 % less."""
    spread: float
    """Half of what the guests disagree about it."""
    instructions: float
    """How many more the guest executes for a request: all processes and the kernel."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table."""

    cell: str
    points: int
    costs: dict[Connections, Cost]
    problem: str = ""


def lines(rows: Sequence[Row]) -> list[Line]:
    """Return the table, in the order in which the cells were measured first."""
    names = list(dict.fromkeys((row.cell, row.points) for row in rows if row.guest == 1))
    return [_line(rows, cell, points) for cell, points in names]


def _line(rows: Sequence[Row], cell: str, points: int) -> Line:
    mine = [row for row in rows if row.cell == cell]
    problems = sorted({row.error for row in mine if row.error})
    costs = {
        kind: cost
        for kind in Connections
        if (cost := _cost([r for r in mine if r.connections is kind], rows)) is not None
    }
    return Line(cell, points, costs, "; ".join(problems))


def _cost(mine: Iterable[Row], rows: Sequence[Row]) -> Cost | None:
    pairs = [
        (row.rps, base.rps)
        for row in mine
        for base in rows
        if _is_baseline_of(base, row) and row.rps > 0 and base.rps > 0
    ]
    if not pairs:
        return None
    logs = [math.log(rate / base) for rate, base in pairs]
    more = [1e9 / rate - 1e9 / base for rate, base in pairs]
    return Cost(math.expm1(fmean(logs)), (max(logs) - min(logs)) / 2, fmean(more))


def _is_baseline_of(base: Row, row: Row) -> bool:
    same = (base.guest, base.points, base.connections) == (row.guest, row.points, row.connections)
    return same and base.cell.partition(",")[0] == BASELINE


def repeatability(rows: Sequence[Row]) -> float | None:
    """Return by how much the same cell's rates differ between guests, on average."""
    found: dict[tuple[str, Connections], list[float]] = {}
    for row in rows:
        if row.rps > 0:
            found.setdefault((row.cell, row.connections), []).append(row.rps)
    spreads = [math.log(max(rates) / min(rates)) for rates in found.values() if len(rates) > 1]
    return fmean(spreads) if spreads else None
