"""From the rows of ``blocks.csv`` to estimates. Nothing is pooled that differs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from harness import stats
from harness.load.ab import Connections
from harness.measure.blocks import Row
from harness.measure.plan import NOBODY, Arm, Comparison, Placement, Role
from harness.stats import Bounds, Estimate, Verdict, Word

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
    """Requests per second against concurrency, in one arm; ``off`` is nobody's."""

    arm: Arm
    enforcer: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """The curves of a size and a kind of connection, of all enforcers together."""

    size: int
    connections: Connections
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True)
class Headline:
    """One enforcer, one size, new or kept connections, pooled over the sweep of concurrency."""

    enforcer: str
    size: int
    connections: Connections
    effect: Estimate | None
    """Requests per second, on over off; None where the run had no enforcer or no valid pair."""

    control: Estimate | None
    """The same, off over off."""

    cpu: Estimate | None
    """CPU seconds of the path per request (:func:`cpu_per_request`), on over off."""

    cpu_control: Estimate | None
    verdict: Verdict | None
    cpu_verdict: Verdict | None
    """Slower is what takes more CPU seconds per request."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one arm costs beside ``off``, in a size and a kind of connection."""

    enforcer: str
    size: int
    connections: Connections
    placement: Placement
    comparison: Comparison
    rate: Estimate | None
    """Of requests per second; None where no block counts."""

    cpu: Estimate | None
    """Of CPU seconds per request, the enforcer's daemons left out."""

    seconds: Estimate | None
    """The same as a difference: CPU seconds that a request takes more; no log ratio."""

    daemon: float
    """CPU seconds that the daemons took in a second of the arm's legs, all nodes together."""

    verdict: Verdict
    cpu_verdict: Verdict


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
    """Of every arm where it was swept, the A/A control among them."""

    elsewhere: tuple[Cost, ...] = ()
    """Of the placements beside the sweep."""

    sweeps: tuple[Sweep, ...] = ()

    @property
    def enforcers(self) -> tuple[str, ...]:
        """Whose effects were measured, in the order of the file; nobody's in an A/A run."""
        return tuple(dict.fromkeys(each.enforcer for each in self.headlines))

    def of(self, connections: Connections, enforcer: str | None = None) -> tuple[Headline, ...]:
        """Return the headlines of new or of kept connections, size by size."""
        return tuple(
            each
            for each in self.headlines
            if each.connections is connections and enforcer in {None, each.enforcer}
        )


def analyse(rows: Sequence[Row], seed: int, order: Sequence[str] = ()) -> Analysis:
    """Estimate everything; the same rows and seed give the same figures.

    ``order`` is that of the enforcers, by default the one in which the coin drew them.
    """
    swept = [row for row in rows if row.placement is row.comparison.placement]
    keys = sorted({(row.size, row.connections.value) for row in swept}, key=_new_first)
    conditions = [(size, Connections(value)) for size, value in keys]
    known = enforcers_of(rows)
    enforcers = tuple(sorted(known, key=(*order, *known).index))
    headlines = (
        _headline(name, swept, (size, connections), seed)
        for size, connections in conditions
        for name in enforcers or (NOBODY,)
    )
    return Analysis(
        headlines=tuple(headlines),
        tally=tally(rows),
        costs=tuple(_costs(swept, conditions, enforcers, seed)),
        elsewhere=tuple(_elsewhere(rows, conditions, enforcers, seed)),
        sweeps=tuple(_sweep(swept, each, enforcers, seed) for each in conditions),
    )


def enforcers_of(rows: Iterable[Row]) -> tuple[str, ...]:
    """Return the enforcers that blocks compare with ``off``, in the order of the file."""
    return tuple(dict.fromkeys(row.enforcer for row in rows if row.comparison.has_enforcer))


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


