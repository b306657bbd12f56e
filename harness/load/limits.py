"""The client's own limits, and conntrack's: taken out of the way, the same in every arm.

A generator that runs out of ports, or a conntrack table that fills, would be measured in the
enforcer's place. What is set here is recorded with the run. Source:
https://docs.kernel.org/networking/ip-sysctl.html and
https://docs.kernel.org/networking/nf_conntrack-sysctl.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.clusters.base import Cluster, NodeRef, Place
from harness.errors import ClusterError

CLIENT_SYSCTLS: Mapping[str, str] = {
    # 64,511 ports instead of 28,232: one address talks to one Service address and port.
    "net.ipv4.ip_local_port_range": "1024 65535",
    # A port in TIME_WAIT may be used again for a new connection after one second.
    "net.ipv4.tcp_tw_reuse": "1",
}
"""Set where the load comes from."""

NODE_SYSCTLS: Mapping[str, str] = {
    # 10,000 new connections a second would fill 262,144 entries in 26 s at the default 120 s.
    "net.netfilter.nf_conntrack_tcp_timeout_time_wait": "3",
}
"""Set on every node."""

_NOT_OURS = "kubeconfig"

NEARLY_FULL = 0.9
"""A conntrack table, or a client's range of ports, this full voids a block."""


@dataclass(frozen=True, slots=True)
class Conntrack:
    """How full one node's conntrack table is: entries now, and the most that it may hold."""

    node: str
    entries: int
    most: int

    @property
    def nearly_full(self) -> bool:
        """Whether new connections may have been refused."""
        return self.entries > NEARLY_FULL * self.most


@dataclass(frozen=True, slots=True)
class Ports:
    """How many of a client's ports are taken, connections in TIME_WAIT included."""

    client: str
    taken: int
    most: int

    @property
    def nearly_full(self) -> bool:
        """Whether a connection may have had to wait for a port."""
        return self.taken > NEARLY_FULL * self.most


def widen(cluster: Cluster, clients: Sequence[Place]) -> dict[str, dict[str, str]]:
    """Set the sysctls of the clients and of all nodes; return what is set where.

    Nodes of a cluster that is not ours are left as they are: a table that fills voids blocks.
    """
    done = {str(client): _set_all(cluster, client, CLIENT_SYSCTLS) for client in clients}
    for node in () if cluster.kind == _NOT_OURS else cluster.nodes():
        place = NodeRef(node.name)
        done[str(place)] = _set_all(cluster, place, NODE_SYSCTLS)
    return done


def conntrack(cluster: Cluster, node: str) -> Conntrack:
    """Read how full a node's conntrack table is."""
    base = "/proc/sys/net/netfilter/nf_conntrack"
    done = cluster.exec(NodeRef(node), ("cat", f"{base}_count", f"{base}_max"))
    if done.returncode:
        return Conntrack(node, 0, 1)  # the node has no conntrack: it cannot be full
    entries, most = done.stdout.split()
    return Conntrack(node, int(entries), int(most))


def ports(cluster: Cluster, client: Place) -> Ports:
    """Read how many of a client's ports are taken."""
    done = cluster.exec(client, ("cat", "/proc/net/sockstat"))
    counts = dict(re.findall(r"(inuse|tw) (\d+)", _line(done.stdout, "TCP:")))
    first, last = CLIENT_SYSCTLS["net.ipv4.ip_local_port_range"].split()
    taken = sum(int(count) for count in counts.values())
    return Ports(str(client), taken, int(last) - int(first) + 1)


def forwarded(cluster: Cluster, node: str) -> int:
    """Read how many IPv4 packets a node has forwarded (ipForwDatagrams of RFC 4293)."""
    done = cluster.exec(NodeRef(node), ("cat", "/proc/net/snmp"))
    names, values = (line.split() for line in done.stdout.splitlines() if line.startswith("Ip:"))
    return int(dict(zip(names, values, strict=True))["ForwDatagrams"])


def _line(text: str, label: str) -> str:
    return next((line for line in text.splitlines() if line.startswith(label)), "")


def _set_all(cluster: Cluster, place: Place, sysctls: Mapping[str, str]) -> dict[str, str]:
    for name, value in sysctls.items():
        done = cluster.exec(place, ("sysctl", "-q", "-w", f"{name}={value}"))
        if done.returncode:
            message = f"{place}: cannot set {name}={value}: {done.stderr.strip()}"
            raise ClusterError(message)
    return dict(sysctls)
