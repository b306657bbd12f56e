"""What the kernel's own tables say of a connection, looked up as a packet's way looks it up.

From the dispatch map through the chain of the class to its sets, in a ruleset that was *read back*:
nothing of the compiled policy is used. A rule comes back with its comment alone, which holds the
hash of its text; so each lookup is found by writing it again for each set and comparing hashes.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from enforcer.model.net import Direction, Family, IPAddress, Protocol
from enforcer.nft.elements import PROTOCOL_NUMBERS
from enforcer.nft.objects import FieldType, Rule, Set, Table, rule
from enforcer.ruleset.classes import PRODUCT_PORTS, lookup_rule, product_rule
from enforcer.ruleset.names import dispatch_map, pods_set
from enforcer.ruleset.program import ASKING, dispatch, local
from enforcer.ruleset.room import room_of


class Outcome(enum.Enum):
    """How the kernel's lookups end for one direction."""

    NOT_ISOLATED = "not isolated"
    ALLOWED = "allowed"
    SELF = "allowed: the pod itself"
    DENIED = "denied"
    ABSENT = "not asked: our table is not there or is dormant, everything passes"
    BROKEN = "broken: not as this version writes it"

    @property
    def passes(self) -> bool:
        """Whether the packet goes on."""
        return self not in (Outcome.DENIED, Outcome.BROKEN)


@dataclass(frozen=True, slots=True)
class Question:
    """A connection as its conntrack tuple holds it; ``protocol`` is None for ICMP."""

    client: IPAddress
    server: IPAddress
    protocol: Protocol | None
    port: int

    @property
    def family(self) -> Family:
        """The family of both addresses."""
        return Family(self.server.version)


@dataclass(frozen=True, slots=True)
class Look:
    """One lookup: the set that was asked, for which key, and whether it has it."""

    set: str
    key: str
    hit: bool


@dataclass(frozen=True, slots=True)
class Walk:
    """The way through one direction: the chain that the dispatch map names, and its lookups."""

    outcome: Outcome
    map: str
    chain: str = ""
    looks: tuple[Look, ...] = ()


def walk(table: Table, question: Question, direction: Direction) -> Walk:
    """Follow a connection through the class of the pod that ``direction`` is about."""
    family = question.family
    name = dispatch_map(direction, family, room_of(table))
    local, peer = question.server, question.client
    if direction is Direction.EGRESS:
        local, peer = peer, local
    dispatch = table.maps.get(name)
    if dispatch is None:
        return Walk(Outcome.BROKEN, name)
    target = dispatch.targets.get(str(local))
    if target is None:
        return Walk(Outcome.NOT_ISOLATED, name)
    chain = table.chains.get(target)
    if chain is None or not chain.rules or not _asks(table, direction, family):
        return Walk(Outcome.BROKEN, name, target)
    asked = _Asked(table, direction, family, question)
    looks: list[Look] = []
    for item in chain.rules[:-1]:
        look = asked.look(item, peer)
        if look is None:
            return Walk(Outcome.BROKEN, name, target, tuple(looks))
        looks.append(look)
        if look.hit:
            return Walk(Outcome.ALLOWED, name, target, tuple(looks))
    return Walk(_last(table, chain.rules[-1], target, question), name, target, tuple(looks))


def _asks(table: Table, direction: Direction, family: Family) -> bool:
    """Whether the chains that judge a connection ask the map of this direction."""
    room = room_of(table)
    return all(
        rule(dispatch(name, direction, family, room)) in _rules(table, name) for name in ASKING
    )


def _rules(table: Table, chain: str) -> tuple[Rule, ...]:
    found = table.chains.get(chain)
    return found.rules if found else ()


def drops_unknown(table: Table, address: IPAddress) -> bool:
    """Whether an address lies in the node's pod networks and belongs to no programmed pod."""
    family = Family(address.version)
    networks = table.sets.get(f"cidr{family.value}")
    pods = table.sets.get(pods_set(family, room_of(table)))
    if networks is None or pods is None or str(address) in pods.elements:
        return False
    asks = all(
        any(item in _rules(table, name) for item in _unknown_rules(name, networks, pods, family))
        for name in ASKING
    )
    return asks and any(_in_span(address, item) for item in networks.elements)


