"""One class of pods: the chain that its pods' connections visit, and the sets that it asks.

A chain holds only the lookups that its class needs. What none of them finds goes to the class's
deny chain, which lets a pod reach itself, logs and counts.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import Final

from enforcer.model.net import (
    Direction,
    Family,
    IPAddress,
    IPNetwork,
    PortRange,
    Protocol,
    family_of,
)
from enforcer.nft.elements import concat, network, ports
from enforcer.nft.objects import Chain, FieldType, Rule, Set, rule
from enforcer.policy.compiled import Allowed, PolicyClass
from enforcer.policy.groups import PeerPort
from enforcer.policy.images import Image, Remembered
from enforcer.ruleset.intervals import Pair, disjoint
from enforcer.ruleset.names import ADDRESS_FIELDS, HEADERS, ClassName
from enforcer.ruleset.products import Product, products

PROTOCOL_NUMBERS: Final = {Protocol.TCP: "6", Protocol.UDP: "17", Protocol.SCTP: "132"}
# The kernel takes "ct reply proto-src" only behind a match that says there are ports.
HAS_PORTS: Final = f"meta l4proto {{ {', '.join(PROTOCOL_NUMBERS.values())} }}"
SERVER_PORT: Final = "meta l4proto . ct reply proto-src"

_PROTOCOL_KEYS: Final = {Family.IPV4: "ip protocol", Family.IPV6: "meta l4proto"}
"""By what a packet's protocol is asked: an IPv6 header may name an extension header."""

ALLOWED: Final = {Direction.EGRESS: "return", Direction.INGRESS: "goto stamp"}
"""What follows a hit. The client's egress is asked first: its hit goes back, never accepts. The
server's ingress is asked last, and a hit there says that the server is a known pod, too."""

PRODUCT_PORTS: Final = "ports"
PRODUCT_PEERS: Final = "peers"
PRODUCT_NETWORKS: Final = "nets"

PORT_FIELDS: Final = (FieldType.PROTOCOL, FieldType.PORT)


Factors = tuple[Protocol, Set, Set]
"""A protocol, a set of its ports, and a set of peers that may use all of them."""


@dataclass(frozen=True, slots=True)
class ClassObjects:
    """The chains and sets of one class."""

    chains: tuple[Chain, ...]
    sets: tuple[Set, ...]


@dataclass(frozen=True, slots=True)
class _Lookup:
    """Sets, and the rule that allows a packet that is found in each of them."""

    sets: tuple[Set, ...]
    rule: Rule


class ClassLowering:
    """Lowers one class for one family, time and again: a set stays the same until it changes."""

    def __init__(self, name: ClassName, family: Family, log_group: int | None) -> None:
        """Start without a memory."""
        self._name = name
        self._family = family
        self._log_group = log_group
        self._sets = _Sets(name, family)
        self._chains = Remembered(self._made_chains)
        self._objects = Remembered(_objects)
        self._last: tuple[PolicyClass, ClassObjects] | None = None

    def lower(self, item: PolicyClass) -> ClassObjects:
        """Return the chains of a class, one that asks and one that denies, and its sets."""
        if self._last is None or self._last[0] is not item:
            self._last = item, self._lower(item)
        return self._last[1]

    def _lower(self, item: PolicyClass) -> ClassObjects:
        lookups = tuple(_lookups(item, self._sets, self._family))
        sets = {set_.name: set_ for lookup in lookups for set_ in lookup.sets}
        chains = self._chains(tuple(lookup.rule for lookup in lookups))
        return self._objects((chains, tuple(sets.values())))

    def _made_chains(self, asked: tuple[Rule, ...]) -> tuple[Chain, ...]:
        name = self._name
        rules = (*asked, rule(f"goto {name.deny_chain}"))
        chain = Chain(name.chain(self._family), rules, comment=name.comment)
        return (chain, _deny_chain(name, self._family, self._log_group))


