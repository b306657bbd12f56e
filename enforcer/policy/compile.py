"""Cluster -> :class:`~enforcer.policy.compiled.CompiledPolicy` of one node: a pure function.

A pod is isolated in a direction by any policy that selects it for that direction; what it may
exchange is the union of those policies' rules. Only policies that select a pod of this node are
looked at, and pods with the same policies (and, for ingress, the same named ports that these ask
for) share one class.

The remote side of ingress is the client, so a named port is resolved at the pod itself; the
remote side of egress is the server, so there it is resolved at each peer.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import assert_never
from weakref import WeakSet, WeakValueDictionary

from enforcer.model.net import LAST_PORT, Direction, PortRange
from enforcer.model.objects import (
    BlockPeer,
    EveryPeer,
    EveryPort,
    EveryPortOf,
    Key,
    NamedPort,
    NamedPortRef,
    Node,
    Peer,
    Pod,
    PodPeer,
    Policy,
    Rule,
)
from enforcer.model.selectors import EVERYTHING
from enforcer.policy import intervals
from enforcer.policy.addresses import one_pod_per_address, shared_addresses
from enforcer.policy.allow import Normaliser, Union
from enforcer.policy.cluster import Cluster
from enforcer.policy.compiled import Allowed, CompiledPolicy, LocalPod, PolicyClass, Problem
from enforcer.policy.groups import PeerPort, Reader, Selection, ports_named
from enforcer.policy.images import Remembered
from enforcer.policy.problems import problems_of

_ALL_PODS = PodPeer(EVERYTHING, EVERYTHING, own_namespace=False)
_FIRST_PORT = 0
"""Port 0 is nobody's, but "every port" leaves no number out."""


def compile_node(cluster: Cluster, node_name: str) -> CompiledPolicy:
    """Compile all that the node's kernel has to know from the cluster as it is now."""
    return NodeCompiler(cluster, node_name).compile()


class NodeCompiler:
    """Compiles one node again and again.

    The answer depends on the cluster as it is now and on nothing else; what has not changed since
    the last answer *is* the same object in it, so that whoever comes next can tell at a glance.
    A local pod holds its classes, a class its parts, a part its selections: what the last one
    lets go of is forgotten. A selection that changes outdates its parts, those their classes, those
    their pods: whatever is outdated holds nothing that is not looked at in the next answer.
    """

    def __init__(self, cluster: Cluster, node_name: str) -> None:
        """Compile for a node of ``cluster``, which may change between two compiles."""
        self._cluster = cluster
        self._node = node_name
        self._members: dict[Key, _Member] = {}
        self._classes = _Classes(cluster)
        self._conflicts = Remembered(shared_addresses)

    def compile(self) -> CompiledPolicy:
        """Return all that the node's kernel has to know."""
        self._members = {pod.key: self._member(pod) for pod in self._local_pods()}
        members = self._members.values()
        pods = tuple(member.current() for member in members)
        conflicts: tuple[Problem, ...] = ()
        if self._conflicts(tuple(pod.addresses for pod in pods)):
            pods, conflicts = one_pod_per_address(pods)
        policies = {policy.key: policy for member in members for policy in member.policies}
        node = self._cluster.nodes.get(self._node, Node(self._node, ()))
        return CompiledPolicy(
            node=self._node,
            pods=pods,
            pod_networks=self._cluster.pod_networks(node),
            node_addresses=self._cluster.node_addresses,
            problems=(*problems_of(self._cluster, self._node, policies), *conflicts),
        )

    def _local_pods(self) -> list[Pod]:
        on_node = self._cluster.pods_on(self._node)
        local = (pod for pod in on_node if pod.addresses and not pod.host_network)
        return sorted(local, key=lambda pod: (pod.key.namespace, pod.key.name))

    def _member(self, pod: Pod) -> _Member:
        among = self._cluster.policies_in(pod.key.namespace)
        known = self._members.get(pod.key)
        if known is not None and known.pod is pod and known.among is among:
            return known
        return _Member(pod, among, self._classes)


Policies = tuple[Policy, ...]
_Names = tuple[NamedPort, ...]
_ClassKey = tuple[Direction, tuple[Key, ...], _Names]
_PartKey = tuple[Key, Direction, _Names]


