"""Transactions in the kernel's own words: what is frequent, and what is not to be ``nft``'s.

Elements of sets and verdict maps, and the rules that carry the epoch: a tenth of a millisecond
where an ``nft`` process takes five. Sets themselves, for :mod:`enforcer.nft.declarations`' reason,
and the tables that they are in. What this cannot say, :func:`encode` leaves to ``nft``.

linux/netfilter/nfnetlink.h (batches), linux/netfilter/nf_tables.h (messages and attributes)
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, assert_never

from enforcer.nft.declarations import declaration
from enforcer.nft.elements import spans
from enforcer.nft.expressions import rule_expressions
from enforcer.nft.netlink import (
    COMMENT,
    NFT_MSG_NEWRULE,
    NLM_F_ECHO,
    attribute,
    nested,
    note,
    number,
    padded,
    string,
)
from enforcer.nft.objects import ElementType, Rule, TableFamily, TableId
from enforcer.nft.transaction import (
    AddElements,
    AddSet,
    AddTable,
    AddTargets,
    Command,
    DeleteElements,
    DeleteTable,
    MakeDormant,
    ReplaceRules,
    Transaction,
)

NFT_MSG_NEWTABLE: Final = 0
NFT_MSG_DELTABLE: Final = 2
NFT_MSG_NEWSET: Final = 9
NFT_MSG_NEWSETELEM: Final = 12
NFT_MSG_DELSETELEM: Final = 14

NFTA_TABLE_NAME: Final = 1
NFTA_TABLE_FLAGS: Final = 2
NFT_TABLE_F_DORMANT: Final = 1

NFTA_SET_ELEM_LIST_TABLE: Final = 1
NFTA_SET_ELEM_LIST_SET: Final = 2
NFTA_SET_ELEM_LIST_ELEMENTS: Final = 3
NFTA_LIST_ELEM: Final = 1
NFTA_SET_ELEM_KEY: Final = 1
NFTA_SET_ELEM_DATA: Final = 2
NFTA_SET_ELEM_KEY_END: Final = 10
NFTA_DATA_VALUE: Final = 1
NFTA_DATA_VERDICT: Final = 2
NFTA_VERDICT_CODE: Final = 1
NFTA_VERDICT_CHAIN: Final = 2
NFT_JUMP: Final = -3
NFT_GOTO: Final = -4

NFTA_RULE_TABLE: Final = 1
NFTA_RULE_CHAIN: Final = 2
NFTA_RULE_HANDLE: Final = 3
NFTA_RULE_EXPRESSIONS: Final = 4
NFTA_RULE_USERDATA: Final = 7

NLM_F_CREATE: Final = 0x400
NLM_F_REPLACE: Final = 0x100

FAMILIES: Final = {  # NFPROTO_*
    TableFamily.INET: 1,
    TableFamily.IP: 2,
    TableFamily.BRIDGE: 7,
    TableFamily.IP6: 10,
}
ELEMENTS_A_MESSAGE: Final = 400
"""An attribute is no longer than 64 KiB, and no element of ours is longer than 100 bytes."""

Message = tuple[int, int, int, bytes]
"""Message type, flags, family and attributes."""

Handles = Callable[[TableId, str], Sequence[tuple[int, str]]]
"""Tells handle and comment of each rule of a chain, in order."""


def encode(transaction: Transaction, handles: Handles) -> list[Message] | None:
    """Return a transaction as messages; None where one of its commands needs ``nft``.

    ``handles`` is asked where rules are replaced. None also where the kernel's rules are not those
    that are to be replaced: ``nft`` then writes the chain anew.
    """
    messages: list[Message] = []
    for command in transaction.commands:
        found = _encode(command, handles)
        if found is None:
            return None
        messages += found
    return messages


def _encode(command: Command, handles: Handles) -> list[Message] | None:
    match command:
        case AddElements(table, name, elements, ElementType() as kind) if kind.is_plain:
            made = (_element(text, kind) for text in elements)
            return list(_elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, table, name, made))
        case AddTargets(table, name, targets, ElementType() as kind, gotos) if kind.is_plain:
            verdicts = ((NFT_GOTO if key in gotos else NFT_JUMP, key, to) for key, to in targets)
            made = (_element(key, kind) + _verdict(code, to) for code, key, to in verdicts)
            return list(_elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, table, name, made))
        case DeleteElements(table, name, elements, ElementType() as kind) if kind.is_plain:
            made = (_element(text, kind) for text in elements)
            return list(_elements(NFT_MSG_DELSETELEM, 0, table, name, made))
        case ReplaceRules():
            return _replace(command, handles)
        case AddSet() | AddTable() | MakeDormant() | DeleteTable():
            return [_declared(command)]
        case _:
            return None


def _declared(command: AddSet | AddTable | MakeDormant | DeleteTable) -> Message:
    family, table = FAMILIES[command.table.family], command.table.name
    name = string(NFTA_TABLE_NAME, table)
    match command:
        case AddSet(_, set_):
            return NFT_MSG_NEWSET, NLM_F_CREATE, family, declaration(table, set_)
        case AddTable():
            return NFT_MSG_NEWTABLE, NLM_F_CREATE, family, name + number(NFTA_TABLE_FLAGS, 0)
        case MakeDormant():
            flags = number(NFTA_TABLE_FLAGS, NFT_TABLE_F_DORMANT)
            return NFT_MSG_NEWTABLE, NLM_F_CREATE, family, name + flags
        case DeleteTable():
            return NFT_MSG_DELTABLE, 0, family, name
    assert_never(command)


def _elements(
    kind: int, flags: int, table: TableId, name: str, made: Iterable[bytes]
) -> Iterator[Message]:
    where = string(NFTA_SET_ELEM_LIST_TABLE, table.name)
    where += string(NFTA_SET_ELEM_LIST_SET, name)
    items = [nested(NFTA_LIST_ELEM, item) for item in made]
    for start in range(0, len(items), ELEMENTS_A_MESSAGE):
        some = b"".join(items[start : start + ELEMENTS_A_MESSAGE])
        yield kind, flags, FAMILIES[table.family], where + nested(NFTA_SET_ELEM_LIST_ELEMENTS, some)


@lru_cache(maxsize=256)  # a pod is in the sets of many classes
def _element(text: str, kind: ElementType) -> bytes:
    """Return the attributes of one element's key: for intervals its first and its last key."""
    parts = spans(text, kind.fields)
    if len(parts) > 1:
        parts = [(padded(first), padded(last)) for first, last in parts]
    found = _key(NFTA_SET_ELEM_KEY, (first for first, _ in parts))
    if kind.interval:
        found += _key(NFTA_SET_ELEM_KEY_END, (last for _, last in parts))
    return found


