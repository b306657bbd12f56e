"""Why a connection is allowed or denied: policy by policy, rule by rule, in words.

Reads each rule as it stands and for one connection only, not what :mod:`enforcer.policy.compile`
made of all rules: whoever asks compares both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from enforcer.model.net import Direction, IPAddress, PortRange, Protocol
from enforcer.model.objects import (
    BlockPeer,
    EveryPeer,
    EveryPort,
    EveryPortOf,
    Key,
    NamedPortRef,
    Peer,
    Pod,
    PodPeer,
    Policy,
    Port,
    Rule,
)
from enforcer.model.selectors import Labels, Operator, Requirement, Selector
from enforcer.policy import intervals
from enforcer.policy.cluster import Cluster
from enforcer.policy.compiled import Allowed
from enforcer.policy.groups import ports_named


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a connection carries: a transport protocol and the server's port, or ICMP (None)."""

    protocol: Protocol | None
    port: int = 0

    def __str__(self) -> str:
        """Return ``TCP 80``, or ``ICMP``."""
        return f"{self.protocol.value} {self.port}" if self.protocol else "ICMP"


@dataclass(frozen=True, slots=True)
class End:
    """One end of a connection: an address, and the pod that policies know it as."""

    address: IPAddress
    pod: Pod | None = None

    @property
    def peer(self) -> Pod | None:
        """The pod, if it can be a pod peer."""
        usable = self.pod and not self.pod.host_network and not self.pod.problem
        return self.pod if usable else None

    def __str__(self) -> str:
        """Return the pod's key, or the address."""
        return str(self.pod.key) if self.pod else str(self.address)


@dataclass(frozen=True, slots=True)
class Connection:
    """The question: whether ``client`` may open this to ``server``."""

    client: End
    server: End
    traffic: Traffic

    def local(self, direction: Direction) -> End:
        """Return the end whose policies are asked in this direction."""
        return self.server if direction is Direction.INGRESS else self.client

    def remote(self, direction: Direction) -> End:
        """Return the end that has to be among the peers in this direction."""
        return self.client if direction is Direction.INGRESS else self.server


@dataclass(frozen=True, slots=True)
class RuleReason:
    """Whether one rule allows the connection, and why (not)."""

    policy: Key
    rule: int
    allows: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Bystander:
    """A policy of the pod's namespace that does not isolate it in this direction, and why."""

    policy: Key
    reason: str


@dataclass(frozen=True, slots=True)
class Reasons:
    """One direction: who isolates the pod, what each rule says, and who stands aside."""

    isolated_by: tuple[Key, ...] = ()
    rules: tuple[RuleReason, ...] = ()
    bystanders: tuple[Bystander, ...] = ()

    @property
    def allows(self) -> bool:
        """Whether the rules let the connection pass in this direction."""
        return not self.isolated_by or any(rule.allows for rule in self.rules)


def reasons(cluster: Cluster, connection: Connection, direction: Direction) -> Reasons:
    """Ask every policy in the namespace of the pod at the end that ``direction`` is about."""
    pod = connection.local(direction).pod
    if pod is None or pod.host_network:
        return Reasons()
    isolating: list[Policy] = []
    bystanders: list[Bystander] = []
    for policy in sorted(cluster.policies_in(pod.key.namespace), key=lambda item: item.key):
        if aside := _stands_aside(policy, pod, direction):
            bystanders.append(Bystander(policy.key, aside))
        else:
            isolating.append(policy)
    judge = _Judge(cluster, connection, direction)
    rules = tuple(found for policy in isolating for found in judge.rules(policy))
    return Reasons(tuple(item.key for item in isolating), rules, tuple(bystanders))


def allowed_by(allowed: Allowed, peer: IPAddress, traffic: Traffic) -> bool:
    """Whether a compiled class allows the traffic with a peer."""
    if allowed.everything or peer in allowed.peers:
        return True
    if any(_in_network(peer, network) for network in allowed.networks):
        return True
    if traffic.protocol is None:
        return False
    return (
        (peer, traffic.protocol, traffic.port) in allowed.peer_ports
        or any(_in_range(traffic, ports) for ports in allowed.ports)
        or any(
            _in_range(traffic, ports) and _in_network(peer, network)
            for network, ports in allowed.network_ports
        )
    )


def _in_network(address: IPAddress, network: object) -> bool:
    return address in network  # type: ignore[operator]  # False where the versions differ


def _in_range(traffic: Traffic, ports: PortRange) -> bool:
    return traffic.protocol is ports.protocol and ports.first <= traffic.port <= ports.last


def _stands_aside(policy: Policy, pod: Pod, direction: Direction) -> str:
    """Return why a policy does not isolate a pod; empty when it does."""
    if miss := _miss(policy.pods, pod.labels):
        return f"podSelector: the pod {miss}"
    if direction not in policy.rules:
        return f"it does not isolate for {direction.value} (policyTypes)"
    return ""


