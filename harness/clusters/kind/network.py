"""The smallest pod network that works: ptp or bridge on each node, routes between the nodes.

The reference plugins do it (https://www.cni.dev/plugins/current/), with addresses by host-local out
of the node's own pod range. None of them enforces anything, and each wiring is one that people
have: routed veth pairs as with Calico, or a Linux bridge as with flannel.
"""

from __future__ import annotations

import enum
import ipaddress
import json
from collections.abc import Iterator, Sequence
from typing import Any

from harness.clusters.base import NodeInfo

FILE = "05-npd.conflist"
"""Sorts before what others write there, the study's ``10-kuberouter.conf`` among them: the runtime
takes the first."""

FOLDER = "/etc/cni/net.d"
BRIDGE = "npd0"

_WAY_BACK = "-m conntrack --ctstate DNAT -m comment --comment npd-wiring -j MASQUERADE"
"""Of the nodes' nat tables. By iptables: a node's nft may be older than an enforcer's tables, and
an old one cannot read those."""


class PodWiring(enum.Enum):
    """How pods are connected on their node."""

    ROUTED = "ptp"
    BRIDGED = "bridge"


def conflist(node: NodeInfo, wiring: PodWiring) -> dict[str, Any]:
    """Return a node's network configuration."""
    addresses = {
        "type": "host-local",
        "dataDir": "/run/npd-cni",
        "routes": [{"dst": _everywhere(cidr)} for cidr in node.pod_cidrs],
        "ranges": [[{"subnet": cidr}] for cidr in node.pod_cidrs],
    }
    bridge = {"bridge": BRIDGE, "isGateway": True, "hairpinMode": True}
    main = {
        "type": wiring.value,
        "ipam": addresses,
        **(bridge if wiring is PodWiring.BRIDGED else {}),
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "npd", "plugins": [main, portmap]}


def commands(
    node: NodeInfo, nodes: Sequence[NodeInfo], wiring: PodWiring, *, bridge_netfilter: bool = False
) -> str:
    """Return the shell commands that lay a node's part of the network. Idempotent."""
    return "\n".join(
        (
            routes(node, nodes),
            *_bridges(node, wiring, bridge_netfilter=bridge_netfilter),
            f"mkdir -p {FOLDER}",
            f"cat > {FOLDER}/.npd <<'END'",
            json.dumps(conflist(node, wiring), indent=1),
            "END",
            f"mv {FOLDER}/.npd {FOLDER}/{FILE}",
        )
    )


def routes(node: NodeInfo, nodes: Sequence[NodeInfo]) -> str:
    """Return the shell commands that lead a node to the pods of all others. Idempotent."""
    ways = (
        f"ip route replace {cidr} via {_of_family(other, cidr)}"
        for other in nodes
        if other.name != node.name
        for cidr in other.pod_cidrs
    )
    return "\n".join(("set -e", *ways))


def _bridges(node: NodeInfo, wiring: PodWiring, *, bridge_netfilter: bool) -> Iterator[str]:
    """Yield what bridged nodes need: whether netfilter sees frames, and if not, a way back.

    Where it does not, replies between two pods of a bridge would go past the translation of a
    Service's address, and such connections could never work, with whatever enforcer. So they are
    masqueraded, after any enforcer has seen them, as on the embedded cluster.
    """
    masquerading = wiring is PodWiring.BRIDGED and not bridge_netfilter
    for cidr in node.pod_cidrs:
        program = "ip6tables" if ":" in cidr else "iptables"
        rule = f"POSTROUTING -s {cidr} -d {cidr} {_WAY_BACK}"
        if masquerading:
            yield f"{program} -w -t nat -C {rule} 2>/dev/null || {program} -w -t nat -A {rule}"
        else:
            yield f"while {program} -w -t nat -D {rule} 2>/dev/null; do :; done"
    if wiring is PodWiring.BRIDGED:
        for tables in ("iptables", "ip6tables"):
            yield f"sysctl -qw net.bridge.bridge-nf-call-{tables}={int(bridge_netfilter)}"


def _everywhere(cidr: str) -> str:
    return "::/0" if ":" in cidr else "0.0.0.0/0"


def _of_family(node: NodeInfo, cidr: str) -> str:
    version = ipaddress.ip_network(cidr).version
    return next(a for a in node.addresses if ipaddress.ip_address(a).version == version)
