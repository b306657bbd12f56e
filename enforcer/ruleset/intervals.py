"""Networks with port ranges without overlaps: what a concatenated interval set can hold.

The kernel refuses an element that overlaps another one, and rules of different policies do
overlap: 10.0.0.0/8 on port 80 and 10.1.0.0/16 on 80-90 share 10.1.0.0/16 on 80.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from enforcer.model.net import IPNetwork, PortRange, Protocol

Pair = tuple[IPNetwork, PortRange]


def disjoint(pairs: Iterable[Pair]) -> frozenset[Pair]:
    """Return pairs of one family that cover the same addresses and ports and do not overlap.

    Networks that touch stay apart: a pod more is then an element more, and none less.
    """
    by_protocol: dict[Protocol, list[Pair]] = {}
    for pair in pairs:
        by_protocol.setdefault(pair[1].protocol, []).append(pair)
    return frozenset(
        (network, PortRange(protocol, first, last))
        for protocol, items in by_protocol.items()
        for network, first, last in _of_protocol(items)
    )


def _of_protocol(pairs: list[Pair]) -> Iterator[tuple[IPNetwork, int, int]]:
    """Sweep over the ports; networks are numbers meanwhile, which are quick to compare."""
    networks = list({network for network, _ in pairs})
    numbers = {network: number for number, network in enumerate(networks)}
    spans = [(int(net.network_address), -int(net.broadcast_address)) for net in networks]
    numbered = [(numbers[network], ports) for network, ports in pairs]
    for number, first, last in _joined(_slices(numbered, spans)):
        yield networks[number], first, last


def _slices(
    pairs: list[tuple[int, PortRange]], spans: list[tuple[int, int]]
) -> Iterator[tuple[int, int, frozenset[int]]]:
    """Cut the ports wherever a range begins or ends; yield first, last and the networks there."""
    opening: defaultdict[int, list[int]] = defaultdict(list)
    closing: defaultdict[int, list[int]] = defaultdict(list)
    for number, ports in pairs:
        opening[ports.first].append(number)
        closing[ports.last + 1].append(number)
    here: Counter[int] = Counter()
    for first, following in itertools.pairwise(sorted({*opening, *closing})):
        here.subtract(closing[first])
        here.update(opening[first])
        here = +here
        yield first, following - 1, _outermost(here, spans)


def _outermost(numbers: Iterable[int], spans: list[tuple[int, int]]) -> frozenset[int]:
    """Return those networks that no other one contains."""
    found: list[int] = []
    reached = -1
    for number in sorted(numbers, key=spans.__getitem__):
        last = -spans[number][1]
        if last > reached:
            found.append(number)
            reached = last
    return frozenset(found)


def _joined(
    slices: Iterable[tuple[int, int, frozenset[int]]],
) -> Iterator[tuple[int, int, int]]:
    """Join slices that touch, network by network."""
    since: dict[int, int] = {}
    here: frozenset[int] = frozenset()
    after = 0
    for first, last, networks in slices:
        for network in here - networks:
            yield network, since[network], after - 1
        for network in networks - here:
            since[network] = first
        here, after = networks, last + 1
    for network in here:
        yield network, since[network], after - 1
