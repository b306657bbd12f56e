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
from harness.stats import Estimate, Verdict, Word

STUDY_CPUS = 2
"""Of each of the study's nodes."""

MOST_VOID = 0.5
"""Share of void blocks above which an estimate is invalid, whatever the others show."""

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
    """CPU seconds per request of the whole machine but the daemons, on over off."""

    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class Cost:
    """What one arm costs beside ``off``, in a size and a kind of connection."""

    size: int
    connections: Connections
    comparison: Comparison
    rate: Estimate | None
    """Of requests per second; None where no block counts."""

    cpu: Estimate | None
    """Of CPU seconds per request, the enforcer's daemons left out."""

    daemon: float
    """CPU seconds that the daemons took in a second of the arm's legs, all nodes together."""

    verdict: Verdict


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
    costs: tuple[Cost, ...] = ()
    """Of every arm, the A/A control among them."""

    def of(self, connections: Connections) -> tuple[Headline, ...]:
        """Return the headlines of new or of kept connections, size by size."""
        return tuple(each for each in self.headlines if each.connections is connections)


def analyse(rows: Sequence[Row], seed: int) -> Analysis:
    """Estimate everything; the same rows and seed give the same figures."""
    keys = sorted({(row.size, row.connections.value) for row in rows}, key=_new_first)
    headlines = (_headline(size, Connections(value), rows, seed) for size, value in keys)
    costs = (
        _cost(_of(rows, size, Connections(value)), comparison, seed)
        for size, value in keys
        for comparison in Comparison
        if any(row.comparison is comparison for row in _of(rows, size, Connections(value)))
    )
    return Analysis(tuple(headlines), tally(rows), tuple(costs))


def in_the_study(rules: Estimate, daemon: float, cpus: int = STUDY_CPUS) -> tuple[float, ...]:
    """Return the ratio of rates, with bounds, that the study's nodes would have shown.

    A node of ``cpus`` CPUs serves with what its daemon leaves of them: the ratio of the rules
    alone times ``1 - daemon / cpus``, where ``daemon`` is CPU seconds a second on one node. It
    takes the node's CPUs for what limits the rate, as in the study.
    """
    left = max(0.0, 1 - daemon / cpus)
    return tuple(left * ratio for ratio in (rules.ratio, *rules.interval))


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
        verdict=_judged(mine, Comparison.EFFECT, effect, control),
    )


def _cost(mine: Sequence[Row], comparison: Comparison, seed: int) -> Cost:
    found, controls = pairs(mine, comparison), pairs(mine, Comparison.CONTROL)
    with_cpu = [pair for pair in found if _cpu(pair.test) > 0 and _cpu(pair.reference) > 0]
    rate = _estimate(found, _rps, seed) if found else None
    control = _estimate(controls, _rps, seed) if controls else None
    seconds = sum(pair.test.seconds for pair in found)
    used = sum(pair.test.enforcer_cpu_seconds for pair in found)
    verdict = _judged(mine, comparison, rate, control)
    return Cost(
        size=mine[0].size,
        connections=mine[0].connections,
        comparison=comparison,
        rate=rate,
        cpu=_estimate(with_cpu, _cpu, seed) if with_cpu else None,
        daemon=used / seconds if seconds else 0.0,
        verdict=verdict or Verdict(Word.INVALID, "no block counts"),
    )


def _judged(
    mine: Sequence[Row], comparison: Comparison, effect: Estimate | None, control: Estimate | None
) -> Verdict | None:
    """Return the verdict; None where nothing of the comparison was measured."""
    counted = tally([row for row in mine if row.comparison is comparison])
    if counted.blocks and counted.void > MOST_VOID * counted.blocks:
        why = counted.reasons[0][0] if counted.reasons else "by the rules declared beforehand"
        return Verdict(Word.INVALID, f"{counted.void} of {counted.blocks} blocks are void: {why}")
    return stats.judge(effect, control) if effect else None


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
    """Return the machine's CPU seconds per request without the daemons', a cost apart."""
    own = row.cpu_seconds - row.enforcer_cpu_seconds
    return own / row.requests if row.requests else 0.0