def _unknown_rules(chain: str, networks: Set, pods: Set, family: Family) -> Iterator[Rule]:
    """Yield a chain's rule against unknown servers, in both forms in which it may be written."""
    key = local(chain, Direction.INGRESS, family)
    for inside in (f"@{networks.name}", *networks.elements):
        yield rule(f"{key} {inside} {key} != @{pods.name} goto unknown")


def _last(table: Table, item: Rule, target: str, question: Question) -> Outcome:
    """Judge the end of a class chain: a jump to the chain that denies all but the pod itself."""
    prefix, _, rest = target.partition("_")
    deny = f"deny_{prefix[:2]}_{rest}"
    if item != rule(f"goto {deny}") or deny not in table.chains:
        return Outcome.BROKEN
    selves = table.sets.get(f"self{question.family.value}")
    pair = f"{question.client} . {question.server}"
    return Outcome.SELF if selves and pair in selves.elements else Outcome.DENIED


@dataclass(frozen=True, slots=True)
class _Asked:
    """Finds which set a rule asks, and asks it."""

    table: Table
    direction: Direction
    family: Family
    question: Question

    def look(self, item: Rule, peer: IPAddress) -> Look | None:
        """Return what a rule's lookup says; None for a rule that none of ours is."""
        sets = self.table.sets.values()
        for set_ in sets:
            if item == lookup_rule(self.direction, self.family, set_):
                return self._in_one(set_, peer)
        for ports_, peers in product(filter(_holds_ports, sets), filter(_holds_peers, sets)):
            for protocol in Protocol if _belong_together(ports_, peers) else ():
                if item == product_rule(self.direction, self.family, protocol, ports_, peers):
                    return self._in_both(protocol, ports_, peers, peer)
        return None

    def _in_one(self, set_: Set, peer: IPAddress) -> Look:
        with_port = FieldType.PORT in set_.fields
        parts = [] if set_.fields[0] is FieldType.PROTOCOL else [str(peer)]
        if with_port:
            parts += self._port()
        has_port = self.question.protocol is not None or not with_port
        return Look(set_.name, " . ".join(parts), has_port and _has(set_, parts))

    def _in_both(self, protocol: Protocol, ports_: Set, peers: Set, peer: IPAddress) -> Look:
        found = (
            protocol is self.question.protocol
            and _has(ports_, [str(self.question.port)])
            and _has(peers, [str(peer)])
        )
        return Look(
            f"{peers.name} and {ports_.name}", " . ".join([str(peer), *self._port()]), found
        )

    def _port(self) -> list[str]:
        protocol = self.question.protocol
        number = str(PROTOCOL_NUMBERS[protocol.value.lower()]) if protocol else "ICMP"
        return [number, str(self.question.port)]


def _holds_ports(set_: Set) -> bool:
    return set_.fields == (FieldType.PORT,)


def _holds_peers(set_: Set) -> bool:
    return set_.fields in ((FieldType.IPV4,), (FieldType.IPV6,))


def _belong_together(ports_: Set, peers: Set) -> bool:
    """Whether two sets' names begin alike, up to what each of them holds."""
    begin, found, _ = ports_.name.partition(f"_{PRODUCT_PORTS}_")
    return bool(found) and peers.name.startswith(f"{begin}_")


def _has(set_: Set, parts: list[str]) -> bool:
    if not set_.interval:
        return " . ".join(parts) in set_.elements
    return any(
        all(map(_matches, element.split(" . "), parts, set_.fields)) for element in set_.elements
    )


def _matches(span: str, value: str, kind: FieldType) -> bool:
    if kind in (FieldType.IPV4, FieldType.IPV6):
        return _in_span(ipaddress.ip_address(value), span)
    first, _, last = span.partition("-")
    return int(first) <= int(value) <= int(last or first)


def _in_span(address: IPAddress, span: str) -> bool:
    """Whether an address lies in an element: an address, a network or a range of addresses."""
    if "-" in span:
        first, last = map(ipaddress.ip_address, span.split("-"))
        return int(first) <= int(address) <= int(last)
    return address in ipaddress.ip_network(span)
