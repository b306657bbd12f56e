"""Networks with port ranges without overlaps: what a concatenated interval set can hold.

The kernel refuses an element that overlaps another one, and rules of different policies do
overlap: 10.0.0.0/8 on port 80 and 10.1.0.0/16 on 80-90 share 10.1.0.0/16 on 80.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Iterator

from enforcer.model.net import IPNetwork, PortRange, Protocol

Pair = tuple[IPNetwork, PortRange]


def disjoint(pairs: Iterable[Pair]) -> frozenset[Pair]:
    """Return pairs of one family that cover the same addresses and ports and do not overlap."""
    by_protocol: dict[Protocol, list[Pair]] = {}
    for pair in pairs:
        by_protocol.setdefault(pair[1].protocol, []).append(pair)
    return frozenset(
        (network, PortRange(protocol, first, last))
        for protocol, items in by_protocol.items()
        for network, first, last in _joined(_slices(items))
    )


def _slices(pairs: list[Pair]) -> Iterator[tuple[int, int, frozenset[IPNetwork]]]:
    """Cut the ports wherever a range begins or ends; yield first, last and the networks there."""
    cuts = sorted({cut for _, ports in pairs for cut in (ports.first, ports.last + 1)})
    for first, following in itertools.pairwise(cuts):
        here = [network for network, ports in pairs if ports.first <= first <= ports.last]
        if here:
            collapsed = ipaddress.collapse_addresses(here)  # type: ignore[type-var]
            yield first, following - 1, frozenset(collapsed)


def _joined(
    slices: Iterable[tuple[int, int, frozenset[IPNetwork]]],
) -> Iterator[tuple[IPNetwork, int, int]]:
    """Join slices that touch, network by network."""
    running: dict[IPNetwork, tuple[int, int]] = {}
    for first, last, networks in slices:
        for network in [
            net for net in running if net not in networks or running[net][1] != first - 1
        ]:
            yield (network, *running.pop(network))
        for network in networks:
            running[network] = (running.get(network, (first, last))[0], last)
    for network, span in running.items():
        yield (network, *span)
