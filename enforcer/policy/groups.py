"""Peers by their labels: which pods a selector means, asked once and kept up to date.

A cluster has many pods and few sets of labels, so selectors are asked about sets of labels. A
:class:`Selection` is an answer that stays true: pods and namespaces that come and go change the
selections that they concern, and no others.
"""

from __future__ import annotations

import abc
import weakref
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from enforcer.model.net import IPAddress, PortRange, Protocol
from enforcer.model.objects import Key, NamedPort, NamedPortRef, Namespace, Pod, PodPeer
from enforcer.model.selectors import Operator, Requirement, Selector
from enforcer.policy.images import Gathered, Image

PeerPort = tuple[IPAddress, Protocol, int]
_LabelSet = frozenset[tuple[str, str]]
_Key = TypeVar("_Key")
_Item = TypeVar("_Item")

_NEGATIVE: Final = frozenset({Operator.NOT_IN, Operator.DOES_NOT_EXIST})


@dataclass(slots=True, eq=False, weakref_slot=True)
class PodGroup:
    """Peers of one namespace with equal labels; all of them are selected, or none."""

    namespace: str
    labels: Mapping[str, str]
    pods: dict[Key, Pod] = field(default_factory=dict)
    followers: list[weakref.ref[Selection]] = field(default_factory=list)
    _addresses: frozenset[IPAddress] | None = None
    _named: dict[NamedPortRef, frozenset[PeerPort]] = field(default_factory=dict)

    @property
    def addresses(self) -> frozenset[IPAddress]:
        """The addresses of all its pods."""
        if self._addresses is None:
            pods = self.pods.values()
            self._addresses = frozenset(address for pod in pods for address in pod.addresses)
        return self._addresses

    def on_named_port(self, port: NamedPortRef) -> frozenset[PeerPort]:
        """Return the addresses with the port that each pod gives this name."""
        if port not in self._named:
            self._named[port] = frozenset(
                (address, range_.protocol, range_.first)
                for pod in self.pods.values()
                for range_ in ports_named(pod.named_ports, port)
                for address in pod.addresses
            )
        return self._named[port]

    def put(self, pod: Pod) -> None:
        """Add a pod."""
        self.pods[pod.key] = pod
        self.changed()

    def remove(self, key: Key) -> None:
        """Take a pod away."""
        del self.pods[key]
        self.changed()

    def changed(self) -> None:
        """Forget what was known of its pods, and tell the selections that hold the group."""
        self._addresses = None
        self._named.clear()
        for selection in self.following():
            selection.changed(self)

    def following(self) -> list[Selection]:
        """Return the selections that hold the group and that somebody still asks."""
        found = [selection for ref in self.followers if (selection := ref()) is not None]
        if len(found) < len(self.followers):
            self.followers = list(map(weakref.ref, found))
        return found


class _View(Generic[_Item]):
    """One thing that is asked about all groups of a selection, and the answer as it was last."""

    def __init__(
        self, ask: Callable[[PodGroup], frozenset[_Item]], groups: AbstractSet[PodGroup]
    ) -> None:
        self._ask = ask
        self._groups = groups
        self._found: Gathered[PodGroup, _Item] = Gathered()
        self.stale = weakref.WeakSet(groups)

    def current(self) -> AbstractSet[_Item]:
        """Return the answer as it is now; only the groups that have changed are asked."""
        if self.stale:
            self._found.give(
                {
                    group: self._ask(group) if group in self._groups else frozenset()
                    for group in self.stale
                }
            )
            self.stale.clear()
        return self._found.all


class Reader(abc.ABC):
    """Who has made something of a selection."""

    @abc.abstractmethod
    def outdate(self) -> None:
        """Note that the selection has changed."""


class Selection:
    """The pods that a peer means now.

    ``readers`` are told of each change of them: what was made of the selection holds no longer.
    """

    def __init__(self, peer: PodPeer, namespace: str) -> None:
        """Start empty; ``namespace`` is the policy's, and counts where the peer says so."""
        self.peer = peer
        self.namespace = namespace
        self.readers: weakref.WeakSet[Reader] = weakref.WeakSet()
        self.groups: set[PodGroup] = set()
        self._addresses = _View(lambda group: group.addresses, self.groups)
        self._on_ports: dict[PortRange, Image[IPAddress, PeerPort]] = {}
        self._on_named: dict[NamedPortRef, _View[PeerPort]] = {}

    def changed(self, group: PodGroup) -> None:
        """Note that a group's pods, or one of their addresses or ports, have changed."""
        for reader in self.readers:
            reader.outdate()
        self._addresses.stale.add(group)
        for view in self._on_named.values():
            view.stale.add(group)

    def enter(self, group: PodGroup) -> None:
        """Hold a group from now on."""
        self.groups.add(group)
        group.followers.append(weakref.ref(self))
        self.changed(group)

    def leave(self, group: PodGroup) -> None:
        """Hold a group no longer."""
        self.groups.discard(group)
        group.followers.remove(weakref.ref(self))
        self.changed(group)

    @property
    def addresses(self) -> AbstractSet[IPAddress]:
        """The addresses of all its pods."""
        return self._addresses.current()

    def on_port(self, port: PortRange) -> AbstractSet[PeerPort]:
        """Return the addresses, each with the same single port."""
        image = self._on_ports.get(port)
        if image is None:
            protocol, number = port.protocol, port.first
            image = Image(lambda address: (address, protocol, number))
            self._on_ports[port] = image
        return image.of(self.addresses)

    def on_named_port(self, port: NamedPortRef) -> AbstractSet[PeerPort]:
        """Return the addresses with the port that each pod gives this name.

        A pod that names two ports alike offers both.
        """
        view = self._on_named.get(port)
        if view is None:
            view = _View(lambda group: group.on_named_port(port), self.groups)
            self._on_named[port] = view
        return view.current()


