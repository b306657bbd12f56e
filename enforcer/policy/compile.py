"""Cluster -> :class:`~enforcer.policy.compiled.CompiledPolicy` of one node: a pure function.

A pod is isolated in a direction by any policy that selects it for that direction; what it may
exchange is the union of those policies' rules. Only policies that select a pod of this node are
looked at, and pods with the same policies (and, for ingress, the same named ports that these ask
for) share one class.

The remote side of ingress is the client, so a named port is resolved at the pod itself; the
remote side of egress is the server, so there it is resolved at each peer.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

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
from enforcer.policy.addresses import one_pod_per_address
from enforcer.policy.allow import Normaliser, Union
from enforcer.policy.cluster import Cluster
from enforcer.policy.compiled import Allowed, CompiledPolicy, LocalPod, PolicyClass
from enforcer.policy.groups import PeerPort, Selection, ports_named
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
    """

    def __init__(self, cluster: Cluster, node_name: str) -> None:
        """Compile for a node of ``cluster``, which may change between two compiles."""
        self._cluster = cluster
        self._node = node_name
        self._parts: dict[_PartKey, _Part] = {}
        self._classes: dict[_ClassKey, _Class] = {}
        self._selecting: dict[_Scope, tuple[Policies, Policies]] = {}
        self._pods: dict[Key, tuple[Pod, LocalPod]] = {}

    def compile(self) -> CompiledPolicy:
        """Return all that the node's kernel has to know."""
        compiling = _Compiling(self._cluster, self._parts, self._classes, self._selecting)
        on_node = self._cluster.pods_on(self._node)
        local = sorted(
            (pod for pod in on_node if pod.addresses and not pod.host_network),
            key=lambda pod: pod.key,
        )
        found = {pod.key: (pod, self._same(pod, compiling.local_pod(pod))) for pod in local}
        # What nobody asked for this time is forgotten, and with it the selections that it held.
        self._parts, self._classes = compiling.parts, compiling.classes
        self._selecting, self._pods = compiling.selecting, found
        pods, conflicts = one_pod_per_address([item for _, item in found.values()])
        node = self._cluster.nodes.get(self._node, Node(self._node, ()))
        problems = problems_of(self._cluster, self._node, compiling.policies())
        return CompiledPolicy(
            node=self._node,
            pods=pods,
            pod_networks=node.pod_networks,
            node_addresses=self._cluster.node_addresses,
            problems=(*problems, *conflicts),
        )

    def _same(self, pod: Pod, new: LocalPod) -> LocalPod:
        """Return the last answer for a pod where it is still the same."""
        known = self._pods.get(pod.key)
        if known is None or known[0] is not pod:
            return new
        same = known[1].ingress is new.ingress and known[1].egress is new.egress
        return known[1] if same else new


Policies = tuple[Policy, ...]
_Scope = tuple[str, frozenset[tuple[str, str]]]
_Names = tuple[NamedPort, ...]
_PartKey = tuple[Key, Direction, _Names]
_ClassKey = tuple[Direction, tuple[Key, ...], _Names]


@dataclass(frozen=True, slots=True)
class _Part:
    """What one policy allows in one direction, and what that was made of."""

    policy: Policy
    union: Union
    selections: tuple[tuple[Selection, int], ...]

    def holds(self, policy: Policy) -> bool:
        """Whether it is still what ``policy`` allows."""
        return self.policy is policy and all(
            selection.revision == revision for selection, revision in self.selections
        )


@dataclass(frozen=True, slots=True)
class _Class:
    """A class of pods, and the parts that it was made of."""

    parts: tuple[_Part, ...]
    normaliser: Normaliser
    compiled: PolicyClass


