"""Whether pods have their addresses from ``spec.podCIDRs`` of their Nodes.

Some CNI plugins hand out addresses by themselves (Calico's and Cilium's own IPAM) while the
controller manager gives each Node a range all the same. Such a range says nothing: pods of the node
have addresses beyond it, and pods of *other* nodes have addresses within it. One pod that has one
beyond its Node's ranges is enough to know, for the whole cluster.
https://github.com/projectcalico/calico/issues/2592
"""

from __future__ import annotations

from collections.abc import Iterator

from enforcer.model.net import Family, IPNetwork, family_of
from enforcer.model.objects import Key, Node, Pod


class Ranges:
    """The pods whose addresses are beyond their Nodes' ranges, by family."""

    def __init__(self) -> None:
        """Believe every Node until a pod contradicts it."""
        self._strays: dict[Family, set[Key]] = {family: set() for family in Family}

    def put(self, pod: Pod, node: Node | None) -> None:
        """Take note of a pod, anew if it is known, and of the Node that it runs on."""
        self.remove(pod.key)
        for family in _beyond(pod, node):
            self._strays[family].add(pod.key)

    def remove(self, key: Key) -> None:
        """Take note that a pod is gone."""
        for strays in self._strays.values():
            strays.discard(key)

    def of(self, node: Node) -> tuple[IPNetwork, ...]:
        """Return the networks whose addresses are those of this node's pods, and of nobody else."""
        return tuple(net for net in node.pod_networks if not self._strays[family_of(net)])


def _beyond(pod: Pod, node: Node | None) -> Iterator[Family]:
    """Yield the families in which a pod contradicts its Node."""
    if node is None or pod.host_network:
        return
    told = {family_of(network) for network in node.pod_networks}
    for address in pod.addresses:
        inside = any(address in network for network in node.pod_networks)
        if family_of(address) in told and not inside:
            yield family_of(address)
