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

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from harness.clusters.embedded import rtnetlink
from harness.clusters.embedded.addresses import (
    CONTROL_PLANE_ADDRESS,
    FABRIC_NAMESPACE,
    FABRIC_NETWORK,
    OUTSIDE_ADDRESS,
    OUTSIDE_NAMESPACE,
    PUBLIC_NETWORKS,
    NodePlan,
    hardware_address,
    namespace_of_node,
)
from harness.clusters.embedded.namespaces import (
    NETNS_DIR,
    enter_network,
    new_network,
    pin_network,
    sysctl,
)
from harness.clusters.embedded.rtnetlink import LOOPBACK, End, Message, Routes
from harness.clusters.embedded.settings import Cni, Shape

POD_BRIDGE = "kube-bridge"
"""The pod bridge of bridged nodes, named as in the study's CNI configuration."""
POD_BRIDGE_INDEX = 3
ETH0_INDEX = 2
_FABRIC_INDEX = 2
_FIRST_PORT = 10
_EVERYWHERE = IPv4Network("0.0.0.0/0")
_TIME_WAIT = "net/netfilter/nf_conntrack_tcp_timeout_time_wait"


def build(shape: Shape, progress: Callable[[int], None] = lambda _: None) -> None:
    """Build fabric, outside and every node. The calling thread's namespace becomes the fabric."""
    nodes = shape.plan()
    _build_switch()
    ports = enumerate([OUTSIDE_NAMESPACE, *(namespace_of_node(node.name) for node in nodes)])
    addresses = [OUTSIDE_ADDRESS, *(node.address for node in nodes)]
    for (number, name), address in zip(ports, addresses, strict=True):
        in_thread(lambda name=name: new_network(name))  # type: ignore[misc]
        _plug_in(name, address, _FIRST_PORT + number)
        progress(number)
    # What listens here, the API server, answers pods, too.
    _run([rtnetlink.route(node.pod_network, _FABRIC_INDEX, node.address) for node in nodes])
    in_thread(lambda: _build_outside(nodes))
    for node in nodes:
        in_thread(lambda node=node: _build_node(shape, node, nodes))  # type: ignore[misc]


def _build_switch() -> None:
    pin_network(FABRIC_NAMESPACE)
    _quiet()
    routes = Routes()
    routes.run(
        [
            rtnetlink.set_up(LOOPBACK),
            rtnetlink.bridge("fabric", hardware_address(CONTROL_PLANE_ADDRESS), _FABRIC_INDEX),
            rtnetlink.address(_FABRIC_INDEX, CONTROL_PLANE_ADDRESS, FABRIC_NETWORK.prefixlen),
        ]
    )
    routes.close()
    _bridge_netfilter(on=False)


def _plug_in(name: str, address: IPv4Address, port: int) -> None:
    """Connect a namespace to the switch."""
    descriptor = os.open(NETNS_DIR / name, os.O_RDONLY)
    hardware = hardware_address(address)
    near = End(f"port{port}", b"\x0e" + hardware[1:], port)
    far = End("eth0", hardware, ETH0_INDEX, descriptor)
    routes = Routes()
    try:
        routes.run(
            [
                rtnetlink.veth(near, far),
                rtnetlink.set_master(port, _FABRIC_INDEX),
                rtnetlink.set_alias(port, name),
                rtnetlink.forwarding_entry(port, hardware),
                rtnetlink.neighbour(_FABRIC_INDEX, address, hardware),
            ]
        )
    finally:
        routes.close()
        os.close(descriptor)


def _build_outside(nodes: Sequence[NodePlan]) -> None:
    enter_network(OUTSIDE_NAMESPACE)
    _quiet()
    _forwarding()
    _every_rejection()
    messages = [
        *_own_address(OUTSIDE_ADDRESS, nodes),
        rtnetlink.unreachable(_EVERYWHERE),
        *(rtnetlink.any_local(network) for network in PUBLIC_NETWORKS),
        *_towards(nodes),
    ]
    _run(messages)


