"""Sets that were made without ``nft``: as ``nft`` makes them, but for what it notes of them."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import product

import pytest

from enforcer.errors import KernelError
from enforcer.nft.batch import FAMILIES, NFT_MSG_NEWSET, NLM_F_CREATE
from enforcer.nft.declarations import (
    COMMENT,
    DATA,
    EXPR_VALUE,
    KEY_BYTE_ORDER,
    KEY_TYPEOF,
    KIND,
    NFT_SET_MAP,
    NFTA_SET_FLAGS,
    NFTA_SET_NAME,
    declaration,
)
from enforcer.nft.kernel import NftKernel
from enforcer.nft.netlink import (
    NFNL_SUBSYS_NFTABLES,
    NFT_MSG_GETSET,
    NFTA_SET_TABLE,
    NFTA_SET_USERDATA,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    Netfilter,
    _attributes,
    attribute,
    note,
    notes,
)
from enforcer.nft.objects import FieldType, Ruleset, Set, TableFamily, TableId, VerdictMap
from enforcer.nft.transaction import AddSet, AddTable, Transaction
from enforcer.ruleset.names import TABLES
from enforcer.ruleset.options import ExistingConnections, LowerOptions
from enforcer.ruleset.plan import Planner
from tests.kernel.netlab import Namespace, run
from tests.kernel.test_random_changes import compiled, wiring

pytestmark = pytest.mark.kernel

NFTA_SET_HANDLE = 16
ND_SET = "nd6"
"""Has a key that has no type's name."""

ADDRESSES = (FieldType.IPV4, FieldType.IPV6)
PORTS = (FieldType.PROTOCOL, FieldType.PORT)
KEYS = (
    *((field,) for field in FieldType if field is not FieldType.ND_TARGET),
    *((field, *PORTS) for field in ADDRESSES),
    *((FieldType.INTERFACE, FieldType.MAC, field) for field in ADDRESSES),
    (FieldType.INTERFACE, FieldType.ND_TARGET),
    PORTS,
)
RANGES = (*((field,) for field in (*ADDRESSES, FieldType.PORT)), (FieldType.IPV4, *PORTS), PORTS)

Attributes = Mapping[int, bytes]


@pytest.fixture
def space() -> Iterator[Namespace]:
    """Return an empty network namespace."""
    name = f"npdsets-{os.getpid()}"
    run("ip", "netns", "add", name)
    made = Namespace(name)
    yield made
    made.close()
    run("ip", "netns", "del", name)


def every_kind() -> Iterator[Set | VerdictMap]:
    """Yield a set of each key, with and without ranges, and a map; with and without bounds."""
    for room, (number, key) in product((0, 7), enumerate(KEYS)):
        yield Set(f"set{number}-{room}", key, comment="a comment", room=room)
        yield VerdictMap(f"map{number}-{room}", key, room=room)
    for number, key in enumerate(RANGES):
        yield Set(f"ranges{number}", key, interval=True)


def declared() -> dict[str, Attributes]:
    """Return what the kernel holds of each set of this namespace, by table and set."""
    kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSET
    with Netfilter() as netfilter:
        found = [
            dict(_attributes(it)) for it in netfilter._ask(kind, NLM_F_REQUEST | NLM_F_DUMP, b"")
        ]
    return {f"{it[NFTA_SET_TABLE]!r} {it[NFTA_SET_NAME]!r}": it for it in found}


@pytest.mark.parametrize("family", TableFamily)
def test_a_set_is_what_nft_makes(space: Namespace, family: TableFamily) -> None:
    """Types, lengths, flags and bounds are nft's own, of every kind of set in every family."""
    id_ = TableId(family, "npd")
    change = Transaction((AddTable(id_), *(AddSet(id_, item) for item in every_kind())))

    def kept() -> dict[str, Attributes]:
        aside = {NFTA_SET_USERDATA, NFTA_SET_HANDLE}
        found = declared()
        run("nft", "flush", "ruleset")
        return {name: {k: v for k, v in it.items() if k not in aside} for name, it in found.items()}

    def both_ways() -> None:
        NftKernel().apply(change)
        ours = kept()
        run("nft", "-f", "-", text=str(change))
        assert ours == kept()
        assert len(ours) == len(change.commands) - 1

    space.call(both_ways)


def test_a_set_is_read_as_it_was_made(space: Namespace) -> None:
    """Nft knows every type again, and the comment, from what we note."""
    id_ = TableId(TableFamily.BRIDGE, "npd")
    items = list(every_kind())
    change = Transaction((AddTable(id_), *(AddSet(id_, item) for item in items)))

    space.call(NftKernel().apply, change)
    found = space.call(NftKernel().read, [id_]).tables[id_]

    assert {**found.sets, **found.maps} == {item.name: item for item in items}
    assert space.run("nft", "list", "table", *str(id_).split()).count('"a comment"') == 2 * len(
        KEYS
    )


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_noted_that_an_older_nft_cannot_read(space: Namespace, seed: int) -> None:
    """No set of any table of ours says of what kind of expression it is, whichever nft is here.

    Nor has a rule a map of its own, of which ``nft`` would note as much.
    """
    draw = random.Random(seed)
    kernel = NftKernel()
    planner = Planner(LowerOptions(existing=ExistingConnections.KEEP))

    def walk() -> None:
        have = Ruleset()
        for _ in range(10):
            kernel.generation()
            planned = planner.plan(have, compiled(draw), wiring(draw))
            for transaction in (*planned.transactions, *planned.afterwards):
                kernel.apply(transaction)
            have = kernel.read(TABLES)
            assert have == planned.want
            expect_readable(declared().values())

    space.call(walk)


def expect_readable(sets: Iterable[Attributes]) -> None:
    """Assert what is noted of sets, and that those that rules have of their own are no maps."""
    for item in sets:
        name = item[NFTA_SET_NAME].rstrip(b"\0").decode()
        if name.startswith("__"):
            flags = int.from_bytes(item[NFTA_SET_FLAGS], "big")
            assert not flags & NFT_SET_MAP, name
            continue
        expected = {KEY_TYPEOF} if name == ND_SET else {KEY_BYTE_ORDER, COMMENT}
        assert notes(item.get(NFTA_SET_USERDATA, b"")).keys() <= expected, name


def test_a_table_with_what_crashes_an_older_nft_is_made_anew(space: Namespace) -> None:
    """Such as a former version of ours made with ``nft`` 1.1: it is none of ours any more.

    Nor is it for an ``nft`` that cannot list it: that is told.
    """
    id_ = TableId(TableFamily.IP, "npd")
    noted = note(KIND, struct.pack("=I", EXPR_VALUE)) + note(DATA, b"")
    userdata = attribute(NFTA_SET_USERDATA, note(KEY_TYPEOF, noted))
    attributes = declaration(id_.name, Set("pods4", (FieldType.IPV4,)))
    kernel = NftKernel()

    def read() -> bool:
        kernel.apply(Transaction((AddTable(id_),)))
        with Netfilter() as netfilter:
            message = NFT_MSG_NEWSET, NLM_F_CREATE, FAMILIES[id_.family], attributes + userdata
            netfilter.commit([message], 0)
        try:
            return kernel.read([id_]).tables[id_].foreign
        except KernelError as error:
            return "ended by SIGSEGV" in str(error)

    assert space.call(read)
