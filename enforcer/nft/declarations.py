"""Sets and verdict maps in the kernel's own words, without the notes that crash an older ``nft``.

The kernel keeps a note with each set for whoever lists it, and never looks into it. Since 1.1.2
``nft`` notes what kind of expression every key is, and older ones end with SIGSEGV over a kind that
they cannot read, whatever they were to list (``set_make_key`` in nftables' src/netlink.c;
https://github.com/kubernetes/kubernetes/issues/136786, docs/decisions/0016). So ``nft`` makes none
of our sets, and no rule has a verdict map of its own, ``vmap { ... }``, which only ``nft`` could
make. What we note every version reads:

* the byte order of a key of one field, without which names of interfaces come out backwards,
* the comment,
* the expressions that a key is compared with, where one of its types has no name.

linux/netfilter/nf_tables.h (messages), libnftnl/udata.h (notes), include/datatype.h,
include/expression.h and include/proto.h of nftables (the numbers of types, expressions, headers)
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from enforcer.nft.netlink import (
    NFTA_SET_TABLE,
    NFTA_SET_USERDATA,
    attribute,
    nested,
    note,
    notes,
    number,
    padded,
    string,
)
from enforcer.nft.objects import FieldType, Set, TableId, VerdictMap
from enforcer.nft.transaction import (
    AddSet,
    AddTable,
    Command,
    DeleteTable,
    MakeDormant,
    Transaction,
)

NFTA_SET_NAME, NFTA_SET_FLAGS = 2, 3
NFTA_SET_KEY_TYPE, NFTA_SET_KEY_LEN, NFTA_SET_DATA_TYPE = 4, 5, 6
NFTA_SET_DESC, NFTA_SET_ID = 9, 10
NFTA_SET_DESC_SIZE, NFTA_SET_DESC_CONCAT = 1, 2
NFTA_LIST_ELEM, NFTA_SET_FIELD_LEN = 1, 1
NFT_SET_INTERVAL, NFT_SET_MAP, NFT_SET_CONCAT = 0x4, 0x8, 0x80
NFT_DATA_VERDICT: Final = 0xFFFFFF00
TYPE_BITS: Final = 6
"""A concatenation's type is those of its fields, so many bits each."""

SOME_ID: Final = 1
"""By which messages of the same transaction may name a set; ours name it by its name."""

KEY_BYTE_ORDER, KEY_TYPEOF, DATA_TYPEOF, COMMENT = 0, 3, 4, 7  # NFTNL_UDATA_SET_*
KIND, DATA = 0, 1  # NFTNL_UDATA_SET_TYPEOF_EXPR and _DATA; in a concatenation the same
EXPR_VALUE, EXPR_PAYLOAD, EXPR_META, EXPR_CONCAT = 4, 7, 9, 13
META_KEY, NFT_META_IIFNAME = 0, 6
PAYLOAD_PROTOCOL, PAYLOAD_FIELD, PAYLOAD_BASE, PAYLOAD_OFFSET, PAYLOAD_BITS = range(5)
RAW, TRANSPORT_HEADER = 0, 3


class ByteOrder(enum.IntEnum):
    """How a value lies in the kernel, by nft's numbers."""

    HOST = 1
    BIG = 2


@dataclass(frozen=True, slots=True)
class _Type:
    """By which number nft knows a type again, and how a value of it lies in the kernel."""

    number: int
    size: int
    order: ByteOrder = ByteOrder.BIG


_TYPES: Final[Mapping[FieldType, _Type]] = {
    FieldType.ND_TARGET: _Type(4, 16),
    FieldType.IPV4: _Type(7, 4),
    FieldType.IPV6: _Type(8, 16),
    FieldType.MAC: _Type(9, 6, ByteOrder.HOST),
    FieldType.ETHER_TYPE: _Type(10, 2),
    FieldType.PROTOCOL: _Type(12, 1),
    FieldType.PORT: _Type(13, 2),
    FieldType.CT_STATE: _Type(26, 4, ByteOrder.HOST),
    FieldType.INTERFACE: _Type(41, 16, ByteOrder.HOST),
}


def sets_first(transactions: Iterable[Transaction]) -> tuple[Transaction, ...]:
    """Return the same changes; what makes sets, empty and not asked yet, in transactions apart.

    With the tables that they are in. So none of it has to be said in ``nft``'s words.
    """
    return tuple(part for whole in transactions for part in _parted(whole))


