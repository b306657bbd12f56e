"""Sets of addresses as sorted intervals of numbers: exact, and cheap for a /0 with 1,000 excepts.

An :data:`Interval` is ``(IP version, first, last)``, both ends included. Every function that
returns ``Intervals`` returns them *normal*: sorted, neither overlapping nor touching. Equal sets
of addresses are therefore equal values.
"""

from __future__ import annotations

import bisect
import functools
import ipaddress
from collections.abc import Iterable
from typing import Any

from enforcer.model.net import IPAddress, IPNetwork
from enforcer.model.objects import BlockPeer

Interval = tuple[int, int, int]
Intervals = tuple[Interval, ...]

_PAST_EVERY_ADDRESS = 1 << 128


def union(intervals: Iterable[Interval]) -> Intervals:
    """Merge intervals, in any order, into normal ones."""
    merged: list[Interval] = []
    for version, first, last in sorted(intervals):
        if merged and merged[-1][0] == version and first <= merged[-1][2] + 1:
            _, start, end = merged[-1]
            merged[-1] = (version, start, max(end, last))
        else:
            merged.append((version, first, last))
    return tuple(merged)


@functools.lru_cache(maxsize=1024)
def of_block(block: BlockPeer) -> Intervals:
    """Return the addresses of an ``ipBlock``: its network without its excepts."""
    version, first, last = _of_network(block.network)
    gaps: list[Interval] = []
    start = first
    for except_version, hole_first, hole_last in union(map(_of_network, block.excepts)):
        if except_version != version or hole_last < start or hole_first > last:
            continue
        if hole_first > start:
            gaps.append((version, start, hole_first - 1))
        start = hole_last + 1
    if start <= last:
        gaps.append((version, start, last))
    return tuple(gaps)


def _of_network(network: IPNetwork) -> Interval:
    return network.version, int(network.network_address), int(network.broadcast_address)


def contains(intervals: Intervals, address: IPAddress) -> bool:
    """Whether ``address`` lies in one of the (normal) intervals."""
    number = int(address)
    index = bisect.bisect(intervals, (address.version, number, _PAST_EVERY_ADDRESS)) - 1
    if index < 0:
        return False
    version, first, last = intervals[index]
    return version == address.version and first <= number <= last


@functools.lru_cache(maxsize=128)  # one entry may hold tens of thousands of networks
def to_networks(intervals: Intervals) -> tuple[IPNetwork, ...]:
    """Return the fewest networks that hold exactly these addresses."""
    networks: list[IPNetwork] = []
    for version, first, last in intervals:
        ends = _ADDRESS[version](first), _ADDRESS[version](last)
        networks.extend(ipaddress.summarize_address_range(*ends))
    return tuple(networks)


_ADDRESS: dict[int, Any] = {4: ipaddress.IPv4Address, 6: ipaddress.IPv6Address}