def _build_node(shape: Shape, node: NodePlan, nodes: Sequence[NodePlan]) -> None:
    enter_network(namespace_of_node(node.name))
    _quiet()
    _forwarding()
    _every_rejection()
    if shape.time_wait:
        sysctl(_TIME_WAIT, shape.time_wait)
    messages = [
        *_own_address(node.address, nodes),
        rtnetlink.neighbour(ETH0_INDEX, OUTSIDE_ADDRESS, hardware_address(OUTSIDE_ADDRESS)),
        rtnetlink.route(_EVERYWHERE, ETH0_INDEX, OUTSIDE_ADDRESS),
        *_towards([other for other in nodes if other != node]),
    ]
    match shape.cni:
        case Cni.ROUTED:
            messages.append(rtnetlink.unreachable(node.pod_network))
        case Cni.BRIDGED:
            messages += _pod_bridge(node)
            _bridge_netfilter(on=shape.bridge_netfilter)
    _run(messages)


def _own_address(address: IPv4Address, nodes: Sequence[NodePlan]) -> list[Message]:
    control = CONTROL_PLANE_ADDRESS
    inhabited = (OUTSIDE_ADDRESS, control, *(node.address for node in nodes))
    return [
        rtnetlink.set_up(LOOPBACK),
        rtnetlink.set_up(ETH0_INDEX),
        rtnetlink.address(ETH0_INDEX, address, FABRIC_NETWORK.max_prefixlen),
        rtnetlink.unreachable(FABRIC_NETWORK),
        *(
            rtnetlink.route(block, ETH0_INDEX)
            for block in collapse_addresses(map(IPv4Network, inhabited))
        ),
        rtnetlink.neighbour(ETH0_INDEX, control, hardware_address(control)),
    ]


def _towards(nodes: Sequence[NodePlan]) -> list[Message]:
    messages = []
    for node in nodes:
        hardware = hardware_address(node.address)
        messages.append(rtnetlink.neighbour(ETH0_INDEX, node.address, hardware))
        messages.append(rtnetlink.route(node.pod_network, ETH0_INDEX, node.address))
    return messages


def _pod_bridge(node: NodePlan) -> list[Message]:
    hardware = hardware_address(node.bridge_address)
    bridge, prefix = POD_BRIDGE_INDEX, node.pod_network.prefixlen
    return [
        rtnetlink.unreachable(node.pod_network),
        rtnetlink.bridge(POD_BRIDGE, hardware, bridge),
        rtnetlink.address(bridge, node.bridge_address, prefix, on_link=False),
        *(rtnetlink.route(block, bridge) for block in node.bridged_networks),
        *(
            rtnetlink.neighbour(bridge, address, hardware_address(address))
            for address in node.pod_addresses
        ),
    ]


def _run(messages: Sequence[Message]) -> None:
    routes = Routes()
    try:
        routes.run(messages)
    finally:
        routes.close()


def _quiet() -> None:
    """No IPv6, no redirects: nothing moves that nobody sent, on any host's defaults."""
    for which in ("all", "default"):
        sysctl(f"net/ipv4/conf/{which}/rp_filter", 0)
        sysctl(f"net/ipv4/conf/{which}/send_redirects", 0)
        sysctl(f"net/ipv4/conf/{which}/accept_redirects", 0)
    without_ipv6()


def without_ipv6() -> None:
    """Switch IPv6 off in the thread's namespace (a kernel without it is fine)."""
    for which in ("all", "default"):
        with contextlib.suppress(FileNotFoundError):
            sysctl(f"net/ipv6/conf/{which}/disable_ipv6", 1)


def _forwarding() -> None:
    sysctl("net/ipv4/ip_forward", 1)


def _every_rejection() -> None:
    """Send every ICMP error.

    By default one a second goes to each peer (icmp_ratelimit), so that of many probes rejected at
    once most would look dropped, and others each time.
    """
    sysctl("net/ipv4/icmp_ratemask", 0)


def _bridge_netfilter(*, on: bool) -> None:
    for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
        with contextlib.suppress(FileNotFoundError):
            sysctl(f"net/bridge/{name}", int(on))


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
