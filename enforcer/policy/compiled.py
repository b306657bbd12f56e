"""The meaning of all policies for the pods of one node, free of Kubernetes and of nftables.

Selectors, rules and named ports are resolved into addresses, networks and ports. Everything in
here is a frozen value: equal clusters give equal values, whatever the order of events was.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from enforcer.model.changes import Kind
from enforcer.model.net import Direction, IPAddress, IPNetwork, PortRange, Protocol
from enforcer.model.objects import Key


@dataclass(frozen=True, slots=True)
class Allowed:
    """What one class of pods may exchange in one direction: the union of its rules.

    The remote side is the *client* for ingress and the *server* for egress; ports are always the
    server's. Each field allows by itself:

    ``everything``      every peer, every protocol, every port
    ``peers``           these addresses, every protocol and port (ICMP included)
    ``peer_ports``      these addresses on this port of this protocol
    ``ports``           every peer on these ports; ranges neither overlap nor touch
    ``networks``        these networks (excepts taken away already), every protocol and port
    ``network_ports``   these networks on these ports; also pod addresses (as /32 or /128) whose
                        rule names a range of ports instead of one

    Networks are normalised: none overlaps another within the same port range.
    """

    everything: bool = False
    peers: AbstractSet[IPAddress] = frozenset()
    peer_ports: AbstractSet[tuple[IPAddress, Protocol, int]] = frozenset()
    ports: frozenset[PortRange] = frozenset()
    networks: frozenset[IPNetwork] = frozenset()
    network_ports: frozenset[tuple[IPNetwork, PortRange]] = frozenset()


@dataclass(frozen=True, slots=True)
class PolicyClass:
    """Local pods with the same set of policies (and named ports) in one direction share a class.

    ``policies`` is sorted; it names the class for people (deny log, comments, explain).
    """

    direction: Direction
    policies: tuple[Key, ...]
    allowed: Allowed

    def __hash__(self) -> int:
        """Return a hash of what names the class: what it allows may be thousands of addresses."""
        return hash((self.direction, self.policies))


@dataclass(frozen=True, slots=True)
class LocalPod:
    """A pod of this node that has addresses; a direction without a class is not isolated."""

    key: Key
    addresses: tuple[IPAddress, ...]
    ingress: PolicyClass | None = None
    egress: PolicyClass | None = None
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be understood, and what was done about it, for event and log.

    The namespace of a cluster-wide subject (a node, a namespace) is empty.
    """

    subject: Key
    message: str
    kind: Kind = Kind.POLICIES


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """Everything that this node's kernel has to know. Pods are sorted by key.

    ``pod_networks`` are this node's, as far as its pods' addresses are from them;
    ``node_addresses`` are those of every node of the cluster.
    """

    node: str
    pods: tuple[LocalPod, ...]
    pod_networks: tuple[IPNetwork, ...]
    node_addresses: frozenset[IPAddress]
    problems: tuple[Problem, ...] = ()

    def classes(self) -> tuple[PolicyClass, ...]:
        """Return each class once."""
        found = (item for pod in self.pods for item in (pod.ingress, pod.egress) if item)
        return tuple({id(item): item for item in found}.values())
