"""The union of rules -> :class:`~enforcer.policy.compiled.Allowed`, normalised.

Normal means: equal unions are equal values, and no two entries of an interval set overlap, which
the kernel's interval sets would refuse. That goes further than one port range at a time: the
rectangles of networks by ports in ``network_ports`` are disjoint.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from enforcer.model.net import IPAddress, IPNetwork, PortRange, Protocol
from enforcer.policy import intervals
from enforcer.policy.compiled import Allowed
from enforcer.policy.intervals import Intervals

PeerPort = tuple[IPAddress, Protocol, int]
OnPort = Callable[[frozenset[IPAddress], PortRange], frozenset[PeerPort]]

_Element = TypeVar("_Element")


class AllowedUnion:
    """Collects what each rule allows; :meth:`total` is the union."""

    def __init__(self) -> None:
        """Start with nothing allowed."""
        self._everything = False
        self._peers: list[frozenset[IPAddress]] = []
        self._peer_ports: list[frozenset[PeerPort]] = []
        self._ports: list[PortRange] = []
        self._blocks: list[Intervals] = []
        self._block_ports: defaultdict[PortRange, list[Intervals]] = defaultdict(list)
        self._pod_ports: defaultdict[PortRange, list[frozenset[IPAddress]]] = defaultdict(list)

    def add_everything(self) -> None:
        """Allow every peer on every protocol and port."""
        self._everything = True

    def add_ports(self, ports: PortRange) -> None:
        """Allow every peer on these ports."""
        self._ports.append(ports)

    def add_peers(self, addresses: frozenset[IPAddress]) -> None:
        """Allow these peers on every protocol and port."""
        self._peers.append(addresses)

    def add_peer_ports(self, peer_ports: frozenset[PeerPort]) -> None:
        """Allow peers on one port each, which differs among them."""
        self._peer_ports.append(peer_ports)

    def add_peers_on(self, addresses: frozenset[IPAddress], ports: PortRange) -> None:
        """Allow these peers on these ports, be it one or a range."""
        self._pod_ports[ports].append(addresses)

    def add_block(self, block: Intervals) -> None:
        """Allow these addresses on every protocol and port."""
        self._blocks.append(block)

    def add_block_on(self, block: Intervals, ports: PortRange) -> None:
        """Allow these addresses on these ports."""
        self._block_ports[ports].append(block)

    def total(self, on_port: OnPort) -> Allowed:
        """Return the union of all that was added.

        ``on_port`` gives each of some addresses the same port; who shares it among unions spares
        each of them the same thousands of elements.
        """
        if self._everything:
            return Allowed(everything=True)
        one_port = [
            on_port(_union(pods), ports)
            for ports, pods in self._pod_ports.items()
            if ports.is_single
        ]
        return Allowed(
            peers=_union(self._peers),
            peer_ports=_union([*self._peer_ports, *one_port]),
            ports=frozenset(_merge(self._ports)),
            networks=frozenset(intervals.to_networks(_union_of_blocks(self._blocks))),
            network_ports=frozenset(self._network_ports()),
        )

    def _network_ports(self) -> Iterator[tuple[IPNetwork, PortRange]]:
        for protocol in Protocol:
            for row in self._rows(protocol):
                ports = PortRange(protocol, row.first, row.last)
                networks = intervals.to_networks(row.blocks)
                yield from ((network, ports) for network in networks)
                yield from ((host_network(address), ports) for address in row.addresses)

    def _rows(self, protocol: Protocol) -> list[_Row]:
        """Cut the ports wherever a range begins or ends; each piece has its own networks."""
        named = self._block_ports.keys() | {key for key in self._pod_ports if not key.is_single}
        ranges = [ports for ports in named if ports.protocol is protocol]
        cuts = sorted({cut for ports in ranges for cut in (ports.first, ports.last + 1)})
        rows: list[_Row] = []
        for first, after in itertools.pairwise(cuts):
            covering = [ports for ports in ranges if ports.first <= first < ports.last + 1]
            row = self._row(first, after - 1, covering)
            if rows and rows[-1].goes_on_in(row):
                rows[-1] = _Row(rows[-1].first, row.last, row.blocks, row.addresses)
            elif row.blocks or row.addresses:
                rows.append(row)
        return rows

    def _row(self, first: int, last: int, covering: list[PortRange]) -> _Row:
        blocks = [block for ports in covering for block in self._block_ports.get(ports, ())]
        of_pods = [ports for ports in covering if not ports.is_single]
        pods = [pods for ports in of_pods for pods in self._pod_ports.get(ports, ())]
        merged = _union_of_blocks(blocks)
        outside = (address for address in _union(pods) if not intervals.contains(merged, address))
        return _Row(first, last, merged, frozenset(outside))


@dataclass(frozen=True, slots=True)
class _Row:
    """What is allowed on ports ``first`` to ``last``.

    Pods stay one address each, even where neighbours would make a network: so a new pod adds an
    element, and never takes one away.
    """

    first: int
    last: int
    blocks: Intervals
    addresses: frozenset[IPAddress]

    def goes_on_in(self, other: _Row) -> bool:
        """Whether ``other`` follows without a gap and allows the same addresses."""
        same = (self.blocks, self.addresses) == (other.blocks, other.addresses)
        return same and self.last + 1 == other.first


def _union(sets: list[frozenset[_Element]]) -> frozenset[_Element]:
    """Unite sets; one set alone stays the same object, which saves 8,000 hashes a class."""
    different = {id(item): item for item in sets if item}
    if len(different) == 1:
        return next(iter(different.values()))
    return frozenset().union(*different.values())


def _union_of_blocks(blocks: list[Intervals]) -> Intervals:
    if len(blocks) == 1:
        return blocks[0]
    return intervals.union(itertools.chain.from_iterable(blocks))


def _merge(ranges: Iterable[PortRange]) -> Iterator[PortRange]:
    """Merge the ranges of each protocol that overlap or touch."""
    numbers = {protocol: number for number, protocol in enumerate(Protocol)}
    protocols = list(Protocol)
    as_intervals = ((numbers[item.protocol], item.first, item.last) for item in ranges)
    for number, first, last in intervals.union(as_intervals):
        yield PortRange(protocols[number], first, last)


@functools.lru_cache(maxsize=1 << 16)
def host_network(address: IPAddress) -> IPNetwork:
    """Return the network that holds this address alone."""
    return ipaddress.ip_network(address)
