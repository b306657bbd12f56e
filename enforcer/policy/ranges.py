"""Whether pods have their addresses from ``spec.podCIDRs`` of their Nodes.

Some CNI plugins hand out addresses by themselves (Calico's and Cilium's own IPAM) while the
controller manager gives each Node a range all the same. Such a range says nothing: pods of the node
have addresses beyond it, and pods of *other* nodes have addresses within it. One pod that has one
beyond its Node's ranges is enough to know, for the whole cluster.
https://github.com/projectcalico/calico/issues/2592

Nor does a range of which another Node has a part: an address in it may be a pod's of either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from enforcer.model.net import Family, IPNetwork, family_of
from enforcer.model.objects import Key, Node, Pod


class Ranges:
    """The pods whose addresses are beyond their Nodes' ranges, by family."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        """Believe every one of these Nodes, as they come and go, until a pod contradicts it."""
        self._strays: dict[Family, set[Key]] = {family: set() for family in Family}
        self._nodes = nodes
        self._shared: frozenset[tuple[str, Family]] | None = None
        """What :func:`shared` says of the Nodes; None: to be found out."""

    def put(self, pod: Pod, node: Node | None) -> None:
        """Take note of a pod, anew if it is known, and of the Node that it runs on."""
        self.remove(pod.key)
        for family in _beyond(pod, node):
            self._strays[family].add(pod.key)

    def remove(self, key: Key) -> None:
        """Take note that a pod is gone."""
        for strays in self._strays.values():
            strays.discard(key)

    def nodes_changed(self) -> None:
        """Take note that Nodes are others than before."""
        self._shared = None

    def of(self, node: Node) -> tuple[IPNetwork, ...]:
        """Return the networks whose addresses are those of this node's pods, and of nobody else."""
        if self._shared is None:
            self._shared = shared(self._nodes.values())
        believed = {
            family
            for family in Family
            if not self._strays[family] and (node.name, family) not in self._shared
        }
        return tuple(net for net in node.pod_networks if family_of(net) in believed)


def shared(nodes: Iterable[Node]) -> frozenset[tuple[str, Family]]:
    """Return the Nodes, and in which family, whose ranges overlap another Node's."""
    found: set[tuple[str, Family]] = set()
    ranges = [(network, node.name) for node in nodes for network in node.pod_networks]
    ranges.sort(key=lambda item: (item[0].version, int(item[0].network_address), item[0].prefixlen))
    around: list[tuple[IPNetwork, str]] = []  # networks overlap where one is within the other
    for network, name in ranges:
        while around and network.network_address not in around[-1][0]:
            around.pop()
        if around and around[-1][1] != name:
            found |= {(name, family_of(network)), (around[-1][1], family_of(network))}
        around.append((network, name))
    return frozenset(found)


def _beyond(pod: Pod, node: Node | None) -> Iterator[Family]:
    """Yield the families in which a pod contradicts its Node."""
    if node is None or pod.host_network:
        return
    told = {family_of(network) for network in node.pod_networks}
    for address in pod.addresses:
        inside = any(address in network for network in node.pod_networks)
        if family_of(address) in told and not inside:
            yield family_of(address)
