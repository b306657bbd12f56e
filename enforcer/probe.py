"""Whether this kernel takes what our rules are made of: asked once, before the first of them.

A throw-away table of each family is made and deleted. They are dormant: no packet meets them. Where
they are refused, their parts are tried one by one, so that a person reads what is missing and not
what netlink said of some rule. ``nft --check`` is not enough: the kernel looks at an expression's
hook (which is what 5.10 refuses) at the end of a transaction that is to be kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from string import Template
from typing import Final

from enforcer.errors import KernelError, MissingError
from enforcer.nft.kernel import NftKernel, run_nft
from enforcer.nft.objects import FieldType, Set, TableFamily, TableId, VerdictMap
from enforcer.nft.transaction import AddSet, DeleteTable, MakeDormant, Transaction
from enforcer.ruleset.names import JUDGES

OLDEST_TRIED: Final = "6.1"
"""The oldest kernel that our tests have run on."""

NEWEST_REFUSED: Final = "5.10"
"""The newest kernel that is known to lack something."""

_NAME: Final = "npd_probe"
_FAMILIES: Final = {
    TableFamily.IP: {"header": "ip", "address": "10.0.0.1", "icmp": "icmp"},
    TableFamily.IP6: {"header": "ip6", "address": "fd00::1", "icmp": "icmpv6"},
}
"""Of each of our tables: what stands for ``$header`` and so on in a part of it."""

_ADDRESSES: Final = {TableFamily.IP: FieldType.IPV4, TableFamily.IP6: FieldType.IPV6}

NEEDED: Final[Mapping[str, str]] = {
    "fib lookups of the incoming interface (fib saddr . iif oif) in the forward hook": (
        "chain incoming { type filter hook forward priority 0; fib saddr . iif oif 0 drop; }"
    ),
    "fib lookups of an address's type (fib daddr type)": (
        "chain kinds { type filter hook forward priority 0; fib daddr type local accept; }"
    ),
    "connection tracking in nftables (ct state, ct original ip saddr)": (
        "chain tracked { type filter hook forward priority 0; ct state new accept; "
        "ct original $header saddr $address accept; ct reply $header saddr $address accept; }"
    ),
    "conntrack marks (ct mark set)": (
        "chain marked { type filter hook forward priority 0; "
        "ct mark set ct mark & 0xffff | 0x10000; }"
    ),
    "verdict maps that are filled later": (
        "chain dispatch { type filter hook forward priority 0; "
        "ct original $header saddr vmap @pods; }"
    ),
    "sets of concatenated ranges": (
        "chain within { type filter hook forward priority 0; "
        "meta l4proto 6 $header saddr . meta l4proto . th dport @ranges accept; }"
    ),
    "reject": (
        "chain refused { type filter hook forward priority 0; "
        "meta l4proto 6 reject with tcp reset; reject with $icmp admin-prohibited; }"
    ),
}
"""By what a person calls it: a part of a table that has it."""


def check_kernel(needed: Mapping[str, str] = NEEDED) -> None:
    """Raise MissingError, one sentence, unless the kernel takes each of ``needed``.

    Nothing is sent where our table is there already, which proves as much.
    """
    if _is_enforced() or not _refusal(*needed.values()):
        return
    refusals = {name: said for name, body in needed.items() if (said := _refusal(body))}
    lacks = ", and ".join(f"{name}: {said}" for name, said in refusals.items())
    raise MissingError(
        f"Linux {os.uname().release} cannot hold our rules, it lacks {lacks or 'some part of them'}"
        f" (Linux {OLDEST_TRIED} is the oldest that is known to work, {NEWEST_REFUSED} does not)"
    )


def _is_enforced() -> bool:
    tables = run_nft(["list", "tables"]).stdout.splitlines()
    return any(f"table {id_}" in tables for id_ in JUDGES.values())


def _refusal(*bodies: str) -> str:
    """Return what is said against tables of these parts; empty where they were made."""
    parts = "\n".join(bodies)
    try:
        for family in _FAMILIES:
            NftKernel().apply(_sets(family, parts))
        result = run_nft(["-f", "-"], "".join(_table(family, parts) for family in _FAMILIES))
    except KernelError as error:
        return str(error)
    finally:
        for family in _FAMILIES:
            run_nft(["delete", "table", family.value, _NAME])
    if result.returncode == 0:
        return ""
    said = next((line for line in result.stderr.splitlines() if "Error:" in line), "refused")
    return said.partition("Error: ")[2] or said


def _sets(family: TableFamily, parts: str) -> Transaction:
    """Return what makes a table anew, with the sets that its parts ask: as ours are made."""
    id_, address = TableId(family, _NAME), _ADDRESSES[family]
    key = (address, FieldType.PROTOCOL, FieldType.PORT)
    sets = (VerdictMap("pods", (address,), room=1024), Set("ranges", key, interval=True))
    asked = (AddSet(id_, item) for item in sets if f"@{item.name}" in parts)
    return Transaction((MakeDormant(id_), DeleteTable(id_), MakeDormant(id_), *asked), "probe")


def _table(family: TableFamily, parts: str) -> str:
    found = Template(parts).substitute(_FAMILIES[family])
    return f"table {family.value} {_NAME} {{\nflags dormant\n{found}\n}}\n"
