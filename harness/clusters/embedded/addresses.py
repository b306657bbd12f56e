"""Who gets which address: pure arithmetic, the same on every machine.

Hardware addresses follow from IPv4 addresses, so that every neighbour entry can be written down
before there is anybody to ask: the kernel's neighbour table is one for all namespaces and drops
entries from 1,024 on, unless they are permanent. Whoever has IPv6 has the same place in a network
of that family: 10.128.1.7 goes with fd00:10:128:1::7.

The nodes have an IPv4 address on the fabric whatever the cluster's family is, for the API server
alone: in a cluster of ``--ip-family ipv6`` neither a pod nor a Node object has one.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class IpFamily(enum.Enum):
    """Which addresses pods, Services and nodes have; of a dual cluster, IPv4 is the primary one."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    DUAL = "dual"

    @property
    def versions(self) -> tuple[int, ...]:
        """The IP versions, the primary one first."""
        match self:
            case IpFamily.IPV4:
                return (4,)
            case IpFamily.IPV6:
                return (6,)
            case IpFamily.DUAL:
                return (4, 6)

    def of(self, network4: IPv4Network, network6: IPv6Network) -> tuple[Network, ...]:
        """Return what of two networks this family has, the primary one first."""
        return tuple(network4 if version == 4 else network6 for version in self.versions)  # noqa: PLR2004


FABRIC_NETWORK = IPv4Network("172.20.0.0/16")
FABRIC_NETWORK6 = IPv6Network("fd00:172:20::/64")
OUTSIDE_ADDRESS = FABRIC_NETWORK[1]
"""The outside host: every node's default gateway, with the public ranges behind it."""
OUTSIDE_ADDRESS6 = FABRIC_NETWORK6[1]
CONTROL_PLANE_ADDRESS = FABRIC_NETWORK[2]
CONTROL_PLANE_ADDRESS6 = FABRIC_NETWORK6[2]
API_PORT = 6443
SERVICE_NETWORK = IPv4Network("10.96.0.0/16")
SERVICE_NETWORK6 = IPv6Network("fd00:10:96::/112")
POD_NETWORK = IPv4Network("10.128.0.0/9")
"""The cluster CIDR: every node's pod network lies in it."""
POD_NETWORK6 = IPv6Network("fd00:10:128::/48")
POD_GATEWAY = IPv4Address("169.254.1.1")
"""The next hop of routed pods, an address that no interface holds (as Calico does it)."""

_FIRST_NODE = 257
_SPARE_ADDRESSES = 24
_WIDEST_POD_PREFIX = 24
_NODE_PREFIX6 = 64


@dataclass(frozen=True, slots=True)
class Host:
    """Somebody on a link: IP addresses, the primary one first, and the hardware address."""

    addresses: tuple[Address, ...]
    hardware: bytes

    @property
    def address(self) -> Address:
        """The primary address."""
        return self.addresses[0]


@dataclass(frozen=True, slots=True)
class Segment:
    """The part of a node's pod networks that lies on one link: a bridge's, or all of a routed one.

    The first address of each network is the bridge's own; ``pool`` of the next are for pods.
    """

    family: IpFamily
    network4: IPv4Network
    network6: IPv6Network
    pool: int

    @property
    def networks(self) -> tuple[Network, ...]:
        """Its networks, the primary one first."""
        return self.family.of(self.network4, self.network6)

    @property
    def gateway(self) -> Host:
        """The bridge itself."""
        return self._host(1)

    @property
    def pods(self) -> Iterator[Host]:
        """Everybody that a pod here may be."""
        return map(self._host, range(2, 2 + self.pool))

    def blocks(self) -> tuple[Network, ...]:
        """Return the blocks of the bridge's addresses and the pods', as few as can be.

        Nothing else of the networks is on the link, so that nobody asks for the addresses that
        no pod can ever have: the question alone would take room in the neighbour table.
        """
        inhabited = [one for host in (self.gateway, *self.pods) for one in host.addresses]
        return collapsed(inhabited)

    def _host(self, number: int) -> Host:
        addresses = tuple(network[number] for network in self.networks)
        return Host(addresses, hardware_address(self.network4[number]))


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node: its place on the fabric, and where its pods' addresses come from."""

    name: str
    host: Host
    management: IPv4Address
    """Its IPv4 address on the fabric, also where the cluster has no IPv4."""
    pod_networks: tuple[Network, ...]
    segments: tuple[Segment, ...]

    @property
    def address(self) -> Address:
        """Its primary address."""
        return self.host.address

    @property
    def pod_network(self) -> Network:
        """Its primary pod network."""
        return self.pod_networks[0]


