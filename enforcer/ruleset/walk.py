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

from enforcer.model.net import Direction, Family, IPAddress, Protocol
from enforcer.nft.elements import PROTOCOL_NUMBERS
from enforcer.nft.objects import FieldType, Rule, Set, Table, rule
from enforcer.ruleset.classes import ALLOWED, HAS_PORTS, HEADERS, SERVER_PORT
from enforcer.ruleset.names import dispatch_map
from enforcer.ruleset.program import dispatch


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
    name = dispatch_map(direction, family)
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
    """Whether the chain that judges a connection asks the map of this direction."""
    police = table.chains.get(f"police{family.value}")
    return police is not None and rule(dispatch(direction, family)) in police.rules


def drops_unknown(table: Table, address: IPAddress) -> bool:
    """Whether an address lies in the node's pod networks and belongs to no programmed pod."""
    version = address.version
    networks, pods = table.sets.get(f"cidr{version}"), table.sets.get(f"pods{version}")
    if networks is None or pods is None or str(address) in pods.elements:
        return False
    police = table.chains.get(f"police{version}")
    asks = police and any(item in police.rules for item in _unknown_rules(networks, version))
    return bool(asks) and any(_in_span(address, item) for item in networks.elements)


def _unknown_rules(networks: Set, version: int) -> Iterator[Rule]:
    """Yield the rule against unknown servers, in both forms in which it may be written."""
    key = f"ct reply {HEADERS[Family(version)]} saddr"
    for inside in (f"@cidr{version}", *networks.elements):
        yield rule(f"{key} {inside} {key} != @pods{version} goto unknown")


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
        for set_ in self.table.sets.values():
            with_address = set_.fields[0] is not FieldType.PROTOCOL
            with_port = FieldType.PORT in set_.fields
            if item == self._rule(set_.name, with_address=with_address, with_port=with_port):
                parts = [str(peer)] if with_address else []
                if with_port:
                    parts += self._port()
                has_port = self.question.protocol is not None or not with_port
                return Look(set_.name, " . ".join(parts), has_port and _has(set_, parts))
        return None

    def _rule(self, name: str, *, with_address: bool, with_port: bool) -> Rule:
        side = "original" if self.direction is Direction.INGRESS else "reply"
        parts = [f"ct {side} {HEADERS[self.family]} saddr"] if with_address else []
        parts += [SERVER_PORT] if with_port else []
        guard = f"{HAS_PORTS} " if with_port else ""
        return rule(f"{guard}{' . '.join(parts)} @{name} {ALLOWED[self.direction]}")

    def _port(self) -> list[str]:
        protocol = self.question.protocol
        number = str(PROTOCOL_NUMBERS[protocol.value.lower()]) if protocol else "ICMP"
        return [number, str(self.question.port)]


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
