"""A pod's network: a namespace, a veth pair, addresses, routes and neighbours.

Routed (as Calico does it)::

    pod   eth0 10.128.1.2/32, default via 169.254.1.1 (nobody's; its hardware address is written)
    node  vethXXXXXXXX, route 10.128.1.2 dev vethXXXXXXXX
    IPv6: the next hop is the link-local address that the node's end has by itself

Bridged (as the bridge CNI plugin does it)::

    pod   eth0 10.128.1.2/24, default via 10.128.1.1 (kube-bridge)
    node  vethXXXXXXXX in kube-bridge
    Of several bridges (kube-bridge, kube-bridge1, ...) each has a part of the pod network.

Every neighbour entry is permanent on both sides. A pod on a bridge gets one for each address of
its node's pool when it starts, as the bridge has: a hardware address follows from its IP address,
so the entries hold for pods that come later too. The addresses of the /24 beyond the pool are not
on the link: packets to them go to the node, which answers that they cannot be reached, and nobody
is asked. So no packet to wherever makes a neighbour entry that can be collected.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from dataclasses import dataclass
from ipaddress import ip_network

from harness.clusters.embedded import rtnetlink, sysctls
from harness.clusters.embedded.addresses import (
    POD_GATEWAY,
    Address,
    Host,
    IpFamily,
    NodePlan,
    Segment,
    hardware_address,
    interface_name,
    link_local,
    namespace_of_node,
    namespace_of_pod,
)
from harness.clusters.embedded.fabric import ETH0_INDEX, pod_bridge_index
from harness.clusters.embedded.namespaces import (
    NETNS_DIR,
    enter_network,
    new_network,
    unpin_network,
)
from harness.clusters.embedded.rtnetlink import LOOPBACK, End, Message, Routes
from harness.clusters.embedded.settings import Cni

_EVERYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
_FIRST_INDEX = 100
_GATEWAY_HARDWARE = hardware_address(POD_GATEWAY)


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a pod sits on its node: the addresses that it gets, and on which of its bridges."""

    host: Host
    segment: int = 0


class NodeNetwork:
    """One node's side of its pods' links. Its methods may be called from several threads."""

    def __init__(self, node: NodePlan, cni: Cni, family: IpFamily) -> None:
        """Open the node's namespace; makes a short-lived thread to do so."""
        self.node = node
        self._cni = cni
        self._family = family
        self._netns = os.open(NETNS_DIR / namespace_of_node(node.name), os.O_RDONLY)
        self._lock = threading.Lock()
        bridged = node.segments if cni is Cni.BRIDGED else ()
        self._links = [(segment.blocks(), tuple(segment.pods)) for segment in bridged]
        self._indexes = itertools.count(_FIRST_INDEX)
        opener = threading.Thread(target=self._open)
        opener.start()
        opener.join()

    def _open(self) -> None:
        enter_network(namespace_of_node(self.node.name))
        self._routes = Routes()

    def connect(self, namespace: str, name: str, seat: Seat) -> int:
        """Make a pod's namespace and link; the calling thread ends up in the namespace.

        Returns the interface index of the node's end, for :meth:`disconnect`.
        """
        netns = namespace_of_pod(namespace, name)
        new_network(netns, hostname=name[:63])
        try:
            return self._link(f"{namespace}/{name}", seat)
        except OSError:
            unpin_network(netns)
            raise

    def _link(self, key: str, seat: Seat) -> int:
        """Link the calling thread's namespace to the node."""
        sysctls.ipv6(self._family)
        index = next(self._indexes)
        near = End("eth0", seat.host.hardware, ETH0_INDEX)
        far = End(interface_name(key), self._port_hardware(seat.host), index, self._netns)
        inside = Routes()
        try:
            inside.run([rtnetlink.veth(near, far), *self._inside(seat)])
        finally:
            inside.close()
        with self._lock:
            self._routes.run([*self._node_side(index, seat), rtnetlink.set_alias(index, key)])
        return index

    def disconnect(self, namespace: str, name: str, index: int) -> None:
        """Remove a pod's link, and with it routes and neighbours; its namespace loses its name."""
        with self._lock, contextlib.suppress(OSError):
            self._routes.run([rtnetlink.delete_link(index)])
        with contextlib.suppress(OSError):
            unpin_network(namespace_of_pod(namespace, name))

    def _port_hardware(self, host: Host) -> bytes:
        """Return the node's end's address: a routed pod's gateway, or just a bridge port's."""
        if self._cni is Cni.ROUTED:
            return _GATEWAY_HARDWARE
        return b"\x0e" + host.hardware[1:]

    def _gateways(self, segment: Segment) -> Host:
        """Return a pod's next hops, one for each family."""
        if self._cni is Cni.BRIDGED:
            return segment.gateway
        hops: dict[int, Address] = {4: POD_GATEWAY, 6: link_local(_GATEWAY_HARDWARE)}
        return Host(tuple(hops[version] for version in self._family.versions), _GATEWAY_HARDWARE)

    def _inside(self, seat: Seat) -> list[Message]:
        segment = self.node.segments[seat.segment]
        gateways = self._gateways(segment)
        messages = [rtnetlink.set_up(LOOPBACK)]
        for address, network, gateway in zip(
            seat.host.addresses, segment.networks, gateways.addresses, strict=True
        ):
            routed = self._cni is Cni.ROUTED
            prefix = network.max_prefixlen if routed else network.prefixlen
            everywhere = _EVERYWHERE[network.version]
            messages += [
                rtnetlink.address(ETH0_INDEX, address, prefix, on_link=False),
                rtnetlink.neighbour(ETH0_INDEX, gateway, gateways.hardware),
                rtnetlink.route(everywhere, ETH0_INDEX, gateway, onlink=True),
            ]
        return messages + self._peers(seat)

    def _peers(self, seat: Seat) -> list[Message]:
        """Return the ways to everybody else on the pod's bridge, and their neighbour entries."""
        if self._cni is Cni.ROUTED:
            return []
        blocks, peers = self._links[seat.segment]
        return [
            *(rtnetlink.route(block, ETH0_INDEX) for block in blocks),
            *(one for peer in peers if peer != seat.host for one in _neighbours(ETH0_INDEX, peer)),
        ]

    def _node_side(self, index: int, seat: Seat) -> list[Message]:
        host = seat.host
        match self._cni:
            case Cni.ROUTED:
                return [
                    rtnetlink.set_up(index),
                    *_neighbours(index, host),
                    *(rtnetlink.route(ip_network(address), index) for address in host.addresses),
                ]
            case Cni.BRIDGED:
                bridge = pod_bridge_index(seat.segment)
                return [
                    rtnetlink.set_master(index, bridge),
                    rtnetlink.set_up(index),
                    rtnetlink.set_hairpin(index),
                    rtnetlink.forwarding_entry(index, host.hardware),
                ]


def _neighbours(index: int, host: Host) -> list[Message]:
    return [rtnetlink.neighbour(index, address, host.hardware) for address in host.addresses]