def collapsed(addresses: Sequence[Address]) -> tuple[Network, ...]:
    """Return the blocks that hold these addresses and no others, as few as can be."""
    four = [IPv4Network(one) for one in addresses if isinstance(one, IPv4Address)]
    six = [IPv6Network(one) for one in addresses if isinstance(one, IPv6Address)]
    return (*collapse_addresses(four), *collapse_addresses(six))


def fabric_host(number: int, family: IpFamily) -> Host:
    """Return who has this number on the fabric; the hardware address is the same in any family."""
    networks = family.of(FABRIC_NETWORK, FABRIC_NETWORK6)
    addresses = tuple(network[number] for network in networks)
    return Host(addresses, hardware_address(FABRIC_NETWORK[number]))


def outside_host(family: IpFamily) -> Host:
    """Return the outside host, as nodes see it."""
    return fabric_host(1, family)


def control_plane_host(family: IpFamily) -> Host:
    """Return where the API server is."""
    return fabric_host(2, family)


def plan_nodes(
    count: int, pods_per_node: int, family: IpFamily = IpFamily.IPV4, segments: int = 1
) -> tuple[NodePlan, ...]:
    """Return the plan of ``count`` nodes with room for ``pods_per_node`` pods each.

    A pod network is a /24, or wider where that is too small (and a /64). Each of its ``segments``
    has a pool with a few addresses more than its share of the pods, so that the address of a
    deleted pod is not used again at once.
    """
    parts = (segments - 1).bit_length()
    share = -(-pods_per_node // segments)
    prefix = _WIDEST_POD_PREFIX
    while 2 ** (32 - prefix - parts) < share + 4:
        prefix -= 1
    pool = min(share + _SPARE_ADDRESSES, 2 ** (32 - prefix - parts) - 3)
    width = len(str(count))
    return tuple(
        _plan_node(
            f"node-{number:0{width}d}", number, prefix, _Parts(family, parts, segments, pool)
        )
        for number in range(1, count + 1)
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """How a node's pod networks are divided: ``segments`` out of 2 to the power of ``bits``."""

    family: IpFamily
    bits: int
    segments: int
    pool: int


def _plan_node(name: str, number: int, prefix: int, parts: _Parts) -> NodePlan:
    network4 = IPv4Network((int(POD_NETWORK[0]) + number * 2 ** (32 - prefix), prefix))
    first6 = int(POD_NETWORK6[0]) + number * 2 ** (128 - _NODE_PREFIX6)
    network6 = IPv6Network((first6, _NODE_PREFIX6))
    subnets = zip(network4.subnets(parts.bits), network6.subnets(parts.bits), strict=True)
    segments = [Segment(parts.family, four, six, parts.pool) for four, six in subnets]
    place = _FIRST_NODE + number - 1
    return NodePlan(
        name=name,
        host=fabric_host(place, parts.family),
        management=FABRIC_NETWORK[place],
        pod_networks=parts.family.of(network4, network6),
        segments=tuple(segments[: parts.segments]),
    )


def hardware_address(address: IPv4Address) -> bytes:
    """Return the hardware address of the interface that holds ``address``."""
    return b"\x0a\x58" + address.packed


def link_local(hardware: bytes) -> IPv6Address:
    """Return the address that the kernel gives an interface itself (RFC 4291, appendix A)."""
    flipped = bytes([hardware[0] ^ 2]) + hardware[1:]
    return IPv6Address(b"\xfe\x80" + bytes(6) + flipped[:3] + b"\xff\xfe" + flipped[3:])


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