class _Classes:
    """The classes that pods of this node have, and the parts that those are made of."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._classes: WeakValueDictionary[_ClassKey, _Class] = WeakValueDictionary()
        self._parts: WeakValueDictionary[_PartKey, _Part] = WeakValueDictionary()

    def find(self, pod: Pod, direction: Direction, policies: Policies) -> _Class | None:
        """Return the class of a pod that these policies select; None: it is not isolated."""
        isolating = tuple(policy for policy in policies if direction in policy.rules)
        if not isolating:
            return None
        names = _ports_asked_of(pod, isolating) if direction is Direction.INGRESS else ()
        key = direction, tuple(policy.key for policy in isolating), names
        parts = tuple(self._part(policy, direction, names) for policy in isolating)
        known = self._classes.get(key)
        if known is None or known.parts != parts:
            known = self._classes[key] = _Class(direction, parts)
        return known

    def _part(self, policy: Policy, direction: Direction, names: _Names) -> _Part:
        key = policy.key, direction, names
        known = self._parts.get(key)
        if known is None or known.policy is not policy:
            known = self._parts[key] = _Part(self.cluster, policy, direction, names)
        return known


class _Member:
    """A local pod and the classes that it is in, as long as neither it nor its policies change."""

    def __init__(self, pod: Pod, among: Policies, classes: _Classes) -> None:
        self.pod = pod
        self.among = among
        self.policies = tuple(policy for policy in among if policy.pods.matches(pod.labels))
        self._ingress = classes.find(pod, Direction.INGRESS, self.policies)
        self._egress = classes.find(pod, Direction.EGRESS, self.policies)
        for item in (self._ingress, self._egress):
            if item is not None:
                item.members.add(self)
        self._stale = True
        self._last = LocalPod(pod.key, pod.addresses, uid=pod.uid)
        if pod.problem:
            self.policies, self._stale = (), False
            closed = {kind: PolicyClass(kind, (), Allowed()) for kind in Direction}
            self._last = LocalPod(
                pod.key,
                pod.addresses,
                closed[Direction.INGRESS],
                closed[Direction.EGRESS],
                pod.uid,
            )

    def outdate(self) -> None:
        """Note that one of its classes may be otherwise now."""
        self._stale = not self.pod.problem

    def current(self) -> LocalPod:
        """Return the pod with its classes as they are now."""
        if self._stale:
            ingress = self._ingress.current() if self._ingress else None
            egress = self._egress.current() if self._egress else None
            if ingress is not self._last.ingress or egress is not self._last.egress:
                self._last = replace(self._last, ingress=ingress, egress=egress)
            self._stale = False
        return self._last


class _Class:
    """A class of pods: the same parts in one direction."""

    def __init__(self, direction: Direction, parts: tuple[_Part, ...]) -> None:
        self.parts = parts
        self.members: WeakSet[_Member] = WeakSet()
        for part in parts:
            part.classes.add(self)
        self._stale = True
        self._normaliser = Normaliser()
        keys = tuple(part.policy.key for part in parts)
        self._last = PolicyClass(direction, keys, Allowed())

    def outdate(self) -> None:
        """Note that one of its parts may be otherwise now."""
        if not self._stale:
            self._stale = True
            for member in self.members:
                member.outdate()

    def current(self) -> PolicyClass:
        """Return what its pods may exchange now."""
        if self._stale:
            union = Union.of([part.current() for part in self.parts])
            self._renew(self._normaliser.normal(union))
            self._stale = False
        return self._last

    def _renew(self, allowed: Allowed) -> None:
        if allowed != self._last.allowed:
            self._last = PolicyClass(self._last.direction, self._last.policies, allowed)


class _Part(Reader):
    """What one policy allows in one direction; read again when pods that it means change."""

    def __init__(
        self, cluster: Cluster, policy: Policy, direction: Direction, names: _Names
    ) -> None:
        self.policy = policy
        self.classes: WeakSet[_Class] = WeakSet()
        self._direction = direction
        self._names = names
        self._stale = True
        self._union = Union()
        self._reader = _Reader(cluster, policy.key.namespace)

    def outdate(self) -> None:
        """Note that pods which the policy means have changed."""
        if not self._stale:
            self._stale = True
            for item in self.classes:
                item.outdate()

    def current(self) -> Union:
        """Return what the policy allows now."""
        if self._stale:
            self._union = self._reader.union(self.policy, self._direction, self._names)
            for selection in self._reader.asked:
                selection.readers.add(self)
            self._stale = False
        return self._union


class _Reader:
    """Reads the rules of one policy in one direction, time and again."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._union = Union()
        self._selections: dict[int, Selection] = {}
        """By the identity of their peers, which are the policy's: equal ones are as good."""

    @property
    def asked(self) -> Iterable[Selection]:
        """The selections that were asked."""
        return self._selections.values()

    def union(self, policy: Policy, direction: Direction, names: _Names) -> Union:
        """Return what the policy allows; ``names`` are the named ports of the pods themselves."""
        self._union = Union()
        for rule in policy.rules[direction]:
            self._add(rule)
            for port in _named(rule):
                if direction is Direction.INGRESS:
                    self._add_numbers(rule, ports_named(names, port))
                else:
                    self._add_named(rule, port)
        return self._union

    def _selection(self, peer: PodPeer) -> Selection:
        if id(peer) not in self._selections:
            self._selections[id(peer)] = self._cluster.selection(peer, self._namespace)
        return self._selections[id(peer)]

    def _add(self, rule: Rule) -> None:
        """Add what a rule allows, but for its named ports."""
        if not isinstance(rule.ports, EveryPort):
            self._add_numbers(rule, _numbers(rule.ports))
        elif isinstance(rule.peers, EveryPeer):
            self._union.everything = True
        else:
            for peer in rule.peers:
                self._add_peer(peer)

    def _add_peer(self, peer: Peer) -> None:
        match peer:
            case PodPeer():
                self._union.peers.append(self._selection(peer).addresses)
            case BlockPeer():
                self._union.blocks.append(intervals.of_block(peer))
            case _:
                assert_never(peer)

    def _add_numbers(self, rule: Rule, numbers: Iterable[PortRange]) -> None:
        for ports in numbers:
            if isinstance(rule.peers, EveryPeer):
                self._union.ports.append(ports)
                continue
            for peer in rule.peers:
                self._add_peer_on(peer, ports)

    def _add_peer_on(self, peer: Peer, ports: PortRange) -> None:
        match peer:
            case BlockPeer():
                self._union.blocks_on.append((ports, intervals.of_block(peer)))
            case PodPeer() if ports.is_single:
                self._union.peer_ports.append(self._selection(peer).on_port(ports))
            case PodPeer():
                self._union.peers_on.append((ports, self._selection(peer).addresses))
            case _:
                assert_never(peer)

    def _add_named(self, rule: Rule, port: NamedPortRef) -> None:
        """Add an egress rule's named port: a number of its own at each peer."""
        peers = (rule.peers,) if isinstance(rule.peers, EveryPeer) else rule.peers
        for peer in peers:
            self._union.peer_ports.append(self._on_named_port(peer, port))

    def _on_named_port(self, peer: Peer | EveryPeer, port: NamedPortRef) -> AbstractSet[PeerPort]:
        """Return peers with the port that each of them gives this name.

        An address that is no pod names no ports.
        """
        match peer:
            case PodPeer():
                return self._selection(peer).on_named_port(port)
            case EveryPeer():
                return self._selection(_ALL_PODS).on_named_port(port)
            case BlockPeer():
                inside = intervals.of_block(peer)
                named = self._selection(_ALL_PODS).on_named_port(port)
                return frozenset(item for item in named if intervals.contains(inside, item[0]))
        assert_never(peer)


def _ports_asked_of(pod: Pod, policies: tuple[Policy, ...]) -> tuple[NamedPort, ...]:
    """Return the pod's named ports that the policies' ingress rules ask for, in a fixed order."""
    asked = {
        (port.name, port.protocol)
        for policy in policies
        for rule in policy.rules[Direction.INGRESS]
        for port in _named(rule)
    }
    found = {item for item in pod.named_ports if (item.name, item.protocol) in asked}
    return tuple(sorted(found, key=lambda item: (item.name, item.protocol.value, item.port)))


def _named(rule: Rule) -> list[NamedPortRef]:
    if isinstance(rule.ports, EveryPort):
        return []
    return [port for port in rule.ports if isinstance(port, NamedPortRef)]


def _numbers(ports: Iterable[PortRange | NamedPortRef | EveryPortOf]) -> list[PortRange]:
    """Return the ports that have numbers whatever the peer is."""
    numbers = []
    for port in ports:
        match port:
            case PortRange():
                numbers.append(port)
            case EveryPortOf():
                numbers.append(PortRange(port.protocol, _FIRST_PORT, LAST_PORT))
            case NamedPortRef():
                pass
            case _:
                assert_never(port)
    return numbers