def pairs(rows: Iterable[Row], comparison: Comparison, enforcer: str | None = None) -> list[Pair]:
    """Return the valid blocks of a comparison (of an enforcer), in the order in which they ran."""
    chosen = [row for row in _tried(rows, comparison, enforcer) if not row.void]
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
    found = pairs(
        (row for row in mine if row.placement is Placement.SERVICE),
        Comparison.EFFECT,
        headline.enforcer,
    )
    concurrencies = sorted({pair.test.concurrency for pair in found})
    return [
        (each, _estimate([p for p in found if p.test.concurrency == each], _rps, seed))
        for each in concurrencies
    ]


def change(first: Estimate, last: Estimate) -> Bounds:
    """Return the log of last over first with bounds: the estimates are independent."""
    return Bounds.of(last).less(Bounds.of(first))


def _tried(rows: Iterable[Row], comparison: Comparison, enforcer: str | None) -> list[Row]:
    """Return the rows of a trial; the control and ``bare`` are every enforcer's."""
    whose = enforcer if comparison.has_enforcer else None
    return [row for row in rows if row.comparison is comparison and whose in {None, row.enforcer}]


def _headline(
    name: str, rows: Sequence[Row], condition: tuple[int, Connections], seed: int
) -> Headline:
    mine = _of(rows, *condition)
    effect = _cost(mine, Comparison.EFFECT, name, seed)
    control = _cost(mine, Comparison.CONTROL, name, seed)
    tried = bool(_tried(mine, Comparison.EFFECT, name))
    return Headline(
        enforcer=name,
        size=condition[0],
        connections=condition[1],
        effect=effect.rate,
        control=control.rate,
        cpu=effect.cpu,
        cpu_control=control.cpu,
        verdict=effect.verdict if tried else None,
        cpu_verdict=effect.cpu_verdict if tried else None,
    )


def _costs(
    rows: Sequence[Row],
    conditions: Iterable[tuple[int, Connections]],
    enforcers: Sequence[str],
    seed: int,
) -> Iterator[Cost]:
    """Yield the cost of every trial in every condition."""
    for condition in conditions:
        mine = _of(rows, *condition)
        for comparison in Comparison:
            names = enforcers if comparison.has_enforcer else (NOBODY,)
            yield from (
                _cost(mine, comparison, name, seed)
                for name in names
                if _tried(mine, comparison, name)
            )


def _elsewhere(
    rows: Sequence[Row],
    conditions: Sequence[tuple[int, Connections]],
    enforcers: Sequence[str],
    seed: int,
) -> Iterator[Cost]:
    """Yield the costs beside the sweep, placement by placement, each with its own control."""
    kinds = {Comparison.EFFECT, Comparison.CONTROL}
    beside = [
        row for row in rows if row.comparison in kinds and row.placement is not Placement.SERVICE
    ]
    for placement in Placement:
        there = [row for row in beside if row.placement is placement]
        yield from _costs(there, conditions, enforcers, seed)


def _cost(mine: Sequence[Row], comparison: Comparison, name: str, seed: int) -> Cost:
    both = [pairs(mine, each, name) for each in (comparison, Comparison.CONTROL)]
    found = both[0]
    rate, rate_control = (_estimated(each, _rps, seed) for each in both)
    cpu, cpu_control = (_estimated(_with_cpu(each), cpu_per_request, seed) for each in both)
    seconds = sum(pair.test.seconds for pair in found)
    used = sum(pair.test.enforcer_cpu_seconds for pair in found)
    tried = _tried(mine, comparison, name)
    return Cost(
        enforcer=name,
        size=mine[0].size,
        connections=mine[0].connections,
        placement=tried[0].placement if tried else mine[0].placement,
        comparison=comparison,
        rate=rate,
        cpu=cpu,
        seconds=_difference(_with_cpu(found), seed),
        daemon=used / seconds if seconds else 0.0,
        verdict=_judged(tried, rate, rate_control),
        cpu_verdict=_judged(
            tried, cpu.inverse if cpu else None, cpu_control.inverse if cpu_control else None
        ),
    )


