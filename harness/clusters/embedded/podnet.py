"""A pod's network: a namespace, a veth pair, addresses, routes and neighbours.

Routed (as Calico does it)::

    pod   eth0 10.128.1.2/32, default via 169.254.1.1 (nobody's; its hardware address is written)
    node  vethXXXXXXXX, route 10.128.1.2 dev vethXXXXXXXX

Bridged (as the bridge CNI plugin does it)::

    pod   eth0 10.128.1.2/24, default via 10.128.1.1 (kube-bridge)
    node  vethXXXXXXXX in kube-bridge

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
from ipaddress import IPv4Address, IPv4Network

from harness.clusters.embedded import rtnetlink
from harness.clusters.embedded.addresses import (
    POD_GATEWAY,
    NodePlan,
    hardware_address,
    interface_name,
    namespace_of_node,
    namespace_of_pod,
)
from harness.clusters.embedded.fabric import ETH0_INDEX, POD_BRIDGE_INDEX, without_ipv6
from harness.clusters.embedded.namespaces import (
    NETNS_DIR,
    enter_network,
    new_network,
    unpin_network,
)
from harness.clusters.embedded.rtnetlink import LOOPBACK, End, Message, Routes
from harness.clusters.embedded.settings import Cni

_EVERYWHERE = IPv4Network("0.0.0.0/0")
_FIRST_INDEX = 100


class NodeNetwork:
    """One node's side of its pods' links. Its methods may be called from several threads."""

    def __init__(self, node: NodePlan, cni: Cni) -> None:
        """Open the node's namespace; makes a short-lived thread to do so."""
        self.node = node
        self._cni = cni
        self._netns = os.open(NETNS_DIR / namespace_of_node(node.name), os.O_RDONLY)
        self._lock = threading.Lock()
        self._indexes = itertools.count(_FIRST_INDEX)
        opener = threading.Thread(target=self._open)
        opener.start()
        opener.join()

    def _open(self) -> None:
        enter_network(namespace_of_node(self.node.name))
        self._routes = Routes()

    def connect(self, namespace: str, name: str, address: IPv4Address) -> int:
        """Make a pod's namespace and link; the calling thread ends up in the namespace.

        Returns the interface index of the node's end, for :meth:`disconnect`.
        """
        netns = namespace_of_pod(namespace, name)
        new_network(netns, hostname=name[:63])
        try:
            return self._link(f"{namespace}/{name}", address)
        except OSError:
            unpin_network(netns)
            raise

    def _link(self, key: str, address: IPv4Address) -> int:
        """Link the calling thread's namespace to the node."""
        without_ipv6()
        index = next(self._indexes)
        gateway = POD_GATEWAY if self._cni is Cni.ROUTED else self.node.bridge_address
        near = End("eth0", hardware_address(address), ETH0_INDEX)
        far = End(interface_name(key), self._port_hardware(address), index, self._netns)
        inside = Routes()
        try:
            inside.run([rtnetlink.veth(near, far), *self._inside(address, gateway)])
        finally:
            inside.close()
        with self._lock:
            self._routes.run([*self._node_side(index, address), rtnetlink.set_alias(index, key)])
        return index

    def disconnect(self, namespace: str, name: str, index: int) -> None:
        """Remove a pod's link, and with it routes and neighbours; its namespace loses its name."""
        with self._lock, contextlib.suppress(OSError):
            self._routes.run([rtnetlink.delete_link(index)])
        with contextlib.suppress(OSError):
            unpin_network(namespace_of_pod(namespace, name))

    def _port_hardware(self, address: IPv4Address) -> bytes:
        """Return the node's end's address: a routed pod's gateway, or just a bridge port's."""
        if self._cni is Cni.ROUTED:
            return hardware_address(POD_GATEWAY)
        return b"\x0e" + hardware_address(address)[1:]

    def _inside(self, address: IPv4Address, gateway: IPv4Address) -> list[Message]:
        return [
            rtnetlink.set_up(LOOPBACK),
            *self._own_address(address),
            rtnetlink.neighbour(ETH0_INDEX, gateway, hardware_address(gateway)),
            rtnetlink.route(_EVERYWHERE, ETH0_INDEX, gateway, onlink=True),
        ]

    def _own_address(self, address: IPv4Address) -> list[Message]:
        """Give a pod its address; on a bridge, also the way to every other pod's there."""
        match self._cni:
            case Cni.ROUTED:
                return [rtnetlink.address(ETH0_INDEX, address, address.max_prefixlen)]
            case Cni.BRIDGED:
                prefix = self.node.pod_network.prefixlen
                return [
                    rtnetlink.address(ETH0_INDEX, address, prefix, on_link=False),
                    *(rtnetlink.route(block, ETH0_INDEX) for block in self.node.bridged_networks),
                    *(
                        rtnetlink.neighbour(ETH0_INDEX, peer, hardware_address(peer))
                        for peer in self.node.pod_addresses
                        if peer != address
                    ),
                ]

    def _node_side(self, index: int, address: IPv4Address) -> list[Message]:
        hardware = hardware_address(address)
        match self._cni:
            case Cni.ROUTED:
                return [
                    rtnetlink.set_up(index),
                    rtnetlink.neighbour(index, address, hardware),
                    rtnetlink.route(IPv4Network(address), index),
                ]
            case Cni.BRIDGED:
                return [
                    rtnetlink.set_master(index, POD_BRIDGE_INDEX),
                    rtnetlink.set_up(index),
                    rtnetlink.set_hairpin(index),
                    rtnetlink.forwarding_entry(index, hardware),
                ]
