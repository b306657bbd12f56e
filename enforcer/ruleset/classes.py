"""One class of pods: the chain that its pods' connections visit, and the sets that it asks.

A chain holds only the lookups that its class needs. What none of them finds goes to the class's
deny chain, which lets a pod reach itself, logs and counts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from enforcer.model.net import Direction, Family, IPNetwork, PortRange, Protocol, family_of
from enforcer.nft.elements import concat, network, ports
from enforcer.nft.objects import Chain, FieldType, Rule, Set, rule
from enforcer.policy.compiled import PolicyClass
from enforcer.ruleset.intervals import disjoint
from enforcer.ruleset.names import ClassName

PROTOCOL_NUMBERS: Final = {Protocol.TCP: "6", Protocol.UDP: "17", Protocol.SCTP: "132"}
# The kernel takes "ct reply proto-src" only behind a match that says there are ports.
HAS_PORTS: Final = f"meta l4proto {{ {', '.join(PROTOCOL_NUMBERS.values())} }}"
SERVER_PORT: Final = "meta l4proto . ct reply proto-src"

HEADERS: Final = {Family.IPV4: "ip", Family.IPV6: "ip6"}
ADDRESS_FIELDS: Final = {Family.IPV4: FieldType.IPV4, Family.IPV6: FieldType.IPV6}
PORT_FIELDS: Final = (FieldType.PROTOCOL, FieldType.PORT)


@dataclass(frozen=True, slots=True)
class ClassObjects:
    """The chains and sets of one class."""

    chains: tuple[Chain, ...]
    sets: tuple[Set, ...]


@dataclass(frozen=True, slots=True)
class _Lookup:
    """A set, and the rule that returns to the caller (allowed) when the set has the packet."""

    set: Set
    rule: Rule


def lower_class(
    item: PolicyClass, name: ClassName, families: Iterable[Family], log_group: int | None
) -> ClassObjects:
    """Return the chains of a class, one a family and one that denies, and their sets."""
    lookups = {family: tuple(_lookups(item, name, family)) for family in families}
    chains = [
        Chain(
            name.chain(family),
            (*(lookup.rule for lookup in found), rule(f"goto {name.deny_chain}")),
            comment=name.comment,
        )
        for family, found in lookups.items()
    ]
    sets = {lookup.set.name: lookup.set for found in lookups.values() for lookup in found}
    return ClassObjects((*chains, _deny_chain(name, log_group)), tuple(sets.values()))


def _deny_chain(name: ClassName, log_group: int | None) -> Chain:
    log = f'limit rate 10/second burst 20 packets log prefix "{name.log_prefix}" group {log_group}'
    return Chain(
        name.deny_chain,
        (
            # A pod may always reach itself, also through its own Service.
            rule("ct original ip saddr . ct reply ip saddr @self4 return", "self"),
            rule("ct original ip6 saddr . ct reply ip6 saddr @self6 return", "self"),
            rule("counter", "denied"),
            *([rule(log)] if log_group is not None else []),
            rule("goto deny"),
        ),
        comment=name.comment,
    )


def _lookups(item: PolicyClass, name: ClassName, family: Family) -> Iterator[_Lookup]:
    """Yield the lookups that a class needs in one family, the likeliest and cheapest first."""
    side = "original" if item.direction is Direction.INGRESS else "reply"
    peer = f"ct {side} {HEADERS[family]} saddr"
    peer_and_port = f"{peer} . {SERVER_PORT}"
    for set_, key in (
        (_peer_ports(item, name, family), peer_and_port),
        (_peers(item, name, family), peer),
        (_ports(item, name), SERVER_PORT),
        (_network_ports(item, name, family), peer_and_port),
        (_networks(item, name, family), peer),
    ):
        if set_.elements:
            guard = f"{HAS_PORTS} " if SERVER_PORT in key else ""
            yield _Lookup(set_, rule(f"{guard}{key} @{set_.name} return"))


def _peer_ports(item: PolicyClass, name: ClassName, family: Family) -> Set:
    return Set(
        name.set(f"peerport{family.value}"),
        (ADDRESS_FIELDS[family], *PORT_FIELDS),
        frozenset(
            f"{peer} . {PROTOCOL_NUMBERS[protocol]} . {port}"
            for peer, protocol, port in item.allowed.peer_ports
            if peer.version == family.value
        ),
        comment=name.comment,
    )


def _peers(item: PolicyClass, name: ClassName, family: Family) -> Set:
    return Set(
        name.set(f"peer{family.value}"),
        (ADDRESS_FIELDS[family],),
        frozenset(str(peer) for peer in item.allowed.peers if peer.version == family.value),
        comment=name.comment,
    )


def _ports(item: PolicyClass, name: ClassName) -> Set:
    """Return the ports open to every peer: a hash, or intervals as soon as one is a range."""
    interval = any(not range_.is_single for range_ in item.allowed.ports)
    return Set(
        name.set("portrange" if interval else "port"),
        PORT_FIELDS,
        frozenset(_port_element(range_) for range_ in item.allowed.ports),
        interval=interval,
        comment=name.comment,
    )


def _network_ports(item: PolicyClass, name: ClassName, family: Family) -> Set:
    pairs = [pair for pair in item.allowed.network_ports if family_of(pair[0]) is family]
    return Set(
        name.set(f"netport{family.value}"),
        (ADDRESS_FIELDS[family], *PORT_FIELDS),
        frozenset(concat(network(net), _port_element(range_)) for net, range_ in disjoint(pairs)),
        interval=True,
        comment=name.comment,
    )


def _networks(item: PolicyClass, name: ClassName, family: Family) -> Set:
    return Set(
        name.set(f"net{family.value}"),
        (ADDRESS_FIELDS[family],),
        frozenset(map(network, collapse(item.allowed.networks, family))),
        interval=True,
        comment=name.comment,
    )


def collapse(networks: Iterable[IPNetwork], family: Family) -> Iterator[IPNetwork]:
    """Yield the fewest networks of one family that cover the same addresses."""
    found = [net for net in networks if family_of(net) is family]
    yield from ipaddress.collapse_addresses(found)  # type: ignore[type-var]


def _port_element(range_: PortRange) -> str:
    return concat(PROTOCOL_NUMBERS[range_.protocol], ports(range_.first, range_.last))
