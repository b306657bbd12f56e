"""The cluster as it is known now, with the indexes that make a compile cheap.

Changes go in through :meth:`Cluster.apply`, at a cost that depends on neither the number of pods
nor of policies (but for a new list of a kind). Readers see mappings that they never write to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
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
from enforcer.model.net import IPAddress
from enforcer.model.objects import Key, Namespace, Node, Pod, Policy
from enforcer.model.selectors import Operator, Selector

_Item = TypeVar("_Item")
_LabelSet = frozenset[tuple[str, str]]


@dataclass(slots=True)
class PodGroup:
    """Peers of one namespace with equal labels: a selector is asked once for all of them."""

    namespace: str
    labels: Mapping[str, str]
    pods: dict[Key, Pod] = field(default_factory=dict)
    _addresses: frozenset[IPAddress] | None = None

    @property
    def addresses(self) -> frozenset[IPAddress]:
        """The addresses of all its pods."""
        if self._addresses is None:
            pods = self.pods.values()
            self._addresses = frozenset(address for pod in pods for address in pod.addresses)
        return self._addresses

    def put(self, pod: Pod) -> None:
        """Add a pod."""
        self.pods[pod.key] = pod
        self._addresses = None

    def remove(self, key: Key) -> None:
        """Take a pod away."""
        del self.pods[key]
        self._addresses = None


@dataclass(slots=True)
class _Groups:
    """The groups of one namespace, also by each label that they have."""

    by_labels: dict[_LabelSet, PodGroup] = field(default_factory=dict)
    by_label: dict[tuple[str, str], dict[_LabelSet, PodGroup]] = field(default_factory=dict)


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
        self._pods_on: dict[str, dict[Key, Pod]] = {}
        self._policies_in: dict[str, dict[Key, Policy]] = {}
        self._groups: dict[str, _Groups] = {}

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

    def policies_in(self, namespace: str) -> Collection[Policy]:
        """Return the policies of a namespace, in no order."""
        return self._policies_in.get(namespace, {}).values()

    def peers(self, namespace: str, selector: Selector) -> Iterator[PodGroup]:
        """Find the pods of a namespace that a peer's podSelector selects.

        Only pods that can be peers: with an address, not on the host's network, understood.
        """
        groups = self._groups.get(namespace)
        if groups is None:
            return
        for group in _candidates(groups, selector):
            if selector.matches(group.labels):
                yield group

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
        for key in (self._objects[kind].keys() | unreadable) - kept:
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
                if _can_be_peer(item):
                    _enter(self._groups.setdefault(item.key.namespace, _Groups()), item)
            case Namespace():
                self._namespaces[item.name] = item
            case Node():
                self._nodes[item.name] = item
            case Policy():
                self._policies[item.key] = item
                self._policies_in.setdefault(item.key.namespace, {})[item.key] = item

    def _forget(self, item: Object) -> None:
        match item:
            case Pod():
                del self._pods[item.key]
                _drop(self._pods_on, item.node, item.key)
                if _can_be_peer(item):
                    _leave(self._groups[item.key.namespace], item)
            case Namespace():
                del self._namespaces[item.name]
            case Node():
                del self._nodes[item.name]
            case Policy():
                del self._policies[item.key]
                _drop(self._policies_in, item.key.namespace, item.key)


def _id(item: Object | Unreadable) -> Key:
    return item.key if isinstance(item, Unreadable) else key_of(item)


def _can_be_peer(pod: Pod) -> bool:
    return bool(pod.addresses) and not pod.host_network and not pod.problem


def _drop(index: dict[str, dict[Key, _Item]], name: str, key: Key) -> None:
    del index[name][key]
    if not index[name]:
        del index[name]


def _label_set(pod: Pod) -> _LabelSet:
    return frozenset(pod.labels.items())


def _enter(groups: _Groups, pod: Pod) -> None:
    labels = _label_set(pod)
    group = groups.by_labels.get(labels)
    if group is None:
        group = groups.by_labels[labels] = PodGroup(pod.key.namespace, pod.labels)
        for label in labels:
            groups.by_label.setdefault(label, {})[labels] = group
    group.put(pod)


def _leave(groups: _Groups, pod: Pod) -> None:
    labels = _label_set(pod)
    group = groups.by_labels[labels]
    group.remove(pod.key)
    if group.pods:
        return
    del groups.by_labels[labels]
    for label in labels:
        del groups.by_label[label][labels]
        if not groups.by_label[label]:
            del groups.by_label[label]


def _candidates(groups: _Groups, selector: Selector) -> Iterable[PodGroup]:
    """Return all groups that a selector may select; those of one label, where it names one."""
    for requirement in selector.requirements:
        if requirement.operator is Operator.IN:
            labels = ((requirement.key, value) for value in requirement.values)
            found = (groups.by_label.get(label, {}) for label in labels)
            return [group for groups_of_label in found for group in groups_of_label.values()]
    return groups.by_labels.values()
