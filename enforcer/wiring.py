"""How this node's pods are connected, as a value: the interfaces that lead to them, the bridges.

:mod:`enforcer.links` reads it from the kernel.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from enforcer.model.net import IPAddress


class BridgeFlag(enum.Enum):
    """A bridge's own flags that hand its packets to netfilter, by ip's names."""

    IPV4 = "nf_call_iptables"
    IPV6 = "nf_call_ip6tables"


@dataclass(frozen=True, slots=True)
class BridgePort:
    """A port of a pod bridge and the local pod addresses that were seen behind it."""

    name: str
    addresses: frozenset[IPAddress] = frozenset()


@dataclass(frozen=True, slots=True)
class PodBridge:
    """A Linux bridge whose ports lead to pods.

    ``switched_on`` are the flags that were off until just now.
    """

    name: str
    ports: tuple[BridgePort, ...] = ()
    switched_on: frozenset[BridgeFlag] = frozenset()


@dataclass(frozen=True, slots=True)
class Wiring:
    """The interfaces that lead to pods, and the pod bridges.

    ``pod_interfaces``  the veth of each routed pod, and each pod bridge
    ``problems``        why packets between pods of this node may not meet our rules, one sentence
                        each; while there is one, the node must not call itself ready
    """

    pod_interfaces: frozenset[str] = frozenset()
    bridges: tuple[PodBridge, ...] = ()
    problems: tuple[str, ...] = ()


NO_WIRING = Wiring()
