"""How this node's pods are connected, as a value: the interfaces that lead to them, the bridges.

:mod:`enforcer.links` reads it from the kernel.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from enforcer.model.net import IPAddress


class SameNode(enum.Enum):
    """How frames between two ports of a bridge are made to meet our rules: the ladder's steps.

    ``NF_CALL``  the bridge's own flags hand them to netfilter; needs br_netfilter
    ``TURN``     they are turned to the bridge itself, which routes them; needs nothing
    ``AUTO``     a choice, not a step: the first that is proved to work
    """

    AUTO = "auto"
    NF_CALL = "nf-call"
    TURN = "turn"


class Step(enum.Enum):
    """What the packets between pods of this node meet our rules by: a step that was reached.

    ``ROUTED``   the pod has an interface of its own: all its packets pass the forward hook
    ``NF_CALL``  as :attr:`SameNode.NF_CALL`, proved
    ``TURN``     as :attr:`SameNode.TURN`, proved
    ``NONE``     nothing is proved: the node is not ready
    """

    ROUTED = "routed"
    NF_CALL = "nf-call"
    TURN = "turn"
    NONE = "none"


class FastPath(enum.Enum):
    """Whether established connections take the kernel's short cut; ``AUTO``: where it has one."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class BridgeFlag(enum.Enum):
    """What we change about a bridge: its flags by ip's names, and a sysctl of its own.

    The first two hand its packets to netfilter and are switched on. The third is switched off
    where packets are turned: they leave by the interface they came in by, as a router sees it.
    """

    IPV4 = "nf_call_iptables"
    IPV6 = "nf_call_ip6tables"
    REDIRECTS = "send_redirects"


@dataclass(frozen=True, slots=True)
class BridgePort:
    """A port of a pod bridge, and what may come from it.

    ``mac``        of the interface behind it; empty when nobody is known there
    ``addresses``  the local pod's, and its link-local ones
    ``forwards``   a pod behind it may send from addresses that are not its own
    ``uplink``     it does not lead into a network namespace: to other machines, then
    """

    name: str
    addresses: frozenset[IPAddress] = frozenset()
    mac: str = ""
    uplink: bool = False
    forwards: bool = False


@dataclass(frozen=True, slots=True)
class PodBridge:
    """A Linux bridge whose ports lead to pods.

    ``changed`` are the flags that were otherwise until just now; ``way`` is never ``AUTO``, and
    ``problem`` says why packets between the ports may not meet our rules by it.
    """

    name: str
    ports: tuple[BridgePort, ...] = ()
    changed: frozenset[BridgeFlag] = frozenset()
    mac: str = ""
    way: SameNode = SameNode.NF_CALL
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Wiring:
    """The interfaces that lead to pods, and the pod bridges.

    ``pod_interfaces``  the veth of each routed pod, and each pod bridge
    ``forwarders``      those of them behind which pods may send in others' names
    ``fast``            the interfaces between which judged connections take the short cut
    ``foreign_ports``   the ports of bridges without pods, which are none of our business
    ``problems``        why packets between pods of this node may not meet our rules, one sentence
                        each; while there is one, the node must not call itself ready
    """

    pod_interfaces: frozenset[str] = frozenset()
    bridges: tuple[PodBridge, ...] = ()
    problems: tuple[str, ...] = ()
    foreign_ports: frozenset[str] = frozenset()
    forwarders: frozenset[str] = frozenset()
    fast: frozenset[str] = frozenset()


NO_WIRING = Wiring()

_STEPS = {SameNode.NF_CALL: Step.NF_CALL, SameNode.TURN: Step.TURN}


def steps(wiring: Wiring, unproved: Collection[str]) -> Counter[Step]:
    """Count the interfaces that lead to pods by their step; ``unproved`` are names of bridges."""
    bridges = {bridge.name: bridge for bridge in wiring.bridges}
    routed = wiring.pod_interfaces - bridges.keys()
    return Counter({Step.ROUTED: len(routed)}) + Counter(
        Step.NONE if bridge.problem or name in unproved else _STEPS[bridge.way]
        for name, bridge in bridges.items()
    )
