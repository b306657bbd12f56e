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

from enforcer.errors import MissingError
from enforcer.nft.kernel import run_nft
from enforcer.ruleset.names import JUDGES

OLDEST_TRIED: Final = "6.1"
"""The oldest kernel that our tests have run on."""

NEWEST_REFUSED: Final = "5.10"
"""The newest kernel that is known to lack something."""

_NAME: Final = "npd_probe"
_FAMILIES: Final = (
    {"header": "ip", "address": "10.0.0.1", "type": "ipv4_addr", "icmp": "icmp"},
    {"header": "ip6", "address": "fd00::1", "type": "ipv6_addr", "icmp": "icmpv6"},
)
"""Of each of our tables: what stands for ``$header`` and so on in a part of it."""

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
        "map pods { type $type : verdict; size 1024; }\n"
        "chain dispatch { type filter hook forward priority 0; "
        "ct original $header saddr vmap @pods; }"
    ),
    "sets of concatenated ranges": (
        "set ranges { type $type . inet_proto . inet_service; flags interval; "
        "elements = { $address . 6 . 80-90 }; }"
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
    parts = Template("\n".join(bodies))
    made = "".join(_table(words["header"], parts.substitute(words)) for words in _FAMILIES)
    result = run_nft(["-f", "-"], made)
    for words in _FAMILIES:
        run_nft(["delete", "table", words["header"], _NAME])
    if result.returncode == 0:
        return ""
    said = next((line for line in result.stderr.splitlines() if "Error:" in line), "refused")
    return said.partition("Error: ")[2] or said


def _table(family: str, parts: str) -> str:
    name = f"{family} {_NAME}"
    anew = f"add table {name}\ndelete table {name}"
    return f"{anew}\ntable {name} {{\nflags dormant\n{parts}\n}}\n"
