"""The axes on which cases and cells are told apart, and the words by which people select them.

Cells have a placement, an address, a direction, a protocol and a family; a step has a state; a
cluster has a wiring, a proxy and a family. Every stored result carries all of them.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from harness.errors import UsageError


class Placement(enum.Enum):
    """Where client and server are to each other: the axis that no public suite crosses."""

    SELF = "self"
    SAME_NODE = "same_node"
    OTHER_NODE = "other_node"
    HOST_TO_OWN_POD = "host_to_own_pod"
    HOST_TO_REMOTE_POD = "host_to_remote_pod"
    POD_TO_OWN_HOST = "pod_to_own_host"
    POD_TO_REMOTE_HOST = "pod_to_remote_host"
    FROM_OUTSIDE = "from_outside"
    TO_OUTSIDE = "to_outside"
    CONTROL = "control"
    """No pod takes part: what proves that a host outside reaches, or answers, anybody at all."""


class AddressKind(enum.Enum):
    """By which address of the server the client comes."""

    POD_IP = "pod_ip"
    CLUSTER_IP = "cluster_ip"
    HAIRPIN = "hairpin"
    """A pod's own Service's ClusterIP, as seen by itself."""
    NODE_PORT = "node_port"
    """The server's Service at the client's own node; from outside, at the server's node."""
    NODE_PORT_ELSEWHERE = "node_port_elsewhere"
    """The same at a node that is not the client's; from outside, not the server's."""
    NODE_IP = "node_ip"
    EXTERNAL = "external"


class Protocol(enum.Enum):
    """What a probe speaks, as policies call it; no policy can name ICMP."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"
    ICMP = "ICMP"


class Family(enum.Enum):
    """Which addresses: of a probe, or of a cluster (where ``dual`` is both)."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    DUAL = "dual"


class Isolation(enum.Enum):
    """Which direction's policies speak of a connection, and how they end: the axis *direction*."""

    NONE = "none"
    INGRESS = "ingress"
    EGRESS = "egress"
    BOTH = "both"
    EGRESS_ONLY_ALLOWS = "egress_allows_ingress_denies"
    INGRESS_ONLY_ALLOWS = "ingress_allows_egress_denies"


class State(enum.Enum):
    """What a connection has behind it."""

    NEW = "new"
    ESTABLISHED = "established"
    """Opened before the change, asked after it."""
    AFTER_RESTART = "after_restart"
    """New, after the enforcer was restarted."""
    AT_START = "at_start"
    """New, of or to a pod that has only just started."""

    def between(self, started: Collection[str], *ends: str) -> State:
        """Return what a step of this state is for a connection: old pods see no start."""
        fresh = not started or any(end in started for end in ends)
        return State.NEW if self is State.AT_START and not fresh else self


class Wiring(enum.Enum):
    """How pods are connected to their node."""

    ROUTED = "routed"
    BRIDGED = "bridged"
    """A Linux bridge a node, bridge-nf-call-iptables 0."""
    BRIDGED_NF = "bridged_nf"
    """The same with bridge-nf-call-iptables 1."""
    BRIDGES = "bridges"
    """Several bridges a node, bridge-nf-call-iptables 0."""


class Proxy(enum.Enum):
    """Who turns a Service's address into a backend's."""

    NFTABLES = "nftables"
    KUBE_PROXY_NFTABLES = "kube_proxy_nftables"
    KUBE_PROXY_IPTABLES = "kube_proxy_iptables"
    KUBE_PROXY_IPVS = "kube_proxy_ipvs"


AXES: Mapping[str, type[enum.Enum]] = {
    "placement": Placement,
    "address": AddressKind,
    "proxy": Proxy,
    "wiring": Wiring,
    "direction": Isolation,
    "protocol": Protocol,
    "family": Family,
    "state": State,
}


def plain(text: str) -> str:
    """Return a word without what people write in different ways: ClusterIP is cluster_ip."""
    return re.sub(r"[-_ ]", "", text).lower()


@dataclass(frozen=True, slots=True)
class Selection:
    """What ``--select`` asks for: for each axis that it names, the values that will do."""

    wanted: Mapping[str, frozenset[str]]

    def takes(self, axis: str, value: enum.Enum | str) -> bool:
        """Whether a value of an axis is asked for; axes that were not named take everything."""
        text = value if isinstance(value, str) else str(value.value)
        return axis not in self.wanted or text in self.wanted[axis]

    def takes_any(self, axis: str, values: Iterable[enum.Enum]) -> bool:
        """Whether one of several values is asked for."""
        return any(self.takes(axis, value) for value in values)


EVERYTHING = Selection({})


def parse_selection(text: str) -> Selection:
    """Read ``placement=same-node address=ClusterIP,NodePort``; UsageError with every mistake."""
    wanted: dict[str, frozenset[str]] = {}
    mistakes: list[str] = []
    for word in text.split():
        axis, equals, values = word.partition("=")
        if not equals or axis not in AXES:
            mistakes.append(f"--select: {word!r} is not AXIS=VALUE; axes are {', '.join(AXES)}")
            continue
        known = {plain(str(one.value)): str(one.value) for one in AXES[axis]}
        mistakes += [
            f"--select: {axis} has no {value!r}; there are {', '.join(known.values())}"
            for value in values.split(",")
            if plain(value) not in known
        ]
        wanted[axis] = frozenset(known.get(plain(one), "") for one in values.split(","))
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return Selection(wanted)
