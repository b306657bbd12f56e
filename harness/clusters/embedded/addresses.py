"""Who gets which address: pure arithmetic, the same on every machine.

Hardware addresses follow from IP addresses, so that every neighbour entry can be written down
before there is anybody to ask: the kernel's neighbour table is one for all namespaces and drops
entries from 1,024 on, unless they are permanent.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

FABRIC_NETWORK = IPv4Network("172.20.0.0/16")
OUTSIDE_ADDRESS = FABRIC_NETWORK[1]
"""The outside host: every node's default gateway, with the public ranges behind it."""
CONTROL_PLANE_ADDRESS = FABRIC_NETWORK[2]
API_PORT = 6443
SERVICE_NETWORK = IPv4Network("10.96.0.0/16")
POD_NETWORK = IPv4Network("10.128.0.0/9")
"""The cluster CIDR: every node's pod network lies in it."""
PUBLIC_NETWORKS = (
    IPv4Network("14.215.0.0/16"),
    IPv4Network("14.216.0.0/16"),
    IPv4Network("8.8.8.0/24"),
    IPv4Network("198.51.100.0/24"),
    IPv4Network("203.0.113.0/24"),
)
"""What the outside host owns: inside and outside of the study's CIDR, and other public ranges."""
POD_GATEWAY = IPv4Address("169.254.1.1")
"""The next hop of routed pods, an address that no interface holds (as Calico does it)."""
BRIDGE_PORTS = 1023
"""Ports that a Linux bridge holds (BR_MAX_PORTS in net/bridge/br_private.h)."""

_FIRST_NODE = 257
_SPARE_ADDRESSES = 24
_WIDEST_POD_PREFIX = 24


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node's name, its address on the fabric, and where its pods' addresses come from."""

    name: str
    address: IPv4Address
    pod_network: IPv4Network
    pod_pool: int
    """How many of the network's addresses are handed out to pods."""

    @property
    def bridge_address(self) -> IPv4Address:
        """The first address of the pod network: the pod bridge's on bridged nodes."""
        return self.pod_network[1]

    @property
    def pod_addresses(self) -> tuple[IPv4Address, ...]:
        """Every address that a pod of this node may get."""
        return tuple(self.pod_network[number] for number in range(2, 2 + self.pod_pool))

    @property
    def bridged_networks(self) -> tuple[IPv4Network, ...]:
        """The blocks of the pod bridge's address and the pods', as few as can be.

        Nothing else of the pod network is on the link, so that nobody asks for the addresses that
        no pod can ever have: the question alone would take room in the neighbour table.
        """
        inhabited = (self.bridge_address, *self.pod_addresses)
        return tuple(collapse_addresses(map(IPv4Network, inhabited)))


def plan_nodes(count: int, pods_per_node: int) -> tuple[NodePlan, ...]:
    """Return the plan of ``count`` nodes with room for ``pods_per_node`` pods each.

    A pod network is a /24, or wider where that is too small; its pool has a few addresses more
    than pods, so that the address of a deleted pod is not used again at once.
    """
    pool = pods_per_node + _SPARE_ADDRESSES
    prefix = _WIDEST_POD_PREFIX
    while 2 ** (32 - prefix) < pods_per_node + 4:
        prefix -= 1
    pool = min(pool, 2 ** (32 - prefix) - 3)
    width = len(str(count))
    size = 2 ** (32 - prefix)
    return tuple(
        NodePlan(
            name=f"node-{number:0{width}d}",
            address=FABRIC_NETWORK[_FIRST_NODE + number - 1],
            pod_network=IPv4Network((int(POD_NETWORK[0]) + number * size, prefix)),
            pod_pool=pool,
        )
        for number in range(1, count + 1)
    )


def hardware_address(address: IPv4Address) -> bytes:
    """Return the hardware address of the interface that holds ``address``."""
    return b"\x0a\x58" + address.packed


def interface_name(pod: str) -> str:
    """Return the node's end of a pod's veth pair: ``veth`` and 8 digits, as the bridge CNI."""
    return f"veth{_digest(pod)}"


def namespace_of_pod(namespace: str, name: str) -> str:
    """Return the name of a pod's network namespace; the underscore keeps it unambiguous."""
    whole = f"pod_{namespace}_{name}"
    return whole if len(whole) < _NAME_MAX else f"{whole[: _NAME_MAX - 10]}_{_digest(whole)}"


def namespace_of_node(name: str) -> str:
    """Return the name of a node's network namespace."""
    return f"node_{name}"


OUTSIDE_NAMESPACE = "outside"
FABRIC_NAMESPACE = "fabric"
_NAME_MAX = 200


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
