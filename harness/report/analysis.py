"""From the rows of ``blocks.csv`` to estimates. Nothing is pooled that differs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from harness import stats
from harness.load.ab import Connections
from harness.measure.blocks import Row
from harness.measure.plan import Arm, Comparison, Role
from harness.stats import Estimate, Verdict

Quantity = Callable[[Row], float]


@dataclass(frozen=True, slots=True)
class Pair:
    """A valid block: its test leg and its reference leg."""

    test: Row
    reference: Row

    def log_ratio(self, quantity: Quantity) -> float:
        """Return the log of test over reference."""
        return math.log(quantity(self.test) / quantity(self.reference))


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a curve: the geometric mean of requests per second and its interval."""

    concurrency: int
    rps: float
    low: float
    high: float
    legs: int


@dataclass(frozen=True, slots=True)
class Curve:
    """Requests per second against concurrency, in one arm."""

    arm: Arm
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Headline:
    """One size, new or kept connections, pooled over the sweep of concurrency."""

    size: int
    connections: Connections
    curves: tuple[Curve, ...]
    effect: Estimate | None
    """Requests per second, on over off; None where the run had no enforcer or no valid pair."""

    control: Estimate | None
    """The same, off over off."""

    cpu: Estimate | None
    """CPU seconds per request of the whole machine, on over off."""

    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many blocks were measured, how many of them are void and why, failed requests."""

    blocks: int
    void: int
    failed: int
    reasons: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Analysis:
    """All that the stored rows say."""

    headlines: tuple[Headline, ...]
    tally: Tally

    def of(self, connections: Connections) -> tuple[Headline, ...]:
        """Return the headlines of new or of kept connections, size by size."""
        return tuple(each for each in self.headlines if each.connections is connections)


def analyse(rows: Sequence[Row], seed: int) -> Analysis:
    """Estimate everything; the same rows and seed give the same figures."""
    keys = sorted({(row.size, row.connections.value) for row in rows}, key=_new_first)
    headlines = (_headline(size, Connections(value), rows, seed) for size, value in keys)
    return Analysis(tuple(headlines), tally(rows))


def tally(rows: Sequence[Row]) -> Tally:
    """Count blocks, void ones, and failed requests."""
    void = [row for row in rows if row.void]
    reasons = [row.reason for row in void if not row.reason.startswith("the other leg")]
    counted = {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}
    return Tally(
        blocks=len({row.block for row in rows}),
        void=len({row.block for row in void}),
        failed=sum(row.failed for row in rows),
        reasons=tuple(counted.items()),
    )


def pairs(rows: Iterable[Row], comparison: Comparison) -> list[Pair]:
    """Return the valid blocks of a comparison, in the order in which they ran."""
    chosen = [row for row in rows if row.comparison is comparison and not row.void]
    found = []
    for _, legs in groupby(chosen, key=lambda row: row.block):
        by_role = {leg.role: leg for leg in legs}
        if len(by_role) == len(Role):
            found.append(Pair(by_role[Role.TEST], by_role[Role.REFERENCE]))
    return found


def by_concurrency(
    rows: Sequence[Row], headline: Headline, seed: int
) -> list[tuple[int, Estimate]]:
    """Return the effect at each concurrency of a headline; few pairs each, so wide."""
    mine = _of(rows, headline.size, headline.connections)
    found = pairs(mine, Comparison.EFFECT)
    concurrencies = sorted({pair.test.concurrency for pair in found})
    return [
        (each, _estimate([p for p in found if p.test.concurrency == each], _rps, seed))
        for each in concurrencies
    ]


def change(first: Estimate, last: Estimate) -> tuple[float, float, float]:
    """Return the log of last over first with bounds (MOVER: Zou and Donner 2008).

    The bounds of a difference of two independent estimates, from the bounds of each.
    """
    mean = last.mean - first.mean
    low = mean - math.hypot(last.mean - last.low, first.high - first.mean)
    high = mean + math.hypot(last.high - last.mean, first.mean - first.low)
    return mean, low, high


def _headline(size: int, connections: Connections, rows: Sequence[Row], seed: int) -> Headline:
    mine = _of(rows, size, connections)
    effects, controls = (pairs(mine, each) for each in (Comparison.EFFECT, Comparison.CONTROL))
    effect = _estimate(effects, _rps, seed) if effects else None
    control = _estimate(controls, _rps, seed) if controls else None
    with_cpu = [pair for pair in effects if _cpu(pair.test) > 0 and _cpu(pair.reference) > 0]
    return Headline(
        size=size,
        connections=connections,
        curves=_curves(effects or controls, seed),
        effect=effect,
        control=control,
        cpu=_estimate(with_cpu, _cpu, seed) if with_cpu else None,
        verdict=stats.judge(effect, control) if effect else None,
    )


def _curves(found: Sequence[Pair], seed: int) -> tuple[Curve, ...]:
    legs = [leg for pair in found for leg in (pair.reference, pair.test)]
    arms = [arm for arm in Arm if any(leg.arm is arm for leg in legs)]
    return tuple(_curve(arm, [leg for leg in legs if leg.arm is arm], seed) for arm in arms)


def _curve(arm: Arm, legs: Sequence[Row], seed: int) -> Curve:
    concurrencies = sorted({leg.concurrency for leg in legs})
    points = (
        _point(each, [leg.rps for leg in legs if leg.concurrency == each], seed)
        for each in concurrencies
    )
    return Curve(arm, tuple(points))


def _point(concurrency: int, rates: Sequence[float], seed: int) -> Point:
    mean = stats.estimate([math.log(rate) for rate in rates], seed)
    low, high = (mean.ratio, mean.ratio) if mean.pairs == 1 else mean.interval
    return Point(concurrency, mean.ratio, low, high, mean.pairs)


def _estimate(found: Sequence[Pair], quantity: Quantity, seed: int) -> Estimate:
    return stats.estimate([pair.log_ratio(quantity) for pair in found], seed)


def _of(rows: Sequence[Row], size: int, connections: Connections) -> list[Row]:
    return [row for row in rows if row.size == size and row.connections is connections]


def _new_first(key: tuple[int, str]) -> tuple[bool, int]:
    size, value = key
    return value != Connections.NEW.value, size


def _rps(row: Row) -> float:
    return row.rps


def _cpu(row: Row) -> float:
    return row.cpu_seconds / row.requests if row.requests else 0.0
