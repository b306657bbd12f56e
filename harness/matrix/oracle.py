"""Who may reach whom, and which policy and rule decides: the judge.

Reads raw manifests and answers from the specification of NetworkPolicy ``networking.k8s.io/v1``
(https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/). It was
written from that text alone, without a look at any enforcer: a judge who shares the mistakes of
the judged would let them go. It takes its time; it is asked some thousand times, not per packet.

What is always allowed, whatever policies say: a pod and itself, a node and the pods on it, both
ways.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.matrix.world import Backend, Manifest, Peer, Pod, World


class Direction(enum.Enum):
    """A policy's direction, as ``policyTypes`` has it."""

    INGRESS = "Ingress"
    EGRESS = "Egress"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why: the direction asked, the policies that decide (``namespace/name``), rule and sentence.

    ``rule`` counts from 1; it is ``None`` where no rule admits the connection, or none was asked.
    """

    direction: Direction | None
    policies: tuple[str, ...]
    rule: int | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a connection is allowed, and what decided; a denied one has one reason alone."""

    allowed: bool
    reasons: tuple[Reason, ...]

    def __str__(self) -> str:
        """Return the reasons as sentences."""
        return " ".join(reason.sentence for reason in self.reasons)


@dataclass(frozen=True, slots=True)
class _Flow:
    """What is judged: true client, true server, the server's own port, the protocol."""

    client: Peer
    server: Peer
    port: int
    protocol: str

    @property
    def what(self) -> str:
        return self.protocol if self.protocol == "ICMP" else f"{self.protocol} {self.port}"


class Oracle:
    """Answers for one state of a cluster."""

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        """Read Pods, Namespaces, Nodes, Services and NetworkPolicies as they are in the API."""
        objects = list(manifests)
        self._policies = [one for one in objects if one["kind"] == "NetworkPolicy"]
        self.world = World.read(objects)

    def judge(self, client: str, server: str, port: int = 0, protocol: str = "TCP") -> Judgement:
        """Say whether ``client`` may reach ``server``; both are addresses.

        A Service's address is judged by its true backends. Where it has several, the judgement
        is that of the first one which is denied, so that *allowed* means: whichever is chosen.
        """
        ends = self.world.backends(server, port, protocol)
        if not ends:
            reason = Reason(None, (), None, f"No ready pod is behind {server} port {port}.")
            return Judgement(allowed=False, reasons=(reason,))
        judgements = [self._judge(client, server, port, protocol, end) for end in ends]
        return next((one for one in judgements if not one.allowed), judgements[0])

    def _judge(self, client: str, server: str, port: int, protocol: str, end: Backend) -> Judgement:
        origin, target = self.world.peer(client), self.world.peer(end.address)
        flow = _Flow(origin, target, end.port, protocol)
        ingress = egress = flow
        if end.through is not None:
            # The client's node knows the backend only if the NodePort is its own; the backend's
            # node knows the client only if no other node has put its own address there.
            if end.through != _home(origin):
                egress = _Flow(origin, self.world.peer(server), port, protocol)
            if end.through != _home(target):
                ingress = _Flow(self.world.peer(server), target, end.port, protocol)
        return self._both(egress, ingress)

    def _both(self, egress: _Flow, ingress: _Flow) -> Judgement:
        reasons = []
        for direction, flow in ((Direction.EGRESS, egress), (Direction.INGRESS, ingress)):
            allowed, reason = self._one_way(direction, flow)
            if not allowed:
                return Judgement(allowed=False, reasons=(reason,))
            reasons.append(reason)
        distinct = tuple(dict.fromkeys(reasons))
        return Judgement(allowed=True, reasons=distinct)

    def _one_way(self, direction: Direction, flow: _Flow) -> tuple[bool, Reason]:
        always = _always_allowed(flow)
        if always:
            return True, Reason(None, (), None, always)
        subject, other = _sides(direction, flow)
        isolating = self._isolating(subject.pod, direction)
        if subject.pod is None or not isolating:
            sentence = f"Nothing isolates {subject} for {direction.value.lower()}."
            return True, Reason(direction, (), None, sentence)
        for policy in isolating:
            for number, rule in enumerate(_rules(policy, direction), start=1):
                if self._admits(policy, rule, other, direction, flow):
                    return True, _admitted(direction, policy, number, flow)
        return False, _denied(direction, isolating, flow)

    def _isolating(self, pod: Pod | None, direction: Direction) -> list[Manifest]:
        if pod is None:
            return []
        return [
            policy
            for policy in self._policies
            if _namespace_of(policy) == pod.namespace
            and direction in _directions(policy)
            and _selects(policy["spec"].get("podSelector") or {}, pod.labels)
        ]

    def _admits(
        self, policy: Manifest, rule: Manifest, other: Peer, direction: Direction, flow: _Flow
    ) -> bool:
        peers = rule.get("from" if direction is Direction.INGRESS else "to")
        # Missing or empty: "this rule matches all sources" (or destinations)
        matched = not peers or any(self._is_peer(policy, peer, other) for peer in peers)
        ports = rule.get("ports")
        return matched and (not ports or any(_is_port(port, flow) for port in ports))

    def _is_peer(self, policy: Manifest, peer: Manifest, other: Peer) -> bool:
        if peer.get("ipBlock"):
            return _in_block(peer["ipBlock"], other)
        if other.pod is None or not peer:
            return False
        namespaces = peer.get("namespaceSelector")
        if namespaces is None:
            near = other.pod.namespace == _namespace_of(policy)
        else:
            near = _selects(namespaces, self.world.labels_of(other.pod.namespace))
        pods = peer.get("podSelector")
        return near and (pods is None or _selects(pods, other.pod.labels))


