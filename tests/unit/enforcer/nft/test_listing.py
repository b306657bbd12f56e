"""What nft lists, by version: the same table must read the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from enforcer.errors import DecodeError
from enforcer.nft.kernel import decode_table
from enforcer.nft.objects import FieldType, TableFamily, TableId

INET = TableId(TableFamily.INET, "npd")
BRIDGE = TableId(TableFamily.BRIDGE, "npd")
TARGET = "0xfe800000000000000000000000000001"
IIFNAME = {"meta": {"key": "iifname"}}
ND_TARGET = {"payload": {"base": "th", "offset": 64, "len": 128}}


def listing(kind: Any) -> str:
    """Return a set of neighbours' targets, with its type as a version of nft writes it."""
    elements = [{"concat": ["veth1", TARGET]}]
    made = {"family": "bridge", "table": "npd", "name": "nd6", "type": kind, "elem": elements}
    return json.dumps({"nftables": [{"table": {"family": "bridge", "name": "npd"}}, {"set": made}]})


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(["ifname", "integer"], id="nft-1.0.6"),
        pytest.param({"typeof": {"concat": [IIFNAME, ND_TARGET]}}, id="nft-1.1.3"),
    ],
)
def test_every_version_of_nft_is_understood(kind: Any) -> None:
    """A field that was declared by an expression is known by its type or by the expression."""
    found = decode_table(BRIDGE, listing(kind)).sets["nd6"]

    assert found.fields == (FieldType.INTERFACE, FieldType.ND_TARGET)
    assert found.elements == {f'"veth1" . 0x{int(TARGET, 0):x}'}


def test_an_expression_of_others_is_refused() -> None:
    """A set that is not as we write it is not taken for one of ours."""
    other = {"typeof": {"concat": [IIFNAME, {"payload": {"base": "th", "offset": 0, "len": 16}}]}}

    with pytest.raises(DecodeError, match="offset"):
        decode_table(BRIDGE, listing(other))


@pytest.mark.parametrize("changed", [{"policy": "drop"}, {"type": "nat"}, {"hook": "egress"}])
def test_a_base_chain_of_others_is_refused(changed: dict[str, str]) -> None:
    """What happens at a chain's end is part of it: a policy that somebody changes is noticed."""
    place = {"family": "inet", "table": "npd", "name": "forward", "hook": "forward", "prio": -5}
    ours = place | {"type": "filter", "policy": "accept"}

    assert decode_table(INET, json.dumps({"nftables": [{"chain": ours}]})).chains["forward"].hook
    with pytest.raises(DecodeError):
        decode_table(INET, json.dumps({"nftables": [{"chain": ours | changed}]}))
