"""What a packet meets in clusters of three sizes: rules, and requests per second on and off."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from enforcer.kube.decode import decode_object
from enforcer.model.changes import Kind, Replaced, Unreadable
from enforcer.nft.objects import Ruleset, Table
from enforcer.policy.cluster import Cluster
from enforcer.policy.compile import compile_node
from enforcer.ruleset.names import IPV4
from enforcer.ruleset.options import LowerOptions
from enforcer.ruleset.plan import Plan, plan
from enforcer.wiring import Wiring
from harness.stats import Bounds
from tests.bench import traffic, world
from tests.bench.figures import Figure
from tests.bench.world import NODE, Json, Size

SIZES: Final = (Size(10, 10, 5), Size(1000, 1000, 20), Size(10_000, 10_000, 80))
SERVER: Final = 1
"""A local pod whose policies allow the client's block in clusters of every size."""

REQUESTS: Final = 2000
LOOKUPS: Final = 5
"""Sets that a class asks at most: a great cluster's classes may ask more of them than a small one's
do, and no packet meets more rules for any other reason."""

_TARGET: Final = re.compile(r"(goto|jump) ([\w./-]+)")
_MAP: Final = re.compile(r"vmap @([\w./-]+)")


def compare(pairs: int, scale: int = 1) -> Iterator[Figure]:
    """Plan each cluster, follow the longest way, and send requests to one of its pods.

    ``pairs`` of equal pieces of work, with and without the rules; ``scale`` divides the sizes.
    """
    ratios: dict[str, Bounds] = {}
    most: int | None = None
    for size in (SIZES[0], *(_divided(size, scale) for size in SIZES[1:])):
        planned = _planned(size)
        inet = planned.want.tables[IPV4]
        name = f"{size.pods} pods, {size.policies} policies"
        yield Figure(f"{name}: rules in the kernel, two chains a class", _rules(inet), "")
        way = longest_way(inet)
        yield Figure(f"{name}: rules that a packet can meet at most", way, "", most)
        most = most or way + LOOKUPS
        with traffic.wired(world.address_of(SERVER, size), REQUESTS // scale) as work:
            ratios[name] = traffic.ratio(planned, work, pairs)
        yield from traffic.figures(f"{name}: requests per second, on over off", ratios[name])
    (small, first), *_, (great, last) = ratios.items()
    yield from traffic.figures(f"on over off, {great} over {small}", last.less(first))


def _divided(size: Size, scale: int) -> Size:
    return Size(size.pods // scale, size.policies // scale, size.local)


def _rules(table: Table) -> int:
    return sum(len(chain.rules) for chain in table.chains.values())


def _planned(size: Size) -> Plan:
    cluster = Cluster()
    for kind, items in (
        (Kind.NODES, world.nodes(size)),
        (Kind.NAMESPACES, world.namespaces(size)),
        (Kind.POLICIES, world.policies(size)),
        (Kind.PODS, world.pods(size)),
    ):
        cluster.apply(Replaced(kind, tuple(_decoded(kind, item) for item in items)))
    compiled = compile_node(cluster, NODE)
    wiring = Wiring(frozenset({traffic.POD_SIDE}))
    return plan(Ruleset(), compiled, wiring, LowerOptions(), lambda _mark, _mask: False)


def _decoded(kind: Kind, item: Json) -> Any:
    found = decode_object(kind, json.dumps(item).encode())
    if isinstance(found, Unreadable):
        raise TypeError(found.problem)
    return found


def longest_way(table: Table, chain: str = "forward") -> int:
    """Return how many rules a packet can meet from a chain on; jumps come back, gotos do not."""
    met, longest = 0, 0
    for rule in table.chains[chain].rules:
        met += 1
        for kind, target in _TARGET.findall(rule.expression):
            there = longest_way(table, target)
            if kind == "jump":
                met += there
            longest = max(longest, met + there)
        for name in _MAP.findall(rule.expression):
            chains = set(table.maps[name].targets.values())
            met += max((longest_way(table, target) for target in chains), default=0)
    return max(longest, met)
