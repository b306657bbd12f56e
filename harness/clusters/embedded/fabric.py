"""The switch between the nodes, the nodes and the outside host: links, routes, neighbours.

::

    outside  14.215.0.0/16 ...             node-1            node-2
       |     172.20.0.1                      |eth0             |eth0
    ===+==================== fabric =========+=================+====   (a Linux bridge)
                             172.20.0.2: the API server

Everything is done by one thread that walks from namespace to namespace. No interface here leads
to the host, and no route to anywhere else: packets to an address that nobody owns end at the
outside host, which answers that it is unreachable. So do a node's own routes for fabric addresses
that nobody owns: it never asks who has one, which would fill the machine's neighbour table.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from harness.clusters.embedded import rtnetlink, sysctls
from harness.clusters.embedded.addresses import (
    CONTROL_PLANE_ADDRESS,
    FABRIC_NAMESPACE,
    FABRIC_NETWORK,
    FABRIC_NETWORK6,
    OUTSIDE_ADDRESS,
    OUTSIDE_ADDRESS6,
    OUTSIDE_NAMESPACE,
    Address,
    Host,
    Network,
    NodePlan,
    collapsed,
    control_plane_host,
    namespace_of_node,
    outside_host,
)
from harness.clusters.embedded.namespaces import (
    NETNS_DIR,
    enter_network,
    new_network,
    pin_network,
)
from harness.clusters.embedded.rtnetlink import LOOPBACK, End, Message, Routes
from harness.clusters.embedded.settings import Cni, Proxy, Shape
from harness.clusters.public import PUBLIC_NETWORKS, PUBLIC_NETWORKS6

POD_BRIDGE = "kube-bridge"
"""The pod bridge of bridged nodes, named as in the study's CNI configuration."""
ETH0_INDEX = 2
_FABRIC_INDEX = 2
_FIRST_PORT = 10
_POD_BRIDGE_INDEX = 3
_EVERYWHERE = IPv4Network("0.0.0.0/0")
_EVERYWHERE6 = IPv6Network("::/0")


def build(shape: Shape, progress: Callable[[int], None] = lambda _: None) -> None:
    """Build fabric, outside and every node. The calling thread's namespace becomes the fabric."""
    nodes = shape.plan()
    _build_switch(shape)
    ports = enumerate([OUTSIDE_NAMESPACE, *(namespace_of_node(node.name) for node in nodes)])
    inhabitants = [_Inhabitant(OUTSIDE_ADDRESS, outside_host(shape.ip_family))]
    inhabitants += [_Inhabitant(node.management, node.host) for node in nodes]
    for (number, name), one in zip(ports, inhabitants, strict=True):
        in_thread(lambda name=name: new_network(name))  # type: ignore[misc]
        _plug_in(name, one, _FIRST_PORT + number)
        progress(number)
    # What listens here, the API server, answers pods, too.
    _run(_routes_to_pods(nodes, _FABRIC_INDEX))
    control = _Inhabitant(CONTROL_PLANE_ADDRESS, control_plane_host(shape.ip_family))
    everybody = [control, *inhabitants]
    in_thread(lambda: _build_outside(shape, everybody))
    for node in nodes:
        in_thread(lambda node=node: _build_node(shape, node, everybody))  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class _Inhabitant:
    """Somebody on the fabric: the cluster's addresses, and the IPv4 one that everybody has."""

    management: IPv4Address
    host: Host

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Every address."""
        return tuple(dict.fromkeys((self.management, *self.host.addresses)))

    def neighbours(self, index: int) -> list[Message]:
        """Return its neighbour entries on an interface of somebody else's."""
        hardware = self.host.hardware
        return [rtnetlink.neighbour(index, address, hardware) for address in self.addresses]


def _build_switch(shape: Shape) -> None:
    pin_network(FABRIC_NAMESPACE)
    sysctls.quiet(shape.ip_family)
    control = _Inhabitant(CONTROL_PLANE_ADDRESS, control_plane_host(shape.ip_family))
    _run(
        [
            rtnetlink.set_up(LOOPBACK),
            rtnetlink.bridge("fabric", control.host.hardware, _FABRIC_INDEX),
            *(
                rtnetlink.address(_FABRIC_INDEX, address, _fabric_of(address).prefixlen)
                for address in control.addresses
            ),
        ]
    )
    sysctls.bridge_netfilter(on=False)


def _plug_in(name: str, one: _Inhabitant, port: int) -> None:
    """Connect a namespace to the switch."""
    descriptor = os.open(NETNS_DIR / name, os.O_RDONLY)
    hardware = one.host.hardware
    near = End(f"port{port}", b"\x0e" + hardware[1:], port)
    far = End("eth0", hardware, ETH0_INDEX, descriptor)
    try:
        _run(
            [
                rtnetlink.veth(near, far),
                rtnetlink.set_master(port, _FABRIC_INDEX),
                rtnetlink.set_alias(port, name),
                rtnetlink.forwarding_entry(port, hardware),
                *one.neighbours(_FABRIC_INDEX),
            ]
        )
    finally:
        os.close(descriptor)


