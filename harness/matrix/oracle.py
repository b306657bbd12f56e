"""Who may reach whom, and which policy and rule decides: the judge.

Reads raw manifests and answers from the specification of NetworkPolicy ``networking.k8s.io/v1``:
the API reference (quoted as *API*: the comments of ``networking/v1/types.go`` of k8s.io/api 0.34.3)
https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/ and the
documentation (*Doc*) https://kubernetes.io/docs/concepts/services-networking/network-policies/.
It was written from those texts alone, without a look at any enforcer: a judge who shares the
mistakes of the judged would let them go.

Two things the specification leaves open, and the oracle decides. Where addresses are rewritten, "it
is not defined whether this happens before or after NetworkPolicy processing" (Doc): here a
connection is judged by its true client and its true backend, as far as the node in question knows
them. "For other protocols, such as ARP or ICMP, the behaviour is undefined" (Doc): here ICMP is
held to the API's "does not allow any traffic", and a rule that names no port admits it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.matrix.axes import Isolation
from harness.matrix.selectors import selects
from harness.matrix.world import Backend, Manifest, Peer, Pod, World, network_of


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
    isolation: Isolation = Isolation.NONE
    """Which directions' policies speak of it, and how they end."""

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
        # Doc: "both the egress policy on the source pod and the ingress policy on the destination
        # pod need to allow the connection."
        out = self._one_way(Direction.EGRESS, egress)
        into = self._one_way(Direction.INGRESS, ingress)
        denied = [reason for allowed, reason in (out, into) if not allowed]
        reasons = denied[:1] or list(dict.fromkeys((out[1], into[1])))
        return Judgement(not denied, tuple(reasons), _isolation(out, into))

    def _one_way(self, direction: Direction, flow: _Flow) -> Way:
        always = _always_allowed(flow)
        if always:
            return True, Reason(None, (), None, always)
        subject, other = _sides(direction, flow)
        isolating = self._isolating(subject.pod, direction)
        # Doc, by default: "a pod is non-isolated for egress; all outbound connections are allowed".
        if subject.pod is None or not isolating:
            sentence = f"Nothing isolates {subject} for {direction.value.lower()}."
            return True, Reason(direction, (), None, sentence)
        # Doc, on several policies: "Network policies do not conflict; they are additive."
        for policy in isolating:
            for number, rule in enumerate(_rules(policy, direction), start=1):
                if self._admits(policy, rule, other, direction, flow):
                    return True, _admitted(direction, policy, number, flow)
        return False, _denied(direction, isolating, flow)

    def _isolating(self, pod: Pod | None, direction: Direction) -> list[Manifest]:
        # Doc: "A pod is isolated for egress if there is any NetworkPolicy that both selects the
        # pod and has "Egress" in its policyTypes"; for ingress likewise.
        if pod is None:
            return []
        return [
            policy
            for policy in self._policies
            if _namespace_of(policy) == pod.namespace
            and direction in _directions(policy)
            and selects(policy["spec"].get("podSelector") or {}, pod.labels)
        ]

    def _admits(
        self, policy: Manifest, rule: Manifest, other: Peer, direction: Direction, flow: _Flow
    ) -> bool:
        # API: "The traffic must match both ports and from." API, from: "If this field is empty or
        # missing, this rule matches all sources"; to and ports likewise.
        peers = rule.get("from" if direction is Direction.INGRESS else "to")
        matched = not peers or any(self._is_peer(policy, peer, other) for peer in peers)
        ports = rule.get("ports")
        return matched and (not ports or any(_is_port(port, flow) for port in ports))

    def _is_peer(self, policy: Manifest, peer: Manifest, other: Peer) -> bool:
        # API, ipBlock: "If this field is set then neither of the other fields can be."
        if peer.get("ipBlock"):
            return _in_block(peer["ipBlock"], other)
        # Doc, of the most common implementation: "it ignores hostNetwork pods when matching
        # podSelector and namespaceSelector"; these have their node's address.
        if other.pod is None or not peer:
            return False
        # API, podSelector: with namespaceSelector "the pods matching podSelector in the Namespaces
        # selected by NamespaceSelector", else "in the policy's own namespace".
        namespaces = peer.get("namespaceSelector")
        if namespaces is None:
            near = other.pod.namespace == _namespace_of(policy)
        else:
            near = selects(namespaces, self.world.labels_of(other.pod.namespace))
        pods = peer.get("podSelector")
        return near and (pods is None or selects(pods, other.pod.labels))


Way = tuple[bool, Reason]


def _isolation(out: Way, into: Way) -> Isolation:
    spoken = bool(out[1].policies), bool(into[1].policies)
    if spoken != (True, True) or out[0] == into[0]:
        return _ISOLATION[spoken]
    return Isolation.EGRESS_ONLY_ALLOWS if out[0] else Isolation.INGRESS_ONLY_ALLOWS


_ISOLATION = {
    (False, False): Isolation.NONE,
    (True, False): Isolation.EGRESS,
    (False, True): Isolation.INGRESS,
    (True, True): Isolation.BOTH,
}


def _home(peer: Peer) -> str | None:
    return peer.pod.node if peer.pod else peer.node


def _always_allowed(flow: _Flow) -> str:
    # Doc: "a pod cannot block access to itself", and "traffic to and from the node where a Pod is
    # running is always allowed, regardless of the IP address of the Pod or the node".
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
    # Doc: "If no policyTypes are specified on a NetworkPolicy then by default Ingress will always
    # be set and Egress will be set if the NetworkPolicy has any egress rules."
    spec = policy["spec"]
    if spec.get("policyTypes"):
        return {Direction(name) for name in spec["policyTypes"]}
    return {Direction.INGRESS, *([Direction.EGRESS] if spec.get("egress") else [])}


def _rules(policy: Manifest, direction: Direction) -> list[dict[str, Any]]:
    return policy["spec"].get(direction.value.lower()) or []


def _in_block(block: Manifest, other: Peer) -> bool:
    # API, except: "a slice of CIDRs that should not be included within an IPBlock". An address of
    # the other family is in no CIDR of this one.
    inside = other.address in network_of(block["cidr"])
    return inside and not any(other.address in network_of(one) for one in block.get("except") or [])


def _is_port(port: Manifest, flow: _Flow) -> bool:
    # API, protocol: "If not specified, this field defaults to TCP."
    if (port.get("protocol") or "TCP") != flow.protocol:
        return False
    # API, port: "If this field is not provided, this matches all port names and numbers."
    wanted = port.get("port")
    if wanted is None:
        return True
    # API, port: "either [...] a numerical or named port on a pod": the pod that serves it knows
    if isinstance(wanted, str):
        pod = flow.server.pod
        return pod is not None and pod.number_of(wanted, flow.protocol) == flow.port
    # API, endPort: "the range of ports from port to endPort if set, inclusive"
    return bool(wanted <= flow.port <= (port.get("endPort") or wanted))


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
