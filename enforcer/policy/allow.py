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
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TypeVar

from enforcer.model.net import IPAddress, IPNetwork, PortRange, Protocol
from enforcer.policy import intervals
from enforcer.policy.compiled import Allowed
from enforcer.policy.groups import PeerPort
from enforcer.policy.images import Remembered, United
from enforcer.policy.intervals import Intervals

_Element = TypeVar("_Element")


@dataclass(slots=True)
class Union:
    """What some rules allow together, as they say it: nothing is merged yet."""

    everything: bool = False
    peers: list[AbstractSet[IPAddress]] = field(default_factory=list)
    peer_ports: list[AbstractSet[PeerPort]] = field(default_factory=list)
    ports: list[PortRange] = field(default_factory=list)
    blocks: list[Intervals] = field(default_factory=list)
    blocks_on: list[tuple[PortRange, Intervals]] = field(default_factory=list)
    peers_on: list[tuple[PortRange, AbstractSet[IPAddress]]] = field(default_factory=list)
    """Peers on a range of ports; on a single port they are in ``peer_ports``."""

    @classmethod
    def of(cls, unions: Iterable[Union]) -> Union:
        """Return what all of them allow together."""
        whole = cls()
        for item in unions:
            whole.everything |= item.everything
            whole.peers += item.peers
            whole.peer_ports += item.peer_ports
            whole.ports += item.ports
            whole.blocks += item.blocks
            whole.blocks_on += item.blocks_on
            whole.peers_on += item.peers_on
        return whole


class Normaliser:
    """Makes an :class:`~enforcer.policy.compiled.Allowed` of a union, time and again.

    Each part of it stays the same object until something changes that it is made of.
    """

    def __init__(self) -> None:
        """Start without a memory."""
        self._peers: United[IPAddress] = United()
        self._peer_ports: United[PeerPort] = United()
        self._ports = Remembered(_merge)
        self._networks = Remembered(_networks)
        self._network_ports = Remembered(_network_ports)

    def normal(self, union: Union) -> Allowed:
        """Return what the union allows."""
        if union.everything:
            return Allowed(everything=True)
        return Allowed(
            peers=self._peers.of(union.peers),
            peer_ports=self._peer_ports.of(union.peer_ports),
            ports=self._ports(tuple(union.ports)),
            networks=self._networks(tuple(union.blocks)),
            network_ports=self._network_ports((tuple(union.blocks_on), tuple(union.peers_on))),
        )


def _networks(blocks: tuple[Intervals, ...]) -> frozenset[IPNetwork]:
    return frozenset(intervals.to_networks(_union_of_blocks(blocks)))


_BlocksOn = tuple[tuple[PortRange, Intervals], ...]
_PeersOn = tuple[tuple[PortRange, AbstractSet[IPAddress]], ...]


def _network_ports(given: tuple[_BlocksOn, _PeersOn]) -> frozenset[tuple[IPNetwork, PortRange]]:
    return frozenset(
        (network, PortRange(protocol, first, last))
        for protocol in Protocol
        for rows in (_rows(*given, protocol),)
        for network, first, last in (
            *_joined((row.first, row.last, row.networks) for row in rows),
            *(
                (host_network(address), first, last)
                for address, first, last in _joined(
                    (row.first, row.last, row.addresses) for row in rows
                )
            ),
        )
    )


def _joined(
    rows: Iterable[tuple[int, int, frozenset[_Element]]],
) -> Iterator[tuple[_Element, int, int]]:
    """Join rows that touch, element by element: yield each with the ports on which it is."""
    since: dict[_Element, int] = {}
    here: frozenset[_Element] = frozenset()
    after = -1
    for first, last, elements in rows:
        going_on = elements & here if first == after else frozenset[_Element]()
        for element in here - going_on:
            yield element, since[element], after - 1
        since.update(dict.fromkeys(elements - going_on, first))
        here, after = elements, last + 1
    for element in here:
        yield element, since[element], after - 1


def _rows(blocks: _BlocksOn, peers: _PeersOn, protocol: Protocol) -> list[_Row]:
    """Cut the ports wherever a range begins or ends; each piece has its own networks."""
    named = [
        *((ports, block, frozenset[IPAddress]()) for ports, block in blocks),
        *((ports, (), addresses) for ports, addresses in peers),
    ]
    opening: defaultdict[int, list[int]] = defaultdict(list)
    closing: defaultdict[int, list[int]] = defaultdict(list)
    for number, (ports, *_) in enumerate(named):
        if ports.protocol is protocol:
            opening[ports.first].append(number)
            closing[ports.last + 1].append(number)
    rows: list[_Row] = []
    here: set[int] = set()
    for first, after in itertools.pairwise(sorted({*opening, *closing})):
        here = (here - {*closing[first]}) | {*opening[first]}
        row = _row(first, after - 1, [named[number] for number in here])
        if rows and rows[-1].goes_on_in(row):
            rows[-1] = _Row(rows[-1].first, row.last, row.blocks, row.addresses)
        elif row.blocks or row.addresses:
            rows.append(row)
    return rows


def _row(
    first: int, last: int, allowed: list[tuple[PortRange, Intervals, AbstractSet[IPAddress]]]
) -> _Row:
    blocks = _union_of_blocks([block for _, block, _ in allowed if block])
    pods = frozenset[IPAddress]().union(*(addresses for _, _, addresses in allowed))
    outside = (address for address in pods if not intervals.contains(blocks, address))
    return _Row(first, last, blocks, frozenset(outside) if blocks else pods)


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

    @property
    def networks(self) -> frozenset[IPNetwork]:
        """The fewest networks that hold the blocks' addresses."""
        return frozenset(intervals.to_networks(self.blocks))

    def goes_on_in(self, other: _Row) -> bool:
        """Whether ``other`` follows without a gap and allows the same addresses."""
        same = (self.blocks, self.addresses) == (other.blocks, other.addresses)
        return same and self.last + 1 == other.first


def _union_of_blocks(blocks: Iterable[Intervals]) -> Intervals:
    different = {id(item): item for item in blocks}
    if len(different) == 1:
        return next(iter(different.values()))
    return intervals.union(itertools.chain.from_iterable(different.values()))


def _merge(ranges: tuple[PortRange, ...]) -> frozenset[PortRange]:
    """Merge the ranges of each protocol that overlap or touch."""
    numbers = {protocol: number for number, protocol in enumerate(Protocol)}
    protocols = list(Protocol)
    as_intervals = ((numbers[item.protocol], item.first, item.last) for item in ranges)
    return frozenset(
        PortRange(protocols[number], first, last)
        for number, first, last in intervals.union(as_intervals)
    )


@functools.lru_cache(maxsize=1 << 16)
def host_network(address: IPAddress) -> IPNetwork:
    """Return the network that holds this address alone."""
    return ipaddress.ip_network(address)