def _objects(made: tuple[tuple[Chain, ...], tuple[Set, ...]]) -> ClassObjects:
    return ClassObjects(*made)


def _deny_chain(name: ClassName, family: Family, log_group: int | None) -> Chain:
    log = f'limit rate 10/second burst 20 packets log prefix "{name.log_prefix}" group {log_group}'
    header = HEADERS[family]
    both = f"ct original {header} saddr . ct reply {header} saddr"
    return Chain(
        name.deny_chain,
        (
            # A pod may always reach itself, also through its own Service.
            rule(f"{both} @self{family.value} return", "self"),
            rule("counter", "denied"),
            *([rule(log)] if log_group is not None else []),
            rule("goto deny"),
        ),
        comment=name.comment,
    )


def _lookups(item: PolicyClass, sets: _Sets, family: Family) -> Iterator[_Lookup]:
    """Yield the lookups that a class needs in one family, the likeliest and cheapest first."""
    allowed, direction = item.allowed, item.direction
    products = sets.products(allowed)
    for set_ in (sets.peer_ports(allowed), sets.peers(allowed), sets.ports(allowed)):
        if set_.elements:
            yield _Lookup((set_,), lookup_rule(direction, family, set_))
    for protocol, ports_, peers in products:
        yield _Lookup((ports_, peers), product_rule(direction, family, protocol, ports_, peers))
    for set_ in (
        *(() if products else (sets.network_ports(allowed),)),
        sets.networks(allowed),
    ):
        if set_.elements:
            yield _Lookup((set_,), lookup_rule(direction, family, set_))


def lookup_rule(direction: Direction, family: Family, set_: Set) -> Rule:
    """Return the rule that allows whom and what one set holds."""
    parts = [] if set_.fields[0] is FieldType.PROTOCOL else [_peer_of(direction, family)]
    guard = ""
    if FieldType.PORT in set_.fields:
        parts.append(SERVER_PORT)
        guard = f"{HAS_PORTS} "
    return rule(f"{guard}{' . '.join(parts)} @{set_.name} {ALLOWED[direction]}")


def product_rule(
    direction: Direction, family: Family, protocol: Protocol, ports_: Set, peers: Set
) -> Rule:
    """Return the rule that allows all of some peers all of some ports of one protocol."""
    return rule(
        f"{_PROTOCOL_KEYS[family]} {PROTOCOL_NUMBERS[protocol]} ct reply proto-src @{ports_.name} "
        f"{_peer_of(direction, family)} @{peers.name} {ALLOWED[direction]}"
    )


def _peer_of(direction: Direction, family: Family) -> str:
    side = "original" if direction is Direction.INGRESS else "reply"
    return f"ct {side} {HEADERS[family]} saddr"