def _with_cpu(found: Sequence[Pair]) -> list[Pair]:
    """Return the pairs of which both legs were long enough for the clock of CPU time."""
    return [p for p in found if min(cpu_per_request(p.test), cpu_per_request(p.reference)) > 0]


def _judged(tried: Sequence[Row], effect: Estimate | None, control: Estimate | None) -> Verdict:
    counted = tally(tried)
    if counted.blocks and counted.void > MOST_VOID * counted.blocks:
        why = counted.reasons[0][0] if counted.reasons else "by the rules declared beforehand"
        return Verdict(Word.INVALID, f"{counted.void} of {counted.blocks} blocks are void: {why}")
    return stats.judge(effect, control) if effect else Verdict(Word.INVALID, "no block counts")


def _sweep(
    rows: Sequence[Row], condition: tuple[int, Connections], enforcers: Sequence[str], seed: int
) -> Sweep:
    """Return the curves: ``off`` of all blocks with an effect, and each enforcer's ``on``."""
    mine = _of(rows, *condition)
    effects = [pair for name in enforcers for pair in pairs(mine, Comparison.EFFECT, name)]
    controls = [] if effects else pairs(mine, Comparison.CONTROL)
    off = [pair.reference for pair in (effects or controls)]
    off += [pair.test for pair in controls]
    curves = [_curve(Arm.OFF, NOBODY, off, seed)] if off else []
    for name in enforcers:
        legs = [pair.test for pair in effects if pair.test.enforcer == name]
        curves += [_curve(Arm.ON, name, legs, seed)] if legs else []
    return Sweep(*condition, tuple(curves))


def _curve(arm: Arm, enforcer: str, legs: Sequence[Row], seed: int) -> Curve:
    concurrencies = sorted({leg.concurrency for leg in legs})
    points = (
        _point(each, [leg.rps for leg in legs if leg.concurrency == each], seed)
        for each in concurrencies
    )
    return Curve(arm, enforcer, tuple(points))


def _point(concurrency: int, rates: Sequence[float], seed: int) -> Point:
    mean = _of_values(tuple(math.log(rate) for rate in rates), seed)
    low, high = (mean.ratio, mean.ratio) if mean.pairs == 1 else mean.interval
    return Point(concurrency, mean.ratio, low, high, mean.pairs)


def _estimate(found: Sequence[Pair], quantity: Quantity, seed: int) -> Estimate:
    return _of_values(tuple(pair.log_ratio(quantity) for pair in found), seed)


def _estimated(found: Sequence[Pair], quantity: Quantity, seed: int) -> Estimate | None:
    return _estimate(found, quantity, seed) if found else None


def _difference(found: Sequence[Pair], seed: int) -> Estimate | None:
    """Return the estimate of the CPU seconds that a request takes more."""
    differences = (cpu_per_request(p.test) - cpu_per_request(p.reference) for p in found)
    return _of_values(tuple(differences), seed) if found else None


@lru_cache(maxsize=1000)
def _of_values(values: tuple[float, ...], seed: int) -> Estimate:
    """Estimate once what several figures need: a control stands beside every enforcer."""
    return stats.estimate(values, seed)


def _of(rows: Sequence[Row], size: int, connections: Connections) -> list[Row]:
    return [row for row in rows if row.size == size and row.connections is connections]


def _new_first(key: tuple[int, str]) -> tuple[bool, int]:
    size, value = key
    return value != Connections.NEW.value, size


def _rps(row: Row) -> float:
    return row.rps


def cpu_per_request(row: Row) -> float:
    """Return the CPU seconds of a request's path: of ab, the servers and the softirq threads.

    Where these are not known, the whole machine's. The daemons', a cost apart, are in neither.
    """
    own = row.path_cpu_seconds or row.cpu_seconds - row.enforcer_cpu_seconds
    return own / row.requests if row.requests else 0.0