def _parted(whole: Transaction) -> Iterator[Transaction]:
    tables = {item.table for item in whole.commands if isinstance(item, AddSet)}
    if not tables:
        yield whole
        return
    yield Transaction(
        tuple(item for item in whole.commands if _makes(item, tables)), f"{whole.purpose}: sets"
    )
    if rest := tuple(item for item in whole.commands if not _makes(item, tables)):
        yield replace(whole, commands=rest)


def _makes(command: Command, tables: AbstractSet[TableId]) -> bool:
    match command:
        case AddSet():
            return True
        case AddTable(table) | MakeDormant(table) | DeleteTable(table):
            return table in tables
        case _:
            return False


def declaration(table: str, set_: Set | VerdictMap) -> bytes:
    """Return the attributes of the message that makes a set or map, still empty."""
    fields = set_.fields
    return b"".join(
        (
            string(NFTA_SET_TABLE, table),
            string(NFTA_SET_NAME, set_.name),
            number(NFTA_SET_ID, SOME_ID),
            number(NFTA_SET_FLAGS, _flags(set_)),
            number(NFTA_SET_KEY_TYPE, _key_type(fields)),
            number(NFTA_SET_KEY_LEN, _key_bytes(fields)),
            number(NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT) if isinstance(set_, VerdictMap) else b"",
            nested(NFTA_SET_DESC, _description(set_)),
            attribute(NFTA_SET_USERDATA, _notes(set_)),
        )
    )


def _flags(set_: Set | VerdictMap) -> int:
    if isinstance(set_, VerdictMap):
        return NFT_SET_MAP
    if not set_.interval:
        return 0
    return NFT_SET_INTERVAL | (NFT_SET_CONCAT if len(set_.fields) > 1 else 0)


def _key_type(fields: Iterable[FieldType]) -> int:
    found = 0
    for field in fields:
        found = found << TYPE_BITS | _TYPES[field].number
    return found


def _key_bytes(fields: Sequence[FieldType]) -> int:
    """Return the length of a key: each field of a concatenation begins at a whole word."""
    sizes = [_TYPES[field].size for field in fields]
    return sizes[0] if len(sizes) == 1 else sum(len(padded(bytes(size))) for size in sizes)


def _description(set_: Set | VerdictMap) -> bytes:
    found = number(NFTA_SET_DESC_SIZE, set_.room) if set_.room else b""
    if _flags(set_) & NFT_SET_CONCAT:
        sizes = (number(NFTA_SET_FIELD_LEN, _TYPES[field].size) for field in set_.fields)
        found += nested(
            NFTA_SET_DESC_CONCAT, b"".join(nested(NFTA_LIST_ELEM, size) for size in sizes)
        )
    return found


def _notes(set_: Set | VerdictMap) -> bytes:
    found = b""
    if len(set_.fields) == 1:
        found = _note_number(KEY_BYTE_ORDER, _TYPES[set_.fields[0]].order)
    elif FieldType.ND_TARGET in set_.fields:
        found = note(KEY_TYPEOF, _concatenation(set_.fields))
    comment = set_.comment.encode() + b"\0"
    return found + (note(COMMENT, comment) if set_.comment else b"")


def crashes_older(userdata: bytes) -> bool:
    """Whether ``nft`` 1.0.6 crashes over what a newer one has noted of a set."""
    found = notes(userdata)
    said = (notes(found[it]).get(KIND) for it in (KEY_TYPEOF, DATA_TYPEOF) if it in found)
    return struct.pack("=I", EXPR_VALUE) in said


def _concatenation(fields: Iterable[FieldType]) -> bytes:
    parts = (note(place, _EXPRESSIONS[field]) for place, field in enumerate(fields))
    return _expression(EXPR_CONCAT, b"".join(parts))


def _expression(kind: int, data: bytes) -> bytes:
    return _note_number(KIND, kind) + note(DATA, data)


def _note_number(kind: int, value: int) -> bytes:
    return note(kind, struct.pack("=I", value))


_ND_TARGET: Final = {  # @th,64,128
    PAYLOAD_PROTOCOL: RAW,
    PAYLOAD_FIELD: RAW,
    PAYLOAD_BASE: TRANSPORT_HEADER,
    PAYLOAD_OFFSET: 64,
    PAYLOAD_BITS: 128,
}
_EXPRESSIONS: Final[Mapping[FieldType, bytes]] = {
    FieldType.INTERFACE: _expression(EXPR_META, _note_number(META_KEY, NFT_META_IIFNAME)),
    FieldType.ND_TARGET: _expression(
        EXPR_PAYLOAD, b"".join(_note_number(kind, value) for kind, value in _ND_TARGET.items())
    ),
}
"""What a field of such a key is compared with; :mod:`enforcer.nft.transaction` has nft's words."""