def _home(peer: Peer) -> str | None:
    return peer.pod.node if peer.pod else peer.node


def _always_allowed(flow: _Flow) -> str:
    client, server = flow.client, flow.server
    if client.pod and client.pod is server.pod:
        return f"A pod may always reach itself ({client})."
    if client.node and server.pod and server.pod.node == client.node:
        return f"A node may always reach its own pods ({client}, {server})."
    if server.node and client.pod and client.pod.node == server.node:
        return f"A pod may always reach its own node ({client}, {server})."
    return ""


def _namespace_of(policy: Manifest) -> str:
    return str(policy["metadata"].get("namespace", "default"))


def _name(policy: Manifest) -> str:
    return f"{_namespace_of(policy)}/{policy['metadata']['name']}"


def _directions(policy: Manifest) -> set[Direction]:
    """Apply the defaults of ``policyTypes``: Ingress always, Egress where there is an egress."""
    spec = policy["spec"]
    if spec.get("policyTypes"):
        return {Direction(name) for name in spec["policyTypes"]}
    return {Direction.INGRESS, *([Direction.EGRESS] if spec.get("egress") else [])}


def _rules(policy: Manifest, direction: Direction) -> list[dict[str, Any]]:
    return policy["spec"].get(direction.value.lower()) or []


def _selects(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """Ask a LabelSelector; an empty one selects everything."""
    wanted = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or []
    return wanted.items() <= labels.items() and all(_meets(one, labels) for one in expressions)


def _meets(expression: Manifest, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case operator:
            message = f"no such operator in a label selector: {operator}"
            raise ValueError(message)


def _in_block(block: Manifest, other: Peer) -> bool:
    inside = other.address in ipaddress.ip_network(block["cidr"], strict=False)
    excepted = (ipaddress.ip_network(one, strict=False) for one in block.get("except") or [])
    return inside and not any(other.address in network for network in excepted)


def _is_port(port: Manifest, flow: _Flow) -> bool:
    if port.get("protocol", "TCP") != flow.protocol:
        return False
    wanted = port.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, str):
        pod = flow.server.pod
        return pod is not None and pod.number_of(wanted, flow.protocol) == flow.port
    return bool(wanted <= flow.port <= port.get("endPort", wanted))


def _sides(direction: Direction, flow: _Flow) -> tuple[Peer, Peer]:
    """Return the end that a direction's policies select, then the other."""
    if direction is Direction.EGRESS:
        return flow.client, flow.server
    return flow.server, flow.client


def _between(direction: Direction, flow: _Flow) -> str:
    _, other = _sides(direction, flow)
    return f"{flow.what} {'from' if direction is Direction.INGRESS else 'to'} {other}"


def _admitted(direction: Direction, policy: Manifest, number: int, flow: _Flow) -> Reason:
    subject, _ = _sides(direction, flow)
    sentence = (
        f"{direction.value} rule {number} of {_name(policy)} admits"
        f" {_between(direction, flow)} at {subject}."
    )
    return Reason(direction, (_name(policy),), number, sentence)


def _denied(direction: Direction, isolating: list[Manifest], flow: _Flow) -> Reason:
    names = tuple(_name(policy) for policy in isolating)
    subject, _ = _sides(direction, flow)
    sentence = (
        f"{subject} is isolated for {direction.value.lower()} by {' and '.join(names)},"
        f" {_none_admits(sum(len(_rules(policy, direction)) for policy in isolating))}"
        f" {_between(direction, flow)}."
    )
    return Reason(direction, names, None, sentence)


def _none_admits(rules: int) -> str:
    match rules:
        case 0:
            return "and no rule admits"
        case 1:
            return "whose only rule does not admit"
        case _:
            return f"none of whose {rules} rules admits"
