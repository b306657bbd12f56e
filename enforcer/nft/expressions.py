"""The rules that change with each epoch, in the kernel's own expressions.

Only the words that these rules are made of are known (:data:`_MEANINGS`); any other rule is
``nft``'s to translate. linux/netfilter/nf_tables.h
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from enforcer.nft.netlink import attribute, nested, number
from enforcer.nft.objects import Rule

NFTA_LIST_ELEM: Final = 1
NFTA_EXPR_NAME: Final = 1
NFTA_EXPR_DATA: Final = 2
NFTA_DATA_VALUE: Final = 1
NFTA_DATA_VERDICT: Final = 2
NFTA_VERDICT_CODE: Final = 1
NF_ACCEPT: Final = 1
VERDICT_REGISTER: Final = 0
REGISTER: Final = 1
MARK_BYTES: Final = 4

NFT_CT_STATE, NFT_CT_STATUS, NFT_CT_MARK = 0, 2, 3
NFTA_PAYLOAD_DREG, NFTA_PAYLOAD_BASE, NFTA_PAYLOAD_OFFSET, NFTA_PAYLOAD_LEN = 1, 2, 3, 4
NFT_PAYLOAD_NETWORK_HEADER: Final = 1
IP_PROTOCOL, IP6_NEXT_HEADER = 9, 6  # offsets in the headers: RFC 791, RFC 8200
RELATED: Final = 4  # NF_CT_STATE_BIT(IP_CT_RELATED)
NFTA_CT_DREG, NFTA_CT_KEY, NFTA_CT_SREG = 1, 2, 4
NFTA_BITWISE_SREG, NFTA_BITWISE_DREG, NFTA_BITWISE_LEN = 1, 2, 3
NFTA_BITWISE_MASK, NFTA_BITWISE_XOR = 4, 5
NFTA_CMP_SREG, NFTA_CMP_OP, NFTA_CMP_DATA = 1, 2, 3
NFT_CMP_EQ, NFT_CMP_NEQ = 0, 1
NFTA_IMMEDIATE_DREG, NFTA_IMMEDIATE_DATA = 1, 2

_HEX: Final = "(0x[0-9a-f]{8})"


def rule_expressions(rule: Rule) -> bytes | None:
    """Return a rule's expressions as a list of attributes; None for words that are not known."""
    rest, found = rule.expression, b""
    while rest:
        for words, meaning in _MEANINGS:
            if match := words.match(rest):
                found += _meant(meaning, *match.groups())
                rest = rest[match.end() :]
                break
        else:
            return None
    return found


@lru_cache(maxsize=64)  # an epoch changes two words of a dozen
def _meant(meaning: Callable[..., bytes], *numbers: str) -> bytes:
    return meaning(*(int(text, 16) for text in numbers))


def _expression(name: str, data: bytes) -> bytes:
    named = attribute(NFTA_EXPR_NAME, name.encode() + b"\0")
    return nested(NFTA_LIST_ELEM, named + nested(NFTA_EXPR_DATA, data))


def _load(key: int) -> bytes:
    return _expression("ct", number(NFTA_CT_KEY, key) + number(NFTA_CT_DREG, REGISTER))


def _store_mark() -> bytes:
    return _expression("ct", number(NFTA_CT_KEY, NFT_CT_MARK) + number(NFTA_CT_SREG, REGISTER))


def _bitwise(mask: int, xor: int) -> bytes:
    return _expression(
        "bitwise",
        number(NFTA_BITWISE_SREG, REGISTER)
        + number(NFTA_BITWISE_DREG, REGISTER)
        + number(NFTA_BITWISE_LEN, MARK_BYTES)
        + _host_order(NFTA_BITWISE_MASK, mask)
        + _host_order(NFTA_BITWISE_XOR, xor),
    )


def _compare(operator: int, value: int) -> bytes:
    return _expression(
        "cmp",
        number(NFTA_CMP_SREG, REGISTER)
        + number(NFTA_CMP_OP, operator)
        + _host_order(NFTA_CMP_DATA, value),
    )


def _accept() -> bytes:
    verdict = nested(NFTA_DATA_VERDICT, number(NFTA_VERDICT_CODE, NF_ACCEPT))
    return _expression(
        "immediate",
        number(NFTA_IMMEDIATE_DREG, VERDICT_REGISTER) + nested(NFTA_IMMEDIATE_DATA, verdict),
    )


def _host_order(kind: int, value: int) -> bytes:
    """Return a value as conntrack keeps its marks and states: in the machine's byte order."""
    return nested(kind, attribute(NFTA_DATA_VALUE, struct.pack("=I", value)))


def _is_not_related() -> bytes:
    return _load(NFT_CT_STATE) + _compare(NFT_CMP_NEQ, RELATED)


def _is_tcp(offset: int) -> bytes:
    load = (
        number(NFTA_PAYLOAD_DREG, REGISTER)
        + number(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER)
        + number(NFTA_PAYLOAD_OFFSET, offset)
        + number(NFTA_PAYLOAD_LEN, 1)
    )
    same = number(NFTA_CMP_SREG, REGISTER) + number(NFTA_CMP_OP, NFT_CMP_EQ)
    same += nested(NFTA_CMP_DATA, attribute(NFTA_DATA_VALUE, bytes((socket.IPPROTO_TCP,))))
    return _expression("payload", load) + _expression("cmp", same)


def _lacks_status(mask: int) -> bytes:
    return _load(NFT_CT_STATUS) + _bitwise(mask, 0) + _compare(NFT_CMP_EQ, 0)


def _has_mark(mask: int, mark: int) -> bytes:
    return _load(NFT_CT_MARK) + _bitwise(mask, 0) + _compare(NFT_CMP_EQ, mark)


def _set_mark(kept: int, mark: int) -> bytes:
    # (mark & kept) | new is (mark & kept & ~new) ^ new: the kernel has no "or".
    return _load(NFT_CT_MARK) + _bitwise(kept & ~mark, mark) + _store_mark()


_MEANINGS: Final[tuple[tuple[re.Pattern[str], Callable[..., bytes]], ...]] = tuple(
    (re.compile(f"{words}(?: |$)"), meaning)
    for words, meaning in (
        ("ct state != related", _is_not_related),
        ("ip protocol 6", lambda: _is_tcp(IP_PROTOCOL)),
        ("ip6 nexthdr 6", lambda: _is_tcp(IP6_NEXT_HEADER)),
        (f"ct status & {_HEX} == 0", _lacks_status),
        (f"ct mark & {_HEX} == {_HEX}", _has_mark),
        (rf"ct mark set ct mark & {_HEX} \| {_HEX}", _set_mark),
        ("counter", lambda: _expression("counter", b"")),
        ("accept", _accept),
    )
)
