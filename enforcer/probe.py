"""Whether this kernel takes what our rules are made of: asked once, before the first of them.

A throw-away table is made and deleted. It is dormant: no packet meets it. Where it is refused, its
parts are tried one by one, so that a person reads what is missing and not what netlink said of
some rule. ``nft --check`` is not enough: the kernel looks at an expression's hook (which is what
5.10 refuses) at the end of a transaction that is to be kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from enforcer.errors import MissingError
from enforcer.nft.kernel import run_nft
from enforcer.ruleset.names import INET

OLDEST_TRIED: Final = "6.1"
"""The oldest kernel that our tests have run on."""

NEWEST_REFUSED: Final = "5.10"
"""The newest kernel that is known to lack something."""

_TABLE: Final = "inet npd_probe"
_ANEW: Final = f"add table {_TABLE}\ndelete table {_TABLE}"

NEEDED: Final[Mapping[str, str]] = {
    "fib lookups of the incoming interface (fib saddr . iif oif) in the forward hook": (
        "chain incoming { type filter hook forward priority 0; fib saddr . iif oif 0 drop; }"
    ),
    "fib lookups of an address's type (fib daddr type)": (
        "chain kinds { type filter hook forward priority 0; fib daddr type local accept; }"
    ),
    "connection tracking in nftables (ct state, ct original ip saddr)": (
        "chain tracked { type filter hook forward priority 0; ct state new accept; "
        "ct original ip saddr 10.0.0.1 accept; ct reply ip6 saddr fd00::1 accept; }"
    ),
    "conntrack marks (ct mark set)": (
        "chain marked { type filter hook forward priority 0; "
        "ct mark set ct mark & 0xffff | 0x10000; }"
    ),
    "verdict maps that are filled later": (
        "map pods { type ipv4_addr : verdict; }\n"
        "chain dispatch { type filter hook forward priority 0; ct original ip saddr vmap @pods; }"
    ),
    "sets of concatenated ranges": (
        "set ranges { type ipv4_addr . inet_proto . inet_service; flags interval; "
        "elements = { 10.0.0.0/8 . 6 . 80-90 }; }"
    ),
    "reject in table inet": (
        "chain refused { type filter hook forward priority 0; "
        "meta l4proto 6 reject with tcp reset; reject with icmpx admin-prohibited; }"
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
    return f"table {INET}" in run_nft(["list", "tables"]).stdout.splitlines()


def _refusal(*bodies: str) -> str:
    """Return what is said against a table of these parts; empty where it was made."""
    parts = "\n".join(bodies)
    made = f"{_ANEW}\ntable {_TABLE} {{\nflags dormant\n{parts}\n}}\n"
    result = run_nft(["-f", "-"], made)
    run_nft(["delete", "table", *_TABLE.split()])
    if result.returncode == 0:
        return ""
    said = next((line for line in result.stderr.splitlines() if "Error:" in line), "refused")
    return said.partition("Error: ")[2] or said
