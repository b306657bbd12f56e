"""The two rules that change with each epoch, in the kernel's own expressions.

Only their wording in :mod:`enforcer.ruleset.program` is understood; any other rule is ``nft``'s to
translate. linux/netfilter/nf_tables.h
"""

from __future__ import annotations

import re
import struct
from typing import Final

from enforcer.nft.netlink import attribute, nested
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

NFT_CT_MARK: Final = 3
NFTA_CT_DREG, NFTA_CT_KEY, NFTA_CT_SREG = 1, 2, 4
NFTA_BITWISE_SREG, NFTA_BITWISE_DREG, NFTA_BITWISE_LEN = 1, 2, 3
NFTA_BITWISE_MASK, NFTA_BITWISE_XOR = 4, 5
NFTA_CMP_SREG, NFTA_CMP_OP, NFTA_CMP_DATA = 1, 2, 3
NFT_CMP_EQ: Final = 0
NFTA_IMMEDIATE_DREG, NFTA_IMMEDIATE_DATA = 1, 2

_FAST = re.compile(r"ct mark & (0x[0-9a-f]{8}) == (0x[0-9a-f]{8}) accept")
_STAMP = re.compile(
    r"ct mark set ct mark & (0x[0-9a-f]{8}) \| (0x[0-9a-f]{8}) counter accept",
)


def rule_expressions(rule: Rule) -> bytes | None:
    """Return a rule's expressions as a list of attributes; None for a rule of another kind."""
    if found := _FAST.fullmatch(rule.expression):
        mask, mark = (int(text, 16) for text in found.groups())
        return _load_mark() + _bitwise(mask, 0) + _is_equal(mark) + _accept()
    if found := _STAMP.fullmatch(rule.expression):
        kept, mark = (int(text, 16) for text in found.groups())
        # (mark & kept) | new is (mark & (kept & ~new)) ^ new: the kernel has no "or" in older ones.
        changed = _bitwise(kept & ~mark, mark)
        return _load_mark() + changed + _store_mark() + _expression("counter", b"") + _accept()
    return None


def _expression(name: str, data: bytes) -> bytes:
    named = attribute(NFTA_EXPR_NAME, name.encode() + b"\0")
    return nested(NFTA_LIST_ELEM, named + nested(NFTA_EXPR_DATA, data))


def _load_mark() -> bytes:
    return _expression("ct", _number(NFTA_CT_KEY, NFT_CT_MARK) + _number(NFTA_CT_DREG, REGISTER))


def _store_mark() -> bytes:
    return _expression("ct", _number(NFTA_CT_KEY, NFT_CT_MARK) + _number(NFTA_CT_SREG, REGISTER))


def _bitwise(mask: int, xor: int) -> bytes:
    return _expression(
        "bitwise",
        _number(NFTA_BITWISE_SREG, REGISTER)
        + _number(NFTA_BITWISE_DREG, REGISTER)
        + _number(NFTA_BITWISE_LEN, MARK_BYTES)
        + _mark(NFTA_BITWISE_MASK, mask)
        + _mark(NFTA_BITWISE_XOR, xor),
    )


def _is_equal(mark: int) -> bytes:
    return _expression(
        "cmp",
        _number(NFTA_CMP_SREG, REGISTER)
        + _number(NFTA_CMP_OP, NFT_CMP_EQ)
        + _mark(NFTA_CMP_DATA, mark),
    )


def _accept() -> bytes:
    verdict = nested(NFTA_DATA_VERDICT, _number(NFTA_VERDICT_CODE, NF_ACCEPT))
    return _expression(
        "immediate",
        _number(NFTA_IMMEDIATE_DREG, VERDICT_REGISTER) + nested(NFTA_IMMEDIATE_DATA, verdict),
    )


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value))


def _mark(kind: int, value: int) -> bytes:
    """Return a mark, which conntrack keeps in the byte order of the machine."""
    return nested(kind, attribute(NFTA_DATA_VALUE, struct.pack("=I", value)))
