"""Short ways to write compiled policies for the lab's node."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from enforcer.model.net import Direction, PortRange, Protocol
from enforcer.model.objects import Key
from enforcer.policy.compiled import Allowed, CompiledPolicy, LocalPod, PolicyClass
from tests.kernel.netlab import Pod

TCP, UDP, SCTP = Protocol.TCP, Protocol.UDP, Protocol.SCTP
NOTHING = Allowed()
NODE_ADDRESSES = frozenset(map(ipaddress.ip_address, ("192.168.7.1", "192.168.7.2", "fd00:7::1")))


def policy_class(direction: Direction, allowed: Allowed, name: str = "np") -> PolicyClass:
    """Return a class of one policy ``ns/name``."""
    return PolicyClass(direction, (Key("ns", name),), allowed)


def ingress(allowed: Allowed = NOTHING, name: str = "np") -> PolicyClass:
    """Return an ingress class."""
    return policy_class(Direction.INGRESS, allowed, name)


def egress(allowed: Allowed = NOTHING, name: str = "np") -> PolicyClass:
    """Return an egress class."""
    return policy_class(Direction.EGRESS, allowed, name)


def peers(*pods: Pod | str) -> Allowed:
    """Allow these pods or addresses, everything."""
    return Allowed(peers=frozenset(_addresses(pods)))


def peer_ports(pods: Iterable[Pod | str], *ports: tuple[Protocol, int]) -> Allowed:
    """Allow these pods or addresses on these ports."""
    found = _addresses(pods)
    return Allowed(peer_ports=frozenset((item, *port) for item in found for port in ports))


def network_port(network: str, protocol: Protocol, first: int, last: int = 0) -> Allowed:
    """Allow a network on a port or a range of ports."""
    ports = PortRange(protocol, first, last or first)
    return Allowed(network_ports=frozenset({(ipaddress.ip_network(network), ports)}))


def compiled(
    pods: Iterable[Pod], classes: Mapping[int, Iterable[PolicyClass]] | None = None
) -> CompiledPolicy:
    """Return what the node is to enforce: ``classes`` by pod number."""
    classes = classes or {}
    return CompiledPolicy(
        "node",
        tuple(_local(pod, classes.get(pod.number, ())) for pod in pods),
        (ipaddress.ip_network("10.2.0.0/24"), ipaddress.ip_network("fd00:2::/64")),
        NODE_ADDRESSES,
    )


def _local(pod: Pod, classes: Iterable[PolicyClass]) -> LocalPod:
    by_direction = {item.direction: item for item in classes}
    return LocalPod(
        Key("ns", pod.name),
        (ipaddress.ip_address(pod.ip4), ipaddress.ip_address(pod.ip6)),
        by_direction.get(Direction.INGRESS),
        by_direction.get(Direction.EGRESS),
    )


def _addresses(
    pods: Iterable[Pod | str],
) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    texts = [
        text for pod in pods for text in ((pod.ip4, pod.ip6) if isinstance(pod, Pod) else (pod,))
    ]
    return [ipaddress.ip_address(text) for text in texts]
