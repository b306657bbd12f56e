"""What a sweep varies: pods, or policies that select the study's pods and let in who never comes.

Of each amount the last host is asked for: it is let in, and the one after it is not. So a probe
tells whether an enforcer has followed to that amount. The hosts are outside, in the network of the
study's denied client; each is a peer of its own, which no enforcer can fold into a range.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address

from harness.clusters.base import Manifest
from harness.workload.study import NAMESPACE, PORT


class Quantity(enum.Enum):
    """What grows from size to size of a run."""

    PODS = "pods"
    """Pods of each interfering Service."""

    PEERS = "peers"
    """Peers of one rule of one policy."""

    POLICIES = "policies"
    """Policies of one rule each."""

    RULES = "rules"
    """Rules of one policy."""


UNITS: Mapping[Quantity, str] = {
    Quantity.PODS: "pods a service",
    Quantity.PEERS: "peers",
    Quantity.POLICIES: "policies",
    Quantity.RULES: "policy rules",
}
"""What the sizes of a run count, in words."""

_ONE: Mapping[Quantity, str] = {
    Quantity.PODS: "pod a service",
    Quantity.PEERS: "peer",
    Quantity.POLICIES: "policy",
    Quantity.RULES: "policy rule",
}

PODS_EACH = 2
"""Pods of each interfering Service, where something else is swept."""

MOST = 10_000
"""Of what a sweep varies: as many hosts are there."""

_FIRST = IPv4Address("14.216.16.0")
_STEP = 2  # every other address: neighbours would be folded into a network


def counted(size: int, quantity: Quantity) -> str:
    """Return a size with what it counts: ``1 policy``, ``100 policies``."""
    return f"{size} {_ONE[quantity] if size == 1 else UNITS[quantity]}"


def host(number: int) -> str:
    """Return the address of host ``number``, from 1; it is outside of the study's CIDR."""
    return str(_FIRST + _STEP * number)


def policies(quantity: Quantity, amount: int, have: int = 0) -> Iterator[Manifest]:
    """Yield the policies that take a cluster from ``have`` of a quantity to ``amount``."""
    numbers = range(1, amount + 1)
    match quantity:
        case Quantity.PODS:
            pass
        case Quantity.PEERS:
            yield _policy("swept", [_rule(numbers)])
        case Quantity.RULES:
            yield _policy("swept", [_rule([number]) for number in numbers])
        case Quantity.POLICIES:
            yield from (_policy(f"swept-{n:05d}", [_rule([n])]) for n in numbers[have:])


def _rule(numbers: range | list[int]) -> Manifest:
    return {
        "from": [{"ipBlock": {"cidr": f"{host(number)}/32"}} for number in numbers],
        "ports": [{"protocol": "TCP", "port": PORT}],
    }


def _policy(name: str, rules: list[Manifest]) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"ingress": rules, "podSelector": {}, "policyTypes": ["Ingress"]},
    }
