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
from enforcer.policy import intervals
from enforcer.policy.addresses import one_pod_per_address
from enforcer.policy.allow import AllowedUnion
from enforcer.policy.cluster import Cluster
from enforcer.policy.compiled import Allowed, CompiledPolicy, LocalPod, PolicyClass
from enforcer.policy.peers import Peers, named_port
from enforcer.policy.problems import problems_of

_FIRST_PORT = 0
"""Port 0 is nobody's, but "every port" leaves no number out."""


def compile_node(cluster: Cluster, node_name: str) -> CompiledPolicy:
    """Compile all that the node's kernel has to know from the cluster as it is now."""
    compiler = _Compiler(cluster)
    local = sorted(
        (pod for pod in cluster.pods_on(node_name) if pod.addresses and not pod.host_network),
        key=lambda pod: pod.key,
    )
    pods, conflicts = one_pod_per_address([compiler.local_pod(pod) for pod in local])
    node = cluster.nodes.get(node_name, Node(node_name, ()))
    return CompiledPolicy(
        node=node_name,
        pods=pods,
        pod_networks=node.pod_networks,
        node_addresses=frozenset(
            item for each in cluster.nodes.values() for item in each.addresses
        ),
        problems=(*problems_of(cluster, node_name, compiler.policies), *conflicts),
    )


class _Compiler:
    """One compile: classes and questions to the cluster, each made once."""

    def __init__(self, cluster: Cluster) -> None:
        self.policies: dict[Key, Policy] = {}
        """The policies that select a pod of this node."""
        self._cluster = cluster
        self._peers = Peers(cluster)
        self._selecting: dict[tuple[str, frozenset[tuple[str, str]]], tuple[Policy, ...]] = {}
        self._classes: dict[
            tuple[Direction, tuple[Key, ...], tuple[NamedPort, ...]], PolicyClass
        ] = {}

    def local_pod(self, pod: Pod) -> LocalPod:
        if pod.problem:
            denied = (PolicyClass(direction, (), Allowed()) for direction in Direction)
            return LocalPod(pod.key, pod.addresses, *denied)
        policies = self._policies_of(pod)
        ingress = self._class(pod, Direction.INGRESS, policies)
        egress = self._class(pod, Direction.EGRESS, policies)
        return LocalPod(pod.key, pod.addresses, ingress, egress)

    def _policies_of(self, pod: Pod) -> tuple[Policy, ...]:
        namespace = pod.key.namespace
        scope = namespace, frozenset(pod.labels.items())
        if scope not in self._selecting:
            policies = self._cluster.policies_in(namespace)
            found = (policy for policy in policies if policy.pods.matches(pod.labels))
            self._selecting[scope] = tuple(sorted(found, key=lambda policy: policy.key))
            self.policies.update((policy.key, policy) for policy in self._selecting[scope])
        return self._selecting[scope]

    def _class(
        self, pod: Pod, direction: Direction, policies: tuple[Policy, ...]
    ) -> PolicyClass | None:
        isolating = tuple(policy for policy in policies if direction in policy.rules)
        if not isolating:
            return None
        keys = tuple(policy.key for policy in isolating)
        names = _ports_asked_of(pod, isolating) if direction is Direction.INGRESS else ()
        known = self._classes.get((direction, keys, names))
        if known is None:
            allowed = self._allowed(pod, direction, isolating)
            known = self._classes[direction, keys, names] = PolicyClass(direction, keys, allowed)
        return known

    def _allowed(self, pod: Pod, direction: Direction, policies: tuple[Policy, ...]) -> Allowed:
        union = AllowedUnion()
        for policy in policies:
            for rule in policy.rules[direction]:
                self._add(union, rule, policy.key.namespace)
                for port in _named(rule):
                    if direction is Direction.INGRESS:
                        self._add_numbers(union, rule, policy.key.namespace, named_port(pod, port))
                    else:
                        self._add_named(union, rule, policy.key.namespace, port)
        return union.total(self._peers.on_port)

    def _add(self, union: AllowedUnion, rule: Rule, namespace: str) -> None:
        """Add what a rule allows, but for its named ports."""
        if not isinstance(rule.ports, EveryPort):
            self._add_numbers(union, rule, namespace, _numbers(rule.ports))
        elif isinstance(rule.peers, EveryPeer):
            union.add_everything()
        else:
            for peer in rule.peers:
                self._add_peer(union, peer, namespace)

    def _add_peer(self, union: AllowedUnion, peer: Peer, namespace: str) -> None:
        match peer:
            case PodPeer():
                union.add_peers(self._peers.addresses(peer, namespace))
            case BlockPeer():
                union.add_block(intervals.of_block(peer))
            case _:
                assert_never(peer)

    def _add_numbers(
        self, union: AllowedUnion, rule: Rule, namespace: str, numbers: Iterable[PortRange]
    ) -> None:
        for ports in numbers:
            if isinstance(rule.peers, EveryPeer):
                union.add_ports(ports)
                continue
            for peer in rule.peers:
                self._add_peer_on(union, peer, namespace, ports)

    def _add_peer_on(
        self, union: AllowedUnion, peer: Peer, namespace: str, ports: PortRange
    ) -> None:
        match peer:
            case BlockPeer():
                union.add_block_on(intervals.of_block(peer), ports)
            case PodPeer():
                union.add_peers_on(self._peers.addresses(peer, namespace), ports)
            case _:
                assert_never(peer)

    def _add_named(
        self, union: AllowedUnion, rule: Rule, namespace: str, port: NamedPortRef
    ) -> None:
        """Add an egress rule's named port: a number of its own at each peer."""
        peers = (rule.peers,) if isinstance(rule.peers, EveryPeer) else rule.peers
        for peer in peers:
            union.add_peer_ports(self._peers.on_named_port(peer, namespace, port))


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