def _key(kind: int, parts: Iterable[bytes]) -> bytes:
    return nested(kind, attribute(NFTA_DATA_VALUE, b"".join(parts)))


def _verdict(code: int, chain: str) -> bytes:
    verdict = attribute(NFTA_VERDICT_CODE, struct.pack("!i", code))
    verdict += string(NFTA_VERDICT_CHAIN, chain)
    return nested(NFTA_SET_ELEM_DATA, nested(NFTA_DATA_VERDICT, verdict))


def _replace(command: ReplaceRules, handles: Handles) -> list[Message] | None:
    """Replace each rule that differs, by its handle; the kernel tells the new one's."""
    there = handles(command.table, command.chain)
    if [comment for _, comment in there] != [rule.comment for rule in command.old]:
        return None
    flags, family = NLM_F_REPLACE | NLM_F_ECHO, FAMILIES[command.table.family]
    messages: list[Message] = []
    for place, new in command.changes():
        expressions = rule_expressions(new)
        if expressions is None:
            return None
        handle, _ = there[place]
        body = _rule(command.table, command.chain, handle, new, expressions)
        messages.append((NFT_MSG_NEWRULE, flags, family, body))
    return messages


def _rule(table: TableId, chain: str, handle: int, rule: Rule, expressions: bytes) -> bytes:
    comment = rule.comment.encode() + b"\0"
    return b"".join(
        (
            string(NFTA_RULE_TABLE, table.name),
            string(NFTA_RULE_CHAIN, chain),
            attribute(NFTA_RULE_HANDLE, struct.pack("!Q", handle)),
            nested(NFTA_RULE_EXPRESSIONS, expressions),
            attribute(NFTA_RULE_USERDATA, note(COMMENT, comment)),
        )
    )