class _Compiling:
    """One compile: what it finds still true of the last one it takes over."""

    def __init__(
        self,
        cluster: Cluster,
        parts: Mapping[_PartKey, _Part],
        classes: Mapping[_ClassKey, _Class],
        selecting: Mapping[_Scope, tuple[Policies, Policies]],
    ) -> None:
        self.parts: dict[_PartKey, _Part] = {}
        self.classes: dict[_ClassKey, _Class] = {}
        self.selecting: dict[_Scope, tuple[Policies, Policies]] = {}
        self._cluster = cluster
        self._old_parts, self._old_classes, self._old_selecting = parts, classes, selecting

    def policies(self) -> dict[Key, Policy]:
        """Return the policies that select a pod of this node."""
        return {policy.key: policy for _, found in self.selecting.values() for policy in found}

    def local_pod(self, pod: Pod) -> LocalPod:
        if pod.problem:
            denied = (PolicyClass(direction, (), Allowed()) for direction in Direction)
            return LocalPod(pod.key, pod.addresses, *denied)
        policies = self._policies_of(pod)
        ingress = self._class(pod, Direction.INGRESS, policies)
        egress = self._class(pod, Direction.EGRESS, policies)
        return LocalPod(pod.key, pod.addresses, ingress, egress)

    def _policies_of(self, pod: Pod) -> Policies:
        scope = pod.key.namespace, frozenset(pod.labels.items())
        if scope not in self.selecting:
            among = self._cluster.policies_in(pod.key.namespace)
            known = self._old_selecting.get(scope)
            if known is None or known[0] is not among:
                known = among, tuple(item for item in among if item.pods.matches(pod.labels))
            self.selecting[scope] = known
        return self.selecting[scope][1]

    def _class(self, pod: Pod, direction: Direction, policies: Policies) -> PolicyClass | None:
        isolating = tuple(policy for policy in policies if direction in policy.rules)
        if not isolating:
            return None
        names = _ports_asked_of(pod, isolating) if direction is Direction.INGRESS else ()
        key = direction, tuple(policy.key for policy in isolating), names
        if key not in self.classes:
            self.classes[key] = self._made_class(key, isolating)
        return self.classes[key].compiled

    def _made_class(self, key: _ClassKey, policies: Policies) -> _Class:
        direction, keys, names = key
        parts = tuple(self._part(policy, direction, names) for policy in policies)
        known = self._old_classes.get(key)
        if known is not None and all(map(operator.is_, known.parts, parts)):
            return known
        union = Union()
        for part in parts:
            union.add(part.union)
        normaliser = known.normaliser if known else Normaliser()
        compiled = PolicyClass(direction, keys, normaliser.normal(union))
        if known is not None and known.compiled == compiled:
            compiled = known.compiled
        return _Class(parts, normaliser, compiled)

    def _part(self, policy: Policy, direction: Direction, names: _Names) -> _Part:
        key = policy.key, direction, names
        if key not in self.parts:
            known = self._old_parts.get(key)
            if known is None or not known.holds(policy):
                known = _Reading(self._cluster, policy.key.namespace).part(policy, direction, names)
            self.parts[key] = known
        return self.parts[key]


class _Reading:
    """Reads the rules of one policy in one direction."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._union = Union()
        self._asked: dict[PodPeer, Selection] = {}

    def part(self, policy: Policy, direction: Direction, names: _Names) -> _Part:
        """Return what the policy allows; ``names`` are the named ports of ingress' own pod."""
        for rule in policy.rules[direction]:
            self._add(rule)
            for port in _named(rule):
                if direction is Direction.INGRESS:
                    self._add_numbers(rule, ports_named(names, port))
                else:
                    self._add_named(rule, port)
        asked = tuple((selection, selection.revision) for selection in self._asked.values())
        return _Part(policy, self._union, asked)

    def _selection(self, peer: PodPeer) -> Selection:
        if peer not in self._asked:
            self._asked[peer] = self._cluster.selection(peer, self._namespace)
        return self._asked[peer]

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

    def _on_named_port(self, peer: Peer | EveryPeer, port: NamedPortRef) -> frozenset[PeerPort]:
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
