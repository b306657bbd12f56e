"""The cluster as it is known now, with the indexes that make a compile cheap.

Changes go in through :meth:`Cluster.apply`, at a cost that depends on neither the number of pods
nor of policies (but for a new list of a kind). Readers see mappings that they never write to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import chain
from typing import TypeVar, assert_never

from enforcer.model.changes import (
    Change,
    Kind,
    Object,
    Put,
    Removed,
    Replaced,
    Unreadable,
    key_of,
    kind_of,
)
from enforcer.model.net import IPAddress, IPNetwork
from enforcer.model.objects import Key, Namespace, Node, Pod, PodPeer, Policy
from enforcer.model.selectors import Selector
from enforcer.policy.claims import Claims
from enforcer.policy.groups import Groups, PodGroup, Selection
from enforcer.policy.ranges import Ranges

_Item = TypeVar("_Item")


class Cluster:
    """Pods, namespaces, nodes and policies, and indexes over them."""

    def __init__(self) -> None:
        """Start empty, with no kind listed yet."""
        self._objects: dict[Kind, dict[Key, Object]] = {kind: {} for kind in Kind}
        self._unreadable: dict[tuple[Kind, Key], Unreadable] = {}
        self._listed: set[Kind] = set()
        self._pods: dict[Key, Pod] = {}
        self._policies: dict[Key, Policy] = {}
        self._namespaces: dict[str, Namespace] = {}
        self._nodes: dict[str, Node] = {}
        self._node_addresses: frozenset[IPAddress] | None = None
        self._pods_on: dict[str, dict[Key, Pod]] = {}
        self._policies_in: dict[str, dict[Key, Policy]] = {}
        self._sorted_policies: dict[str, tuple[Policy, ...]] = {}
        self._groups = Groups()
        self._claims = Claims(self._groups)
        self._ranges = Ranges(self._nodes)

    @property
    def synced(self) -> bool:
        """Whether every kind has been listed: before that, nothing of it may be enforced."""
        return len(self._listed) == len(Kind)

    def missing(self) -> tuple[Kind, ...]:
        """Return the kinds that have not been listed yet."""
        return tuple(kind for kind in Kind if kind not in self._listed)

    @property
    def pods(self) -> Mapping[Key, Pod]:
        """Every pod by its key."""
        return self._pods

    @property
    def namespaces(self) -> Mapping[str, Namespace]:
        """Every namespace by its name."""
        return self._namespaces

    @property
    def nodes(self) -> Mapping[str, Node]:
        """Every node by its name."""
        return self._nodes

    def pod_networks(self, node: Node) -> tuple[IPNetwork, ...]:
        """Return the networks in which addresses are those of a node's pods, and of nobody else.

        None of a family in which pods, or other Nodes, contradict it: see
        :mod:`enforcer.policy.ranges`.
        """
        return self._ranges.of(node)

    @property
    def node_addresses(self) -> frozenset[IPAddress]:
        """The addresses of all nodes; the same object until a node changes."""
        if self._node_addresses is None:
            nodes = self._nodes.values()
            self._node_addresses = frozenset(item for node in nodes for item in node.addresses)
        return self._node_addresses

    @property
    def policies(self) -> Mapping[Key, Policy]:
        """Every policy by its key."""
        return self._policies

    @property
    def unreadable(self) -> Collection[Unreadable]:
        """What could not even be identified."""
        return self._unreadable.values()

    def pods_on(self, node: str) -> Collection[Pod]:
        """Return the pods that are bound to a node, in no order."""
        return self._pods_on.get(node, {}).values()

    def policies_in(self, namespace: str) -> tuple[Policy, ...]:
        """Return the policies of a namespace, by name; the same object until one changes.

        Those of which nobody knows the namespace are in each.
        """
        if namespace not in self._sorted_policies:
            policies = (self._policies_in.get(name, {}).values() for name in {"", namespace})
            found = tuple(sorted(chain(*policies), key=lambda policy: policy.key))
            self._sorted_policies[namespace] = found
        return self._sorted_policies[namespace]

    def peers(self, namespace: str, selector: Selector) -> Collection[PodGroup]:
        """Find the pods of a namespace that a peer's podSelector selects.

        Only pods that can be peers: with an address, not on the host's network, understood.
        """
        return self._groups.find(namespace, selector)

    def selection(self, peer: PodPeer, namespace: str) -> Selection:
        """Return the pods that a peer of a policy in ``namespace`` means, now and from now on.

        It follows the cluster's changes for as long as somebody holds it.
        """
        return self._groups.selection(peer, namespace)

    def is_contested(self, address: IPAddress) -> bool:
        """Whether pods claim an address that selectors may tell apart: it is nobody's peer then."""
        return self._claims.is_contested(address)

    def apply(self, change: Change) -> bool:
        """Take a change in; return whether anything is different now."""
        match change:
            case Replaced():
                return self._replace(change)
            case Put():
                return self._put(change.item)
            case Removed():
                return self._remove(change.kind, change.key)
        assert_never(change)

    def _replace(self, change: Replaced) -> bool:
        kind = change.kind
        changed = kind not in self._listed
        self._listed.add(kind)
        kept = {_id(item) for item in change.objects}
        unreadable = {key for other, key in self._unreadable if other is kind}
        gone = (self._objects[kind].keys() | unreadable) - kept
        if any(isinstance(item, Policy) and not item.is_placed for item in change.objects):
            gone -= self._objects[kind].keys()  # it may be one of them
        for key in gone:
            changed |= self._remove(kind, key)
        for item in change.objects:
            changed |= self._put(item)
        return changed

    def _put(self, item: Object | Unreadable) -> bool:
        if isinstance(item, Unreadable):
            known = self._unreadable.get((item.kind, item.key)) == item
            self._unreadable[item.kind, item.key] = item
            return not known
        kind, key = kind_of(item), key_of(item)
        changed = self._unreadable.pop((kind, key), None) is not None
        old = self._objects[kind].get(key)
        if old == item:
            return changed
        if old is not None:
            self._forget(old)
        self._objects[kind][key] = item
        self._index(item)
        return True

    def _remove(self, kind: Kind, key: Key) -> bool:
        unreadable = self._unreadable.pop((kind, key), None)
        old = self._objects[kind].pop(key, None)
        if old is not None:
            self._forget(old)
        return old is not None or unreadable is not None

    def _index(self, item: Object) -> None:
        match item:
            case Pod():
                self._pods[item.key] = item
                self._pods_on.setdefault(item.node, {})[item.key] = item
                self._ranges.put(item, self._nodes.get(item.node))
                if _can_be_peer(item):
                    self._claims.put(item)
            case Namespace():
                self._namespaces[item.name] = item
                self._groups.put_namespace(item)
            case Node():
                self._nodes[item.name] = item
                self._node_changed(item.name)
            case Policy():
                self._policies[item.key] = item
                self._policies_in.setdefault(item.key.namespace, {})[item.key] = item
                self._sort_again(item)

    def _forget(self, item: Object) -> None:
        match item:
            case Pod():
                del self._pods[item.key]
                _drop(self._pods_on, item.node, item.key)
                self._ranges.remove(item.key)
                if _can_be_peer(item):
                    self._claims.remove(item)
            case Namespace():
                del self._namespaces[item.name]
                self._groups.remove_namespace(item.name)
            case Node():
                del self._nodes[item.name]
                self._node_changed(item.name)
            case Policy():
                del self._policies[item.key]
                _drop(self._policies_in, item.key.namespace, item.key)
                self._sort_again(item)

    def _sort_again(self, changed: Policy) -> None:
        if changed.is_placed:
            self._sorted_policies.pop(changed.key.namespace, None)
        else:
            self._sorted_policies.clear()

    def _node_changed(self, name: str) -> None:
        self._node_addresses = None
        self._ranges.nodes_changed()
        for pod in self.pods_on(name):
            self._ranges.put(pod, self._nodes.get(name))


def _id(item: Object | Unreadable) -> Key:
    return item.key if isinstance(item, Unreadable) else key_of(item)


def _can_be_peer(pod: Pod) -> bool:
    return bool(pod.addresses) and not pod.host_network and not pod.problem


def _drop(index: dict[str, dict[Key, _Item]], name: str, key: Key) -> None:
    del index[name][key]
    if not index[name]:
        del index[name]
