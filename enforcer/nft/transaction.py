"""A change to the kernel as a value: it is built, printed, checked, compared, and only then run.

The kernel runs a transaction as a whole or not at all, and no packet meets half of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from enforcer.nft.objects import (
    Chain,
    ElementType,
    FieldType,
    Flowtable,
    Rule,
    Set,
    TableId,
    VerdictMap,
)


@dataclass(frozen=True, slots=True)
class AddTable:
    """Make a table; wakes it when it was dormant."""

    table: TableId


@dataclass(frozen=True, slots=True)
class DeleteTable:
    """Delete a table with everything in it; an error when there is none."""

    table: TableId


@dataclass(frozen=True, slots=True)
class MakeDormant:
    """Take a table's chains out of the packets' way; makes one that is to be filled first."""

    table: TableId


@dataclass(frozen=True, slots=True)
class AddChain:
    """Make a chain; its rules are added by commands of their own."""

    table: TableId
    chain: Chain


@dataclass(frozen=True, slots=True)
class FlushChain:
    """Delete every rule of a chain."""

    table: TableId
    name: str


@dataclass(frozen=True, slots=True)
class DeleteChain:
    """Delete a chain; an error when a rule or an element still points at it."""

    table: TableId
    name: str


@dataclass(frozen=True, slots=True)
class AddRule:
    """Append a rule to a chain."""

    table: TableId
    chain: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class ReplaceRules:
    """Put rules in the place of a chain's old ones, one for one; only those that differ matter."""

    table: TableId
    chain: str
    old: tuple[Rule, ...]
    new: tuple[Rule, ...]

    def changes(self) -> list[tuple[int, Rule]]:
        """Return place and text of each rule that differs from the one that was there."""
        pairs = enumerate(zip(self.old, self.new, strict=True))
        return [(place, new) for place, (old, new) in pairs if old != new]

    def anew(self) -> tuple[FlushChain | AddRule, ...]:
        """Return the same for whoever cannot tell the old rules from each other."""
        added = (AddRule(self.table, self.chain, rule) for rule in self.new)
        return FlushChain(self.table, self.chain), *added


@dataclass(frozen=True, slots=True)
class AddSet:
    """Make a set or verdict map; its elements are added by commands of their own."""

    table: TableId
    set: Set | VerdictMap


@dataclass(frozen=True, slots=True)
class DeleteSet:
    """Delete a set or map; an error when a rule still asks it."""

    table: TableId
    name: str


@dataclass(frozen=True, slots=True)
class AddElements:
    """Add elements to a set; adding one that is there already changes nothing."""

    table: TableId
    set: str
    elements: tuple[str, ...]
    type: ElementType | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class AddTargets:
    """Add ``key : jump chain`` to a verdict map; an error when the key leads elsewhere.

    ``goto`` for those keys that are in ``gotos``.
    """

    table: TableId
    map: str
    targets: tuple[tuple[str, str], ...]
    type: ElementType | None = field(default=None, compare=False)
    gotos: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DeleteElements:
    """Delete elements from a set or map; an error when one of them is missing."""

    table: TableId
    set: str
    elements: tuple[str, ...]
    type: ElementType | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class AddFlowtable:
    """Make a flowtable; an error when one of its devices does not exist or has one already."""

    table: TableId
    flowtable: Flowtable


@dataclass(frozen=True, slots=True)
class DeleteFlowtable:
    """Delete a flowtable with all its connections; an error while a rule adds to it."""

    table: TableId
    name: str


Command = (
    AddTable
    | DeleteTable
    | MakeDormant
    | AddChain
    | FlushChain
    | DeleteChain
    | AddRule
    | ReplaceRules
    | AddSet
    | DeleteSet
    | AddElements
    | AddTargets
    | DeleteElements
    | AddFlowtable
    | DeleteFlowtable
)


@dataclass(frozen=True, slots=True)
class Transaction:
    """Commands that the kernel runs together. ``str()`` gives the text for ``nft -f``."""

    commands: tuple[Command, ...]
    purpose: str = ""

    def __str__(self) -> str:
        """Return the transaction as nft text, each item on a line of its own."""
        return "".join(f"{command_text(command)}\n" for command in self.commands)


