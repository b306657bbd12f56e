"""The three costs of an enforcer apart: rules per packet, rules per connection, daemon CPU.

A request on a kept connection is so many packets and nothing else; one with a connection of its
own is more packets and what only the first one pays. How many packets the measured node forwards
for each was counted by the pilot, on the node. So with ``d`` for what a request takes more, in CPU
seconds, and ``n`` for its packets::

    per packet      p = d(kept) / n(kept)
    per connection  c = d(new) - n(new) * p

Both from the ``rules`` arm where it was measured, else from ``on`` with the daemon's own CPU time
taken out. The daemon is watched at rest, where nothing changes, second by second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import stats
from harness.load.ab import Connections
from harness.measure.plan import Comparison, Placement
from harness.report.analysis import Analysis, Cost
from harness.stats import Bounds, Estimate

STUDY_CPUS = 2
"""Of each of the study's nodes."""

FORMULA = (
    "A node of the study has 2 CPUs, of which its daemon takes its part: rate on / off = rules / "
    "off * (1 - daemon / 2), the daemon in CPU seconds a second on one node; rules / off of the "
    "rates in the arm rules, or without it of the requests a CPU second in on, the daemon's own "
    "CPU time taken out."
)

_NEARLY_NOTHING = 1e-6
"""Of a node, which is left by a daemon that takes it all."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What an enforcer costs in one size."""

    enforcer: str
    size: int
    source: Comparison
    """Of the rules' costs: the ``rules`` arm, or ``on``."""

    packet: Bounds | None
    """CPU seconds that the rules take of each packet that a node forwards."""

    connection: Bounds | None
    """CPU seconds that they take of a new connection beside its packets."""

    daemon: Bounds | None
    """CPU seconds a second on one node, while nothing changes."""

    shaped: Mapping[Connections, Bounds]
    """The ratio of rates that a node of the study's would have shown, by :data:`FORMULA`."""


def parts(analysis: Analysis, study: Mapping[str, Any], seed: int) -> Iterator[Parts]:
    """Yield the parts of each enforcer in each size."""
    for name in analysis.enforcers:
        for size in dict.fromkeys(each.size for each in analysis.headlines):
            found = _rules(analysis.costs, name, size)
            if found:
                yield _parts(found, _daemon(study, name, size, seed), study)


def in_the_study(rules: Estimate, daemon: Bounds, cpus: int = STUDY_CPUS) -> Bounds:
    """Return the ratio of rates, with bounds, that the study's nodes would have shown.

    A node of ``cpus`` CPUs serves with what its daemon leaves of them. It takes the node's CPUs
    for what limits the rate, as in the study. The bounds are those of a product of two
    independent estimates (MOVER, on the logarithms).
    """
    left, most, least = (
        math.log(max(_NEARLY_NOTHING, 1 - max(0.0, each) / cpus))
        for each in (daemon.mean, daemon.low, daemon.high)
    )
    found = Bounds.of(rules).less(Bounds(-left, -most, -least))
    return Bounds(math.exp(found.mean), math.exp(found.low), math.exp(found.high))


def _rules(costs: Sequence[Cost], name: str, size: int) -> dict[Connections, Cost]:
    """Return the costs of the rules alone, by kind of connection: of the arm that is nearest."""
    for comparison in (Comparison.RULES, Comparison.EFFECT):
        found = {
            cost.connections: cost
            for cost in costs
            if (cost.enforcer, cost.size) == (name, size) and cost.comparison is comparison
        }
        if found:
            return found
    return {}


def _daemon(study: Mapping[str, Any], name: str, size: int, seed: int) -> Bounds | None:
    windows = study.get("sizes", {}).get(str(size), {}).get("daemon", {}).get(name)
    return Bounds.of(stats.estimate(windows, seed)) if windows else None


def _parts(
    found: Mapping[Connections, Cost], daemon: Bounds | None, study: Mapping[str, Any]
) -> Parts:
    one = next(iter(found.values()))
    packet, connection = _by_packets(found, study)
    shaped = {
        kind: in_the_study(rules, daemon)
        for kind, cost in found.items()
        if (rules := _rules_alone(cost)) is not None and daemon is not None
    }
    return Parts(one.enforcer, one.size, one.comparison, packet, connection, daemon, shaped)


def _rules_alone(cost: Cost) -> Estimate | None:
    """Return the ratio of rates that the rules leave, whatever the daemon does meanwhile.

    Of ``on``, whose rate the daemon has lowered already, it is that of requests a CPU second.
    """
    if cost.comparison is Comparison.RULES:
        return cost.rate
    return cost.cpu.inverse if cost.cpu is not None else None


def _by_packets(
    found: Mapping[Connections, Cost], study: Mapping[str, Any]
) -> tuple[Bounds | None, Bounds | None]:
    packets = {kind: _packets(study, kind) for kind in Connections}
    more = {kind: cost.seconds for kind, cost in found.items()}
    kept, new = (more.get(kind) for kind in (Connections.KEPT, Connections.NEW))
    if kept is None or not packets[Connections.KEPT]:
        return None, None
    packet = Bounds.of(kept).scaled(1 / packets[Connections.KEPT])
    if new is None:
        return packet, None
    return packet, Bounds.of(new).less(packet.scaled(packets[Connections.NEW]))


def _packets(study: Mapping[str, Any], kind: Connections) -> float:
    """Return how many packets the node forwards for a request, over the sweep; 0: not counted."""
    known = study.get("pilot", {}).get("packets", {})
    start = f"{Placement.SERVICE.value}-{kind.value}-"
    counts = [count for name, count in known.items() if name.startswith(start)]
    return sum(counts) / len(counts) if counts else 0.0
