"""Transactions in the kernel's own words, for the changes that are many and small.

Elements of sets and verdict maps, and the rules that carry the epoch: a tenth of a millisecond
where an ``nft`` process takes five. What this cannot say, :func:`encode` leaves to ``nft``.

linux/netfilter/nfnetlink.h (batches), linux/netfilter/nf_tables.h (messages and attributes)
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from enforcer.nft.elements import spans
from enforcer.nft.expressions import rule_expressions
from enforcer.nft.netlink import NFT_MSG_NEWRULE, NLM_F_ECHO, attribute, nested
from enforcer.nft.objects import ElementType, Rule, TableFamily, TableId
from enforcer.nft.transaction import (
    AddElements,
    AddTargets,
    Command,
    DeleteElements,
    ReplaceRules,
    Transaction,
)

NFT_MSG_NEWSETELEM: Final = 12
NFT_MSG_DELSETELEM: Final = 14

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

NFTA_RULE_TABLE: Final = 1
NFTA_RULE_CHAIN: Final = 2
NFTA_RULE_HANDLE: Final = 3
NFTA_RULE_EXPRESSIONS: Final = 4
NFTA_RULE_USERDATA: Final = 7
COMMENT: Final = 0  # NFTNL_UDATA_RULE_COMMENT of libnftnl

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
        case AddTargets(table, name, targets, ElementType() as kind) if kind.is_plain:
            made = (_element(key, kind) + _jump(chain) for key, chain in targets)
            return list(_elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, table, name, made))
        case DeleteElements(table, name, elements, ElementType() as kind) if kind.is_plain:
            made = (_element(text, kind) for text in elements)
            return list(_elements(NFT_MSG_DELSETELEM, 0, table, name, made))
        case ReplaceRules():
            return _replace(command, handles)
        case _:
            return None


def _elements(
    kind: int, flags: int, table: TableId, name: str, made: Iterable[bytes]
) -> Iterator[Message]:
    where = attribute(NFTA_SET_ELEM_LIST_TABLE, _text(table.name))
    where += attribute(NFTA_SET_ELEM_LIST_SET, _text(name))
    items = [nested(NFTA_LIST_ELEM, item) for item in made]
    for start in range(0, len(items), ELEMENTS_A_MESSAGE):
        some = b"".join(items[start : start + ELEMENTS_A_MESSAGE])
        yield kind, flags, FAMILIES[table.family], where + nested(NFTA_SET_ELEM_LIST_ELEMENTS, some)


@lru_cache(maxsize=256)  # a pod is in the sets of many classes
def _element(text: str, kind: ElementType) -> bytes:
    """Return the attributes of one element's key: for intervals its first and its last key."""
    parts = spans(text, kind.fields)
    if len(parts) > 1:
        parts = [(_padded(first), _padded(last)) for first, last in parts]
    found = _key(NFTA_SET_ELEM_KEY, (first for first, _ in parts))
    if kind.interval:
        found += _key(NFTA_SET_ELEM_KEY_END, (last for _, last in parts))
    return found


def _key(kind: int, parts: Iterable[bytes]) -> bytes:
    return nested(kind, attribute(NFTA_DATA_VALUE, b"".join(parts)))


def _padded(value: bytes) -> bytes:
    return value.ljust(len(value) + 3 & ~3, b"\0")


def _jump(chain: str) -> bytes:
    verdict = attribute(NFTA_VERDICT_CODE, struct.pack("!i", NFT_JUMP))
    verdict += attribute(NFTA_VERDICT_CHAIN, _text(chain))
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
    comment = _text(rule.comment)
    return b"".join(
        (
            attribute(NFTA_RULE_TABLE, _text(table.name)),
            attribute(NFTA_RULE_CHAIN, _text(chain)),
            attribute(NFTA_RULE_HANDLE, struct.pack("!Q", handle)),
            nested(NFTA_RULE_EXPRESSIONS, expressions),
            attribute(NFTA_RULE_USERDATA, bytes((COMMENT, len(comment))) + comment),
        )
    )


def _text(value: str) -> bytes:
    return value.encode() + b"\0"
