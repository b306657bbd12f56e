"""Pod, Namespace, Node and Policy: what enforcement needs to know of each, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from enforcer.model.net import Direction, IPAddress, IPNetwork, PortRange, Protocol
from enforcer.model.selectors import Selector


class Key(NamedTuple):
    """Namespace and name of a namespaced object; prints as ``namespace/name``.

    A tuple, as thousands of lookups hash it and Python does that of tuples by itself.
    """

    namespace: str
    name: str

    def __str__(self) -> str:
        """Return ``namespace/name``."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class NamedPort:
    """A named containerPort, which a policy may refer to by name and protocol."""

    name: str
    protocol: Protocol
    port: int


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod.

    ``addresses`` is empty as long as the pod has none and once it is finished (Succeeded or
    Failed): a finished pod's address may already belong to another pod. A pod with
    ``host_network`` is not selected by policies and is no pod peer. Neither is a pod with a
    ``problem``, which says what of it could not be understood: it is denied in both directions.
    ``uid`` tells a pod from the next one of the same name.
    """

    key: Key
    node: str
    labels: Mapping[str, str]
    addresses: tuple[IPAddress, ...]
    host_network: bool = False
    named_ports: tuple[NamedPort, ...] = ()
    problem: str = ""
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace; ``labels`` always hold ``kubernetes.io/metadata.name``.

    With a ``problem`` its labels could not be understood: no namespaceSelector selects it.
    """

    name: str
    labels: Mapping[str, str]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A node: every address it is known by, and the ranges that its pods get addresses from."""

    name: str
    addresses: tuple[IPAddress, ...]
    pod_networks: tuple[IPNetwork, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PodPeer:
    """Pods as peers. ``namespaces`` selects among namespaces, ``pods`` among their pods (AND).

    A peer without ``namespaceSelector`` means the policy's own namespace: decoding gives it
    ``own_namespace`` and a ``namespaces`` selector that is not looked at.
    """

    pods: Selector
    namespaces: Selector
    own_namespace: bool


@dataclass(frozen=True, slots=True)
class BlockPeer:
    """An ``ipBlock``: the addresses of ``network`` that lie in none of ``excepts``."""

    network: IPNetwork
    excepts: tuple[IPNetwork, ...] = ()


Peer = PodPeer | BlockPeer


@dataclass(frozen=True, slots=True)
class EveryPeer:
    """``from``/``to`` missing or empty: whoever it is."""


@dataclass(frozen=True, slots=True)
class NamedPortRef:
    """A port by name: resolved at the *destination* pod."""

    name: str
    protocol: Protocol


@dataclass(frozen=True, slots=True)
class EveryPortOf:
    """A NetworkPolicyPort with a protocol and no port: all ports of that protocol."""

    protocol: Protocol


Port = PortRange | NamedPortRef | EveryPortOf


@dataclass(frozen=True, slots=True)
class EveryPort:
    """``ports`` missing or empty: every protocol, ICMP included."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One ingress or egress rule: any of ``peers`` on any of ``ports``."""

    peers: tuple[Peer, ...] | EveryPeer
    ports: tuple[Port, ...] | EveryPort


@dataclass(frozen=True, slots=True)
class Policy:
    """A NetworkPolicy. A direction that is not in ``rules`` is not isolated by it.

    ``rules[direction]`` empty means: isolated, and nothing allowed. A policy that could not be
    understood arrives with ``problem`` set, with every direction that it may isolate present and
    without rules: it denies.
    """

    key: Key
    pods: Selector
    rules: Mapping[Direction, tuple[Rule, ...]] = field(default_factory=dict)
    problem: str = ""

    @property
    def is_placed(self) -> bool:
        """Whether its namespace is known; one that is not placed selects in every namespace."""
        return bool(self.key.namespace)
