"""Names in the kernel, for the person at 3 a.m.: short hash first, then namespace and policy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2s
from typing import Final

from enforcer.model.net import Direction, Family
from enforcer.model.objects import Key
from enforcer.nft.diff import stand_in
from enforcer.nft.objects import FieldType, TableFamily, TableId
from enforcer.policy.compiled import Allowed, PolicyClass
from enforcer.policy.images import Remembered
from enforcer.ruleset.room import PODS, bare, roomy

IPV4: Final = TableId(TableFamily.IP, "npd")
IPV6: Final = TableId(TableFamily.IP6, "npd")
JUDGES: Final[Mapping[Family, TableId]] = {Family.IPV4: IPV4, Family.IPV6: IPV6}
"""The table that judges each family's packets."""
BRIDGE: Final = TableId(TableFamily.BRIDGE, "npd")
FORMER: Final = TableId(TableFamily.INET, "npd")
"""One for both families, as former versions had it: goes when ours have come."""
CURRENT: Final = (IPV4, IPV6, BRIDGE)
TABLES: Final = (*CURRENT, FORMER, *map(stand_in, CURRENT))
"""Every table that may be ours."""

TAG_BYTES: Final = 12
"""Of a class's hash. Who may write policies chooses their names, and 32 bits are found by trying:
two classes of one tag would share their chains, and a stranger's would let into another's pods."""

LONGEST_LABEL: Final = 40
LONGEST_COMMENT: Final = 120

HEADERS: Final = {Family.IPV4: "ip", Family.IPV6: "ip6"}
ADDRESS_FIELDS: Final = {Family.IPV4: FieldType.IPV4, Family.IPV6: FieldType.IPV6}
PREFIXES: Final = {Direction.INGRESS: "in", Direction.EGRESS: "eg"}
CLASS_SET: Final = "allow_"
_NO_WORD: Final = re.compile(r"[^a-zA-Z0-9._-]")
_NO_COMMENT: Final = re.compile(r'[^ -~]|["\\]')
"""What nft takes in no name, and in no text. The API server lets no policy have such a name; one
that cannot be read has."""

ALLOWING: Final = frozenset({f"{PODS}4", f"{PODS}6", "self4", "self6"})


@dataclass(frozen=True, slots=True)
class ClassName:
    """The name of a class: ``tag`` is unique, ``label`` readable, ``comment`` complete."""

    direction: Direction
    tag: str
    label: str
    comment: str

    def chain(self, family: Family) -> str:
        """Return the name of the chain that the dispatch maps jump to."""
        return f"{PREFIXES[self.direction]}{family.value}_{self.tag}_{self.label}"

    @property
    def deny_chain(self) -> str:
        """The name of the chain in which this class's denied packets end."""
        return f"deny_{PREFIXES[self.direction]}_{self.tag}_{self.label}"

    @property
    def log_prefix(self) -> str:
        """What the log line of a denied packet begins with."""
        return f"npd:{PREFIXES[self.direction]}:{self.tag}:"

    def set(self, content: str) -> str:
        """Return the name of the class's set with the given kind of content."""
        return f"{CLASS_SET}{PREFIXES[self.direction]}_{self.tag}_{content}_{self.label}"


def is_allow_set(name: str) -> bool:
    """Whether adding an element to this set of a judging table can only allow more."""
    return bare(name) in ALLOWING or name.startswith(CLASS_SET)


def dispatch_map(direction: Direction, family: Family, room: int) -> str:
    """Return the name of the map from a local pod's address to the chain of its class."""
    return roomy(f"{PREFIXES[direction]}_d{family.value}", room)


def pods_set(family: Family, room: int) -> str:
    """Return the name of the set of the local pods' addresses."""
    return roomy(f"{PODS}{family.value}", room)


def turn_set(mac: str) -> str:
    """Return the name of the set, and of the chain, of ports that are turned to this address."""
    return f"turn_{mac.replace(':', '')}"


def name_classes(classes: Iterable[PolicyClass]) -> dict[PolicyClass, ClassName]:
    """Return a name for each class.

    A name depends on the direction and the policies' names alone wherever that tells the classes
    apart, so that a changed policy keeps its chains and sets and only elements change. Classes
    that differ by named ports are told apart by their ports, then by all they allow.
    """
    distinct = list(dict.fromkeys(classes))
    names: dict[PolicyClass, ClassName] = {}
    for identity in (_policies, _ports, _content):
        sharing = Counter(map(identity, distinct))
        for item in distinct:
            if sharing[identity(item)] == 1:
                names[item] = _name(item, identity(item))
        distinct = [item for item in distinct if item not in names]
    return names


class ClassNames:
    """Names classes time and again: what they allow rarely matters, so it is rarely looked at."""

    def __init__(self) -> None:
        """Start without a memory."""
        self._by_policies = Remembered(_named_by_policies)

    def of(self, classes: Iterable[PolicyClass]) -> tuple[tuple[ClassName, PolicyClass], ...]:
        """Return each class once, with its name; see :func:`name_classes`."""
        different = list({id(item): item for item in classes}.values())
        names = self._by_policies(tuple((item.direction, item.policies) for item in different))
        if names is not None:
            return tuple(zip(names, different, strict=True))
        return tuple((name, item) for item, name in name_classes(different).items())


def _named_by_policies(
    classes: tuple[tuple[Direction, tuple[Key, ...]], ...],
) -> tuple[ClassName, ...] | None:
    """Return names by direction and policies; None where those do not tell the classes apart."""
    if len(set(classes)) < len(classes):
        return None
    bare = (PolicyClass(direction, policies, Allowed()) for direction, policies in classes)
    return tuple(_name(item, _policies(item)) for item in bare)


def _name(item: PolicyClass, identity: str) -> ClassName:
    tag = blake2s(identity.encode(), digest_size=TAG_BYTES).hexdigest()
    return ClassName(item.direction, tag, _label(item), _comment(item))


def _policies(item: PolicyClass) -> str:
    return f"{item.direction.value} {' '.join(map(str, item.policies))}"


def _ports(item: PolicyClass) -> str:
    allowed = item.allowed
    ports = {(protocol, port, port) for _, protocol, port in allowed.peer_ports}
    ranges = allowed.ports | {range_ for _, range_ in allowed.network_ports}
    ports |= {(range_.protocol, range_.first, range_.last) for range_ in ranges}
    return f"{_policies(item)} {sorted(map(str, ports))}"


def _content(item: PolicyClass) -> str:
    allowed = item.allowed
    parts = (
        allowed.peers,
        allowed.peer_ports,
        allowed.ports,
        allowed.networks,
        allowed.network_ports,
    )
    return f"{_ports(item)} {allowed.everything} {[sorted(map(str, part)) for part in parts]}"


def _label(item: PolicyClass) -> str:
    first = f"{item.policies[0].namespace}.{item.policies[0].name}" if item.policies else "none"
    more = f"_and_{len(item.policies) - 1}" if len(item.policies) > 1 else ""
    return _NO_WORD.sub("_", first)[: LONGEST_LABEL - len(more)] + more


def _comment(item: PolicyClass) -> str:
    text = _NO_COMMENT.sub("_", f"{item.direction.value}: {', '.join(map(str, item.policies))}")
    return text if len(text) <= LONGEST_COMMENT else f"{text[: LONGEST_COMMENT - 3]}..."