class _Judge:
    """Asks the rules of one direction about one connection."""

    def __init__(self, cluster: Cluster, connection: Connection, direction: Direction) -> None:
        self._cluster = cluster
        self._direction = direction
        self._remote = connection.remote(direction)
        self._server = connection.server
        self._traffic = connection.traffic

    def rules(self, policy: Policy) -> Iterator[RuleReason]:
        found = policy.rules[self._direction]
        if policy.problem:
            yield RuleReason(policy.key, -1, allows=False, reason=f"denies: {policy.problem}")
        elif not found:
            yield RuleReason(policy.key, -1, allows=False, reason="it has no rule: allows nothing")
        for number, rule in enumerate(found):
            allows, reason = self._rule(rule, policy.key.namespace)
            yield RuleReason(policy.key, number, allows, reason)

    def _rule(self, rule: Rule, namespace: str) -> tuple[bool, str]:
        has_peer, peer = self._peers(rule, namespace)
        has_port, port = self._ports(rule)
        missed = [text for hit, text in ((has_peer, peer), (has_port, port)) if not hit]
        return not missed, "; ".join(missed) or f"{peer}, {port}"

    def _peers(self, rule: Rule, namespace: str) -> tuple[bool, str]:
        if isinstance(rule.peers, EveryPeer):
            return True, "every peer"
        answers = [self._peer(peer, namespace) for peer in rule.peers]
        for number, (peer, miss) in enumerate(zip(rule.peers, answers, strict=True)):
            if not miss:
                return True, f"peer {number} ({_peer_text(peer, namespace)}) has {self._remote}"
        told = (f"peer {number}: {miss}" for number, miss in enumerate(answers))
        return False, "; ".join(told)

    def _peer(self, peer: Peer, namespace: str) -> str:
        """Return why the remote end is not meant by a peer; empty when it is."""
        match peer:
            case BlockPeer():
                inside = intervals.contains(intervals.of_block(peer), self._remote.address)
                return "" if inside else f"{self._remote.address} is not in {_block_text(peer)}"
            case PodPeer():
                return self._pod_peer(peer, namespace)
        assert_never(peer)

    def _pod_peer(self, peer: PodPeer, namespace: str) -> str:
        pod = self._remote.peer
        if pod is None:
            return f"{self._remote} is no pod that a selector can mean"
        if self._cluster.is_contested(self._remote.address):
            return f"{self._remote.address} is claimed by several pods, and so nobody's"
        if peer.own_namespace:
            if pod.key.namespace != namespace:
                return f"{pod.key} is not in namespace {namespace}"
        elif miss := self._namespace_miss(peer.namespaces, pod.key.namespace):
            return f"namespaceSelector: namespace {pod.key.namespace} {miss}"
        miss = _miss(peer.pods, pod.labels)
        return f"podSelector: {pod.key} {miss}" if miss else ""

    def _namespace_miss(self, selector: Selector, name: str) -> str:
        namespace = self._cluster.namespaces.get(name)
        if namespace is None:
            return "does not exist"
        return namespace.problem or _miss(selector, namespace.labels)

    def _ports(self, rule: Rule) -> tuple[bool, str]:
        if isinstance(rule.ports, EveryPort):
            return True, "every protocol and port"
        for port in rule.ports:
            if any(_in_range(self._traffic, ports) for ports in self._numbers(port)):
                return True, f"port {_port_text(port)}"
        named = ", ".join(map(self._named_text, rule.ports))
        return False, f"ports: {self._traffic} is not among {named}"

    def _numbers(self, port: Port) -> list[PortRange]:
        match port:
            case PortRange():
                return [port]
            case EveryPortOf():
                return [PortRange(port.protocol, 0, 0xFFFF)]
            case NamedPortRef():
                # Named ports are the destination's, in both directions.
                pod = self._server.peer
                return ports_named(pod.named_ports, port) if pod else []
        assert_never(port)

    def _named_text(self, port: Port) -> str:
        if not isinstance(port, NamedPortRef):
            return _port_text(port)
        numbers = ", ".join(str(item.first) for item in self._numbers(port))
        return f"{_port_text(port)} (at {self._server}: {numbers or 'no such port'})"


def _miss(selector: Selector, labels: Labels) -> str:
    """Return which requirement labels do not meet; empty when they meet all."""
    for item in selector.requirements:
        if not item.matches(labels):
            there = f"{item.key}={labels[item.key]}" if item.key in labels else f"no {item.key}"
            return f"has {there}, wanted {_requirement_text(item)}"
    return ""


def _requirement_text(item: Requirement) -> str:
    values = sorted(item.values)
    match item.operator:
        case Operator.IN:
            return f"{item.key}={values[0]}" if len(values) == 1 else f"{item.key} in {values}"
        case Operator.NOT_IN:
            return f"{item.key} not in {values}"
        case Operator.EXISTS:
            return f"any {item.key}"
        case Operator.DOES_NOT_EXIST:
            return f"no {item.key}"
    assert_never(item.operator)


def selector_text(selector: Selector, what: str) -> str:
    """Return a selector in words, e.g. ``pods with app=web``."""
    if not selector.requirements:
        return f"every {what}"
    return f"{what}s with {', '.join(map(_requirement_text, selector.requirements))}"


def _peer_text(peer: Peer, namespace: str) -> str:
    match peer:
        case BlockPeer():
            return _block_text(peer)
        case PodPeer():
            of = namespace if peer.own_namespace else selector_text(peer.namespaces, "namespace")
            return f"{selector_text(peer.pods, 'pod')} of {of}"
    assert_never(peer)


def _block_text(block: BlockPeer) -> str:
    excepts = ", ".join(map(str, block.excepts[:_MOST_SHOWN]))
    more = ", ..." if len(block.excepts) > _MOST_SHOWN else ""
    return f"ipBlock {block.network}" + (f" except {excepts}{more}" if excepts else "")


_MOST_SHOWN = 10


def _port_text(port: Port) -> str:
    match port:
        case PortRange():
            last = "" if port.is_single else f"-{port.last}"
            return f"{port.protocol.value} {port.first}{last}"
        case EveryPortOf():
            return f"{port.protocol.value}, every port"
        case NamedPortRef():
            return f"{port.protocol.value} {port.name!r}"
    assert_never(port)
