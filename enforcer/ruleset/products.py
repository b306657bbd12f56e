"""Networks with ports as products: networks that may use the same ports.

One lookup of address, protocol and port together, among networks, costs a packet twice what two
lookups do, one for the port and one for the address; see docs/decisions/0008.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2s

from enforcer.model.net import IPNetwork, PortRange, Protocol
from enforcer.ruleset.intervals import Pair

MOST = 3
"""Products in a chain: four would cost as much as one lookup of all pairs."""


@dataclass(frozen=True, slots=True)
class Product:
    """Each of ``networks`` may use each of ``ports``, all of one protocol.

    Single addresses and networks are never in one product: addresses are found by a hash.
    """

    protocol: Protocol
    ports: frozenset[PortRange]
    networks: frozenset[IPNetwork]

    @property
    def tag(self) -> str:
        """Protocol and ports in short, for names.

        A set of ports never changes: while it did, a packet could find its port among the old ones
        and then its address among the new networks, though no policy ever allowed both.
        """
        ports = " ".join(sorted(f"{item.first}-{item.last}" for item in self.ports))
        digest = blake2s(ports.encode(), digest_size=8).hexdigest()
        return f"{self.protocol.value.lower()}_{digest}"

    @property
    def has_ranges(self) -> bool:
        """Whether one of the ports is a range."""
        return any(not range_.is_single for range_ in self.ports)

    @property
    def has_addresses(self) -> bool:
        """Whether the networks are single addresses."""
        return all(map(_is_address, self.networks))


def products(pairs: Iterable[Pair]) -> tuple[Product, ...]:
    """Return pairs of one family as products, in a fixed order; none where there were too many."""
    ports: defaultdict[tuple[Protocol, IPNetwork], set[PortRange]] = defaultdict(set)
    for network, range_ in pairs:
        ports[range_.protocol, network].add(range_)
    found: defaultdict[tuple[Protocol, frozenset[PortRange], bool], set[IPNetwork]]
    found = defaultdict(set)
    for (protocol, network), ranges in ports.items():
        found[protocol, frozenset(ranges), _is_address(network)].add(network)
    if len(found) > MOST:
        return ()
    made = (
        Product(protocol, ranges, frozenset(networks))
        for (protocol, ranges, _), networks in found.items()
    )
    return tuple(sorted(made, key=lambda item: (not item.has_addresses, item.tag)))


def _is_address(network: IPNetwork) -> bool:
    return network.prefixlen == network.max_prefixlen