def command_text(command: Command) -> str:
    """Return one command as nft text."""
    match command:
        case AddTable() | DeleteTable() | MakeDormant():
            return _table_command_text(command)
        case AddChain() | FlushChain() | DeleteChain() | AddRule():
            return _chain_command_text(command)
        case ReplaceRules():
            return "\n".join(map(_chain_command_text, command.anew()))
        case AddElements() | AddTargets() | DeleteElements():
            return _element_command_text(command)
        case AddFlowtable() | DeleteFlowtable():
            return _flowtable_command_text(command)
        case _:
            return _set_command_text(command)


def _table_command_text(command: AddTable | DeleteTable | MakeDormant) -> str:
    match command:
        case AddTable(table):
            return f"add table {table}"
        case DeleteTable(table):
            return f"delete table {table}"
        case MakeDormant(table):
            return f"add table {table} {{ flags dormant; }}"
    assert_never(command)


def _chain_command_text(command: AddChain | FlushChain | DeleteChain | AddRule) -> str:
    match command:
        case AddChain(table, chain):
            return f"add chain {table} {chain.name}{_chain_block(chain)}"
        case FlushChain(table, name):
            return f"flush chain {table} {name}"
        case DeleteChain(table, name):
            return f"delete chain {table} {name}"
        case AddRule(table, chain, rule):
            return f"add rule {table} {chain} {rule}"
    assert_never(command)


def _set_command_text(command: AddSet | DeleteSet) -> str:
    match command:
        case AddSet(table, set_):
            return _set_definition(table, set_)
        case DeleteSet(table, name):
            return f"delete set {table} {name}"
    assert_never(command)


def _element_command_text(command: AddElements | AddTargets | DeleteElements) -> str:
    match command:
        case AddElements(table, name, elements):
            return f"add element {table} {name} {_block(elements)}"
        case AddTargets(table, name, targets, gotos=gotos):
            found = (f"{key} : {'goto' if key in gotos else 'jump'} {to}" for key, to in targets)
            return f"add element {table} {name} {_block(found)}"
        case DeleteElements(table, name, elements):
            return f"delete element {table} {name} {_block(elements)}"
    assert_never(command)


def _chain_block(chain: Chain) -> str:
    parts = [str(chain.hook)] if chain.hook else []
    parts += _comment(chain.comment)
    return f" {{ {' '.join(parts)} }}" if parts else ""


def _set_definition(table: TableId, set_: Set | VerdictMap) -> str:
    key = _key_text(set_.fields)
    more = [f"size {set_.room};"] if set_.room else []
    if isinstance(set_, VerdictMap):
        begin = f"add map {table} {set_.name} {{ {key} : verdict;"
    else:
        begin = f"add set {table} {set_.name} {{ {key};"
        more += ["flags interval;"] if set_.interval else []
    return f"{' '.join([begin, *more, *_comment(set_.comment)])} }}"


def _key_text(fields: Sequence[FieldType]) -> str:
    """Return what a set's key is made of: types, or expressions where one has no type's name."""
    if FieldType.ND_TARGET in fields:
        return f"typeof {' . '.join(_EXPRESSIONS[field] for field in fields)}"
    return f"type {' . '.join(field.value for field in fields)}"


_EXPRESSIONS = {FieldType.INTERFACE: "iifname", FieldType.ND_TARGET: "@th,64,128"}


def _flowtable_command_text(command: AddFlowtable | DeleteFlowtable) -> str:
    match command:
        case AddFlowtable(table, flowtable):
            return f"add flowtable {table} {_flowtable_definition(flowtable)}"
        case DeleteFlowtable(table, name):
            return f"delete flowtable {table} {name}"
    assert_never(command)


def _flowtable_definition(flowtable: Flowtable) -> str:
    devices = ", ".join(f'"{name}"' for name in sorted(flowtable.devices))
    # Counted in conntrack, too: who reads it should see no difference.
    hook = "hook ingress priority filter"
    return f"{flowtable.name} {{ {hook}; devices = {{ {devices} }}; counter; }}"


def _comment(comment: str) -> list[str]:
    return [f'comment "{comment}";'] if comment else []


def _block(items: Iterable[str]) -> str:
    # nft's scanner is quadratic in the length of a line.
    return "{\n" + ",\n".join(items) + "\n}"