class _Sets:
    """The sets of one class in one family.

    Each remembers what it was made of and is changed, not made anew.
    """

    def __init__(self, name: ClassName, family: Family) -> None:
        self._name = name
        self._family = family
        self._last: dict[str, Set] = {}
        self._peer_ports = Image(partial(_peer_port, family))
        self._peers = Image(partial(_peer, family))
        self._ports = Image(_port_element)
        self._pairs = Remembered(partial(_disjoint, family))
        self._network_ports = Remembered(_pair_elements)
        self._networks = Remembered(partial(_collapsed, family))
        self._products = Remembered(partial(_factors, name, family))

    def products(self, allowed: Allowed) -> tuple[Factors, ...]:
        """Return the networks with ports as products, each with the set of either side."""
        return self._products(self._pairs(allowed.network_ports))

    def peer_ports(self, allowed: Allowed) -> Set:
        elements = self._peer_ports.of(allowed.peer_ports)
        return self._set_of("peerport", PORT_FIELDS, elements)

    def peers(self, allowed: Allowed) -> Set:
        return self._set_of("peer", (), self._peers.of(allowed.peers))

    def ports(self, allowed: Allowed) -> Set:
        """Return the ports open to every peer: a hash, or intervals as soon as one is a range."""
        interval = any(not range_.is_single for range_ in allowed.ports)
        return self._set(
            "portrange" if interval else "port",
            PORT_FIELDS,
            self._ports.of(allowed.ports),
            interval=interval,
        )

    def network_ports(self, allowed: Allowed) -> Set:
        elements = self._network_ports(self._pairs(allowed.network_ports))
        return self._set_of("netport", PORT_FIELDS, elements, interval=True)

    def networks(self, allowed: Allowed) -> Set:
        return self._set_of("net", (), self._networks(allowed.networks), interval=True)

    def _set_of(
        self,
        content: str,
        more: tuple[FieldType, ...],
        elements: AbstractSet[str],
        *,
        interval: bool = False,
    ) -> Set:
        """Return a set whose keys begin with an address."""
        fields = (ADDRESS_FIELDS[self._family], *more)
        return self._set(f"{content}{self._family.value}", fields, elements, interval=interval)

    def _set(
        self,
        content: str,
        fields: tuple[FieldType, ...],
        elements: AbstractSet[str],
        *,
        interval: bool = False,
    ) -> Set:
        last = self._last.get(content)
        if last is None or last.elements is not elements:
            name = self._name.set(content)
            last = Set(name, fields, elements, interval, comment=self._name.comment)
            self._last[content] = last
        return last


def _factors(name: ClassName, family: Family, pairs: frozenset[Pair]) -> tuple[Factors, ...]:
    return tuple(
        (item.protocol, _factor_of_ports(name, item), _factor_of_peers(name, family, item))
        for item in products(pairs)
    )


def _factor_of_ports(name: ClassName, item: Product) -> Set:
    elements = frozenset(ports(range_.first, range_.last) for range_ in item.ports)
    content = f"{item.tag}_{PRODUCT_PORTS}"
    return Set(
        name.set(content), (FieldType.PORT,), elements, item.has_ranges, comment=name.comment
    )


def _factor_of_peers(name: ClassName, family: Family, item: Product) -> Set:
    """Return the peers: addresses one by one, so that a pod more is an element more."""
    if item.has_addresses:
        kind, elements = PRODUCT_PEERS, frozenset(map(network, item.networks))
    else:
        kind, elements = PRODUCT_NETWORKS, _collapsed(family, item.networks)
    return Set(
        name.set(f"{item.tag}_{kind}{family.value}"),
        (ADDRESS_FIELDS[family],),
        elements,
        not item.has_addresses,
        comment=name.comment,
    )


def _peer_port(family: Family, item: PeerPort) -> str | None:
    peer, protocol, port = item
    if peer.version != family.value:
        return None
    # One string for all classes: thousands of pods are in the sets of many.
    return sys.intern(f"{peer} . {PROTOCOL_NUMBERS[protocol]} . {port}")


def _peer(family: Family, peer: IPAddress) -> str | None:
    return sys.intern(str(peer)) if peer.version == family.value else None


def _disjoint(family: Family, pairs: frozenset[Pair]) -> frozenset[Pair]:
    return disjoint(pair for pair in pairs if family_of(pair[0]) is family)


def _pair_elements(pairs: frozenset[Pair]) -> frozenset[str]:
    return frozenset(concat(network(net), _port_element(range_)) for net, range_ in pairs)


def _collapsed(family: Family, networks: frozenset[IPNetwork]) -> frozenset[str]:
    return frozenset(map(network, collapse(networks, family)))


def collapse(networks: Iterable[IPNetwork], family: Family) -> Iterator[IPNetwork]:
    """Yield the fewest networks of one family that cover the same addresses."""
    found = [net for net in networks if family_of(net) is family]
    yield from ipaddress.collapse_addresses(found)  # type: ignore[type-var]


def _port_element(range_: PortRange) -> str:
    return concat(PROTOCOL_NUMBERS[range_.protocol], ports(range_.first, range_.last))