def ports_named(given: Iterable[NamedPort], port: NamedPortRef) -> list[PortRange]:
    """Return those of a pod's named ports that have this name, for this protocol."""
    return [
        PortRange(item.protocol, item.port, item.port)
        for item in given
        if (item.name, item.protocol) == (port.name, port.protocol)
    ]


@dataclass(slots=True)
class _Index:
    """The groups of one namespace, also by each label and each label's key that they have."""

    by_labels: dict[_LabelSet, PodGroup] = field(default_factory=dict)
    by_label: dict[tuple[str, str], set[PodGroup]] = field(default_factory=dict)
    by_key: dict[str, set[PodGroup]] = field(default_factory=dict)

    def add(self, labels: _LabelSet, group: PodGroup) -> None:
        self.by_labels[labels] = group
        for key, value in labels:
            self.by_label.setdefault((key, value), set()).add(group)
            self.by_key.setdefault(key, set()).add(group)

    def remove(self, labels: _LabelSet) -> None:
        group = self.by_labels.pop(labels)
        for key, value in labels:
            _discard(self.by_label, (key, value), group)
            _discard(self.by_key, key, group)

    def find(self, selector: Selector) -> set[PodGroup]:
        """Return the groups that a selector selects; set by set, as 1,000 of each are usual."""
        found: set[PodGroup] | None = None
        for item in selector.requirements:
            if item.operator not in _NEGATIVE:
                hits = self._having(item)
                found = hits if found is None else found & hits
        if found is None:
            found = set(self.by_labels.values())
        for item in selector.requirements:
            if item.operator in _NEGATIVE:
                found = found - self._having(item)
        return found

    def _having(self, item: Requirement) -> set[PodGroup]:
        """Return the groups with the key, and with one of the values where there are any."""
        if item.operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST):
            return set(self.by_key.get(item.key, ()))
        named = (self.by_label.get((item.key, value), ()) for value in item.values)
        return set().union(*named)


class Groups:
    """Every peer of the cluster, and the selections that are asked for."""

    def __init__(self) -> None:
        """Start without pods and namespaces."""
        self._indexes: dict[str, _Index] = {}
        self._namespaces: dict[str, Namespace] = {}
        self._selections: weakref.WeakValueDictionary[tuple[PodPeer, str], Selection] = (
            weakref.WeakValueDictionary()
        )

    def put(self, pod: Pod) -> None:
        """Add a pod that is not known yet."""
        index = self._indexes.setdefault(pod.key.namespace, _Index())
        labels = frozenset(pod.labels.items())
        group = index.by_labels.get(labels)
        if group is not None:
            group.put(pod)
            return
        group = PodGroup(pod.key.namespace, pod.labels)
        group.put(pod)
        index.add(labels, group)
        for selection in self._asked():
            if self._means(selection, group.namespace) and selection.peer.pods.matches(pod.labels):
                selection.enter(group)

    def remove(self, pod: Pod) -> None:
        """Take a pod away that was put as it is."""
        index = self._indexes[pod.key.namespace]
        labels = frozenset(pod.labels.items())
        group = index.by_labels[labels]
        group.remove(pod.key)
        if group.pods:
            return
        index.remove(labels)
        for selection in group.following():
            selection.leave(group)
        if not index.by_labels:
            del self._indexes[pod.key.namespace]

    def put_namespace(self, namespace: Namespace) -> None:
        """Add or change a namespace."""
        self._namespaces[namespace.name] = namespace
        self._reconsider(namespace.name)

    def remove_namespace(self, name: str) -> None:
        """Take a namespace away; its pods may still be there for a while."""
        del self._namespaces[name]
        self._reconsider(name)

    def find(self, namespace: str, selector: Selector) -> set[PodGroup]:
        """Return the groups of a namespace that a podSelector selects."""
        index = self._indexes.get(namespace)
        return index.find(selector) if index else set()

    def selection(self, peer: PodPeer, namespace: str) -> Selection:
        """Return what a peer of a policy in ``namespace`` means; true as long as it is held."""
        scope = namespace if peer.own_namespace else ""
        found = self._selections.get((peer, scope))
        if found is None:
            found = self._selections[peer, scope] = Selection(peer, scope)
            for name in self._meant(found):
                for group in self.find(name, peer.pods):
                    found.enter(group)
        return found

    def _asked(self) -> list[Selection]:
        return list(self._selections.values())

    def _meant(self, selection: Selection) -> Iterable[str]:
        if selection.peer.own_namespace:
            return (selection.namespace,)
        return (name for name in self._indexes if self._means(selection, name))

    def _means(self, selection: Selection, name: str) -> bool:
        """Whether a selection's peer means pods of a namespace."""
        if selection.peer.own_namespace:
            return selection.namespace == name
        namespace = self._namespaces.get(name)
        if namespace is None or namespace.problem:
            return False
        return selection.peer.namespaces.matches(namespace.labels)

    def _reconsider(self, name: str) -> None:
        """Let each selection hold this namespace's groups if it means the namespace."""
        if name not in self._indexes:
            return
        for selection in self._asked():
            if selection.peer.own_namespace:
                continue
            found = self.find(name, selection.peer.pods) if self._means(selection, name) else set()
            held = {group for group in selection.groups if group.namespace == name}
            for group in held - found:
                selection.leave(group)
            for group in found - held:
                selection.enter(group)


def _discard(index: dict[_Key, set[PodGroup]], key: _Key, group: PodGroup) -> None:
    index[key].discard(group)
    if not index[key]:
        del index[key]
