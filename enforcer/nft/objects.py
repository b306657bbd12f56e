"""The nouns of nftables as we use it: Table, Chain, Rule, Set, VerdictMap, Ruleset.

All are frozen values that compare equal when they mean the same to the kernel. Elements are kept
as nft's own text in one canonical form (:mod:`enforcer.nft.elements`): eight thousand of them are
compared with two set operations, and printing them costs nothing.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2s
from typing import Final


class TableFamily(enum.Enum):
    """The families of tables that we own."""

    IP = "ip"
    IP6 = "ip6"
    INET = "inet"
    BRIDGE = "bridge"


class FieldType(enum.Enum):
    """The data types that a set's key is made of, by nft's names."""

    IPV4 = "ipv4_addr"
    IPV6 = "ipv6_addr"
    PROTOCOL = "inet_proto"
    PORT = "inet_service"
    INTERFACE = "ifname"
    MAC = "ether_addr"
    ETHER_TYPE = "ether_type"
    CT_STATE = "ct_state"
    ND_TARGET = "integer"
    """The target of a neighbour advertisement, which nft has no type for: raw payload."""


_NFTS_OWN = frozenset(
    {FieldType.MAC, FieldType.ETHER_TYPE, FieldType.CT_STATE, FieldType.ND_TARGET}
)
"""Whose values only ``nft`` translates: they change rarely."""


class HookName(enum.Enum):
    """Where a base chain is attached."""

    PREROUTING = "prerouting"
    INPUT = "input"
    FORWARD = "forward"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True, order=True)
class TableId:
    """Family and name of a table; prints as nft wants it, e.g. ``ip npd``."""

    family: TableFamily
    name: str

    def __str__(self) -> str:
        """Return ``family name``."""
        return f"{self.family.value} {self.name}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Two rules are equal when their comments are.

    The kernel gives a rule back in another wording than it was written in; its comment comes back
    as it was. So every rule carries a hash of its own text in its comment, which costs a packet
    nothing. Use :func:`rule` to make one.
    """

    comment: str
    expression: str = field(default="", compare=False)

    @property
    def note(self) -> str:
        """What the comment says to the person who reads the listing."""
        return self.comment.rpartition("#")[0].strip()

    def __str__(self) -> str:
        """Return the rule as nft text."""
        return f'{self.expression} comment "{self.comment}"'


LOOKUP: Final = re.compile(r"@([\w./-]+)\b(?!,)")
"""How a rule names a set, a map or a flowtable; ``@th,64,128`` is raw payload."""

HASH_BYTES: Final = 16
"""Of a rule's text: so many that no two texts of one hash are found by trying."""


@lru_cache(maxsize=1024)  # each epoch makes a dozen that are never asked for again
def rule(expression: str, note: str = "") -> Rule:
    """Return the rule for ``expression``; ``note`` is for the person who reads the listing."""
    digest = blake2s(expression.encode(), digest_size=HASH_BYTES).hexdigest()
    return Rule(f"{note} #{digest}".strip(), expression)


@dataclass(frozen=True, slots=True)
class Hook:
    """Makes a chain a base chain of type ``filter`` with policy ``accept``."""

    name: HookName
    priority: int

    def __str__(self) -> str:
        """Return the hook as nft text."""
        return f"type filter hook {self.name.value} priority {self.priority}; policy accept;"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain and its rules in order; ``comment`` is not compared, the kernel keeps it quiet."""

    name: str
    rules: tuple[Rule, ...] = ()
    hook: Hook | None = None
    comment: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ElementType:
    """What the elements of a set or map are: needed to write them without ``nft``."""

    fields: tuple[FieldType, ...]
    interval: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether an element is one entry, of types that have one form each.

        A network among networks is two: a start and an end.
        """
        known = not _NFTS_OWN & {*self.fields}
        return known and (not self.interval or len(self.fields) > 1)


@dataclass(frozen=True, slots=True)
class Set:
    """A set. ``interval`` sets hold ranges and networks as well as single values.

    ``room`` is the most elements that it takes, 0 for any number. The kernel asks a set that cannot
    grow at half the price: a hash table without locks and resizing (net/netfilter/nft_set_hash.c).
    """

    name: str
    fields: tuple[FieldType, ...]
    elements: AbstractSet[str] = frozenset()
    interval: bool = False
    comment: str = field(default="", compare=False)
    room: int = 0

    @property
    def type(self) -> ElementType:
        """What its elements are."""
        return ElementType(self.fields, self.interval)


@dataclass(frozen=True, slots=True)
class VerdictMap:
    """A map from a key to ``jump CHAIN``; ``targets`` holds the chain of each key.

    For the keys that are in ``gotos`` it is ``goto CHAIN``. ``room`` is as a :class:`Set`'s.
    """

    name: str
    fields: tuple[FieldType, ...]
    targets: Mapping[str, str] = field(default_factory=dict)
    comment: str = field(default="", compare=False)
    room: int = 0
    gotos: frozenset[str] = frozenset()

    @property
    def type(self) -> ElementType:
        """What its keys are."""
        return ElementType(self.fields)


@dataclass(frozen=True, slots=True)
class Flowtable:
    """A short cut between interfaces for the connections that rules put into it."""

    name: str
    devices: frozenset[str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of ours with everything in it. A dormant table's chains are not asked.

    ``foreign``: it holds something that none of our tables has; it can only be replaced.
    """

    id: TableId
    sets: Mapping[str, Set] = field(default_factory=dict)
    maps: Mapping[str, VerdictMap] = field(default_factory=dict)
    chains: Mapping[str, Chain] = field(default_factory=dict)
    dormant: bool = False
    foreign: bool = False
    flowtables: Mapping[str, Flowtable] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All tables of ours; a table that is not in it does not exist."""

    tables: Mapping[TableId, Table] = field(default_factory=dict)


def table(
    id_: TableId,
    sets: Iterable[Set] = (),
    maps: Iterable[VerdictMap] = (),
    chains: Iterable[Chain] = (),
    *,
    dormant: bool = False,
) -> Table:
    """Return a table without flowtables that holds the given objects by name."""
    return Table(
        id_,
        {item.name: item for item in sets},
        {item.name: item for item in maps},
        {item.name: item for item in chains},
        dormant,
    )


def ruleset(tables: Iterable[Table]) -> Ruleset:
    """Return a ruleset that holds the given tables by identity."""
    return Ruleset({item.id: item for item in tables})
