"""The short cut for established connections: whether the kernel has one, who takes it.

A flowtable (nft(8), FLOWTABLES) takes the packets of a connection that was judged from interface
to interface, past every chain. It holds only what carries the current epoch: a tightened policy
takes a new epoch and a new, empty flowtable in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from enforcer.errors import MissingError
from enforcer.nft.kernel import run_nft
from enforcer.wiring import FastPath

PROBE = "".join(
    f"""
table {family} npd_probe {{
	flowtable probe {{
		hook ingress priority 0
		devices = {{ lo }}
	}}
	chain forward {{
		type filter hook forward priority 0
		flow add @probe
	}}
}}
"""
    for family in ("ip", "ip6")
)


@cache
def is_supported() -> bool:
    """Whether the kernel would take a flowtable and a rule that fills it. Nothing is changed."""
    return run_nft(["--check", "-f", "-"], PROBE).returncode == 0


def check(choice: FastPath) -> None:
    """Raise MissingError where a fast path is asked for that this kernel does not have."""
    if choice is FastPath.ON and not is_supported():
        raise MissingError(
            "--fast-path=on: this kernel has no flowtables (CONFIG_NF_FLOW_TABLE, "
            "CONFIG_NFT_FLOW_OFFLOAD); --fast-path=auto goes without"
        )


def interfaces(
    links: Iterable[Mapping[str, Any]], routes: Iterable[Mapping[str, Any]], pods: frozenset[str]
) -> frozenset[str]:
    """Return the interfaces of the short cut: those that lead to pods, and those that lead away.

    None on a node with a pod bridge: what passes between its ports never enters by an interface of
    the node, so that half of a connection would go one way and half the other.
    """
    usable = {
        link["ifname"]
        for link in links
        if "UP" in link.get("flags", ())
        and "LOOPBACK" not in link.get("flags", ())
        and link.get("linkinfo", {}).get("info_kind") != "bridge"
    }
    if not pods or not pods <= usable:
        return frozenset()
    away = {
        route["dev"]
        for route in routes
        if "dev" in route and route.get("type", "unicast") == "unicast"
    }
    return frozenset(usable & (away | pods))


def mtus(links: Iterable[Mapping[str, Any]], names: frozenset[str]) -> dict[str, int]:
    """Return how long a packet may be on each of the interfaces, in bytes."""
    return {link["ifname"]: link["mtu"] for link in links if link["ifname"] in names}