def _build_outside(shape: Shape, everybody: Sequence[_Inhabitant]) -> None:
    enter_network(OUTSIDE_NAMESPACE)
    sysctls.quiet(shape.ip_family)
    sysctls.forwarding(shape.ip_family)
    sysctls.every_rejection()
    sysctls.any_source(shape.ip_family)
    own = everybody[1]
    nodes = shape.plan()
    messages = [*_on_the_fabric(own, everybody)]
    messages += [rtnetlink.unreachable(_EVERYWHERE), *_routes_to_pods(nodes, ETH0_INDEX)]
    messages += [rtnetlink.any_local(network) for network in PUBLIC_NETWORKS]
    if _has_ipv6(shape):
        messages += [rtnetlink.unreachable(_EVERYWHERE6)]
        messages += [rtnetlink.any_local(network) for network in PUBLIC_NETWORKS6]
    _run(messages)


def _build_node(shape: Shape, node: NodePlan, everybody: Sequence[_Inhabitant]) -> None:
    enter_network(namespace_of_node(node.name))
    sysctls.quiet(shape.ip_family)
    sysctls.forwarding(shape.ip_family)
    sysctls.every_rejection()
    sysctls.time_wait(shape.time_wait)
    if shape.proxy is Proxy.NFTABLES:
        sysctls.loopback_node_ports()
    own = _Inhabitant(node.management, node.host)
    others = [other for other in shape.plan() if other != node]
    messages = [
        *_on_the_fabric(own, everybody),
        rtnetlink.route(_EVERYWHERE, ETH0_INDEX, OUTSIDE_ADDRESS),
        *_routes_to_pods(others, ETH0_INDEX),
    ]
    if _has_ipv6(shape):
        messages.append(rtnetlink.route(_EVERYWHERE6, ETH0_INDEX, OUTSIDE_ADDRESS6))
    match shape.cni:
        case Cni.ROUTED:
            messages += [rtnetlink.unreachable(network) for network in node.pod_networks]
        case Cni.BRIDGED:
            messages += _pod_bridges(node)
            sysctls.bridge_netfilter(on=shape.bridge_netfilter)
            if shape.mixed_netfilter:
                every_other = range(0, len(node.segments), 2)
                messages += [
                    rtnetlink.set_bridge_netfilter(pod_bridge_index(number))
                    for number in every_other
                ]
    _run(messages)


def _on_the_fabric(own: _Inhabitant, everybody: Sequence[_Inhabitant]) -> list[Message]:
    """Give a namespace its addresses on the fabric, and the ways to everybody else's."""
    messages = [rtnetlink.set_up(LOOPBACK), rtnetlink.set_up(ETH0_INDEX)]
    for address in own.addresses:
        messages.append(rtnetlink.address(ETH0_INDEX, address, address.max_prefixlen))
        messages.append(rtnetlink.unreachable(_fabric_of(address)))
    theirs = [address for one in everybody for address in one.addresses]
    messages += [rtnetlink.route(block, ETH0_INDEX) for block in collapsed(theirs)]
    for one in everybody:
        if one != own:
            messages += one.neighbours(ETH0_INDEX)
    return messages


def _routes_to_pods(nodes: Sequence[NodePlan], index: int) -> list[Message]:
    return [
        rtnetlink.route(network, index, address)
        for node in nodes
        for network, address in zip(node.pod_networks, node.host.addresses, strict=True)
    ]


def pod_bridge_name(number: int) -> str:
    """Return the name of a node's pod bridge: the first one's is the study's."""
    return f"{POD_BRIDGE}{number}" if number else POD_BRIDGE


def pod_bridge_index(number: int) -> int:
    """Return the interface index of a node's pod bridge."""
    return _POD_BRIDGE_INDEX + number


def _pod_bridges(node: NodePlan) -> list[Message]:
    messages = [rtnetlink.unreachable(network) for network in node.pod_networks]
    for number, segment in enumerate(node.segments):
        gateway, index = segment.gateway, pod_bridge_index(number)
        messages.append(rtnetlink.bridge(pod_bridge_name(number), gateway.hardware, index))
        messages += [
            rtnetlink.address(index, address, network.prefixlen, on_link=False)
            for address, network in zip(gateway.addresses, segment.networks, strict=True)
        ]
        messages += [rtnetlink.route(block, index) for block in segment.blocks()]
        messages += [
            rtnetlink.neighbour(index, address, host.hardware)
            for host in segment.pods
            for address in host.addresses
        ]
    return messages


def _has_ipv6(shape: Shape) -> bool:
    return 6 in shape.ip_family.versions  # noqa: PLR2004  # the version itself


def _fabric_of(address: Address) -> Network:
    return FABRIC_NETWORK6 if isinstance(address, IPv6Address) else FABRIC_NETWORK


def _run(messages: Sequence[Message]) -> None:
    routes = Routes()
    try:
        routes.run(messages)
    finally:
        routes.close()


def in_thread(step: Callable[[], None]) -> None:
    """Run a step in a thread of its own, which may enter another namespace and stay there."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            step()
        except BaseException as error:  # noqa: BLE001  # carried to the caller, whatever it is
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
