"""NetworkPolicy JSON: what missing, null and empty mean, and what is refused."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from enforcer.kube.policies import decode_policy
from enforcer.model.net import Direction, PortRange, Protocol
from enforcer.model.objects import (
    BlockPeer,
    EveryPeer,
    EveryPort,
    EveryPortOf,
    Key,
    NamedPortRef,
    PodPeer,
    Policy,
    Rule,
)
from enforcer.model.selectors import EVERYTHING, Operator, Requirement, Selector

IN, OUT = Direction.INGRESS, Direction.EGRESS
EVERYWHERE = Rule(EveryPeer(), EveryPort())
KEY = Key("nsa", "np")


def decode(spec: Any) -> Policy:
    """Decode a policy with this spec."""
    return decode_policy(KEY, msgspec.Raw(json.dumps(spec).encode()))


def only_rule(**rule: Any) -> Rule:
    """Decode a policy with one ingress rule and return that."""
    found = decode({"ingress": [rule]})
    assert found.problem == ""
    return found.rules[IN][0]


@pytest.mark.parametrize(
    ("spec", "isolated"),
    [
        ({}, {IN}),
        (None, {IN}),
        ({"policyTypes": None, "egress": None}, {IN}),
        ({"policyTypes": [], "egress": []}, {IN}),
        ({"egress": [{}]}, {IN, OUT}),
        ({"policyTypes": ["Egress"], "ingress": [{}]}, {OUT}),
        ({"policyTypes": ["Ingress"], "egress": [{}]}, {IN}),
        ({"policyTypes": ["Egress", "Ingress"]}, {IN, OUT}),
    ],
)
def test_policy_types_and_their_defaults(spec: Any, isolated: set[Direction]) -> None:
    """Ingress is isolated unless policyTypes says otherwise, egress where there is a rule of it."""
    assert set(decode(spec).rules) == isolated


@pytest.mark.parametrize("selector", [{}, None, {"matchLabels": {}}, {"matchExpressions": None}])
def test_an_empty_selector_selects_everything(selector: Any) -> None:
    """So does a missing podSelector of a policy."""
    assert decode({"podSelector": selector}).pods == EVERYTHING


def test_missing_rules_allow_nothing_and_an_empty_rule_everything() -> None:
    """A missing or empty list of rules and a list with an empty rule are opposites."""
    assert decode({"ingress": []}).rules[IN] == ()
    assert decode({"ingress": None}).rules[IN] == ()
    assert decode({"ingress": [{}]}).rules[IN] == (EVERYWHERE,)


@pytest.mark.parametrize("nothing", [None, []])
def test_missing_and_empty_peers_and_ports_are_all_of_them(nothing: Any) -> None:
    """An empty ``from`` is not "nobody", and empty ``ports`` are not "no port"."""
    assert only_rule(**{"from": nothing, "ports": nothing}) == EVERYWHERE


def test_selectors_of_peers() -> None:
    """A missing namespaceSelector means the policy's own namespace, an empty one every one."""
    some = {"matchLabels": {"a": "x"}}
    selector = Selector((Requirement("a", Operator.IN, frozenset({"x"})),))
    peers = [
        {"podSelector": some},
        {"namespaceSelector": some},
        {"podSelector": some, "namespaceSelector": {}},
        {"podSelector": {}, "namespaceSelector": None},
    ]

    assert only_rule(**{"from": peers}).peers == (
        PodPeer(selector, EVERYTHING, own_namespace=True),
        PodPeer(EVERYTHING, selector, own_namespace=False),
        PodPeer(selector, EVERYTHING, own_namespace=False),
        PodPeer(EVERYTHING, EVERYTHING, own_namespace=True),
    )


def test_blocks_of_peers() -> None:
    """Bits behind the prefix are ignored, as the API's own example 192.168.1.1/24 has some."""
    block = {"cidr": "192.168.1.1/24", "except": ["192.168.1.128/25"]}
    peers = [{"ipBlock": block}, {"ipBlock": {"cidr": "2001:db8::/64"}}]

    assert only_rule(**{"from": peers}).peers == (
        BlockPeer(ip_network("192.168.1.0/24"), (ip_network("192.168.1.128/25"),)),
        BlockPeer(ip_network("2001:db8::/64")),
    )


def test_ports() -> None:
    """Numbers, ranges, names, and a protocol alone; the protocol is TCP unless it is said."""
    ports = [
        {"port": 80},
        {"protocol": None, "port": 80, "endPort": 90},
        {"protocol": "SCTP", "port": "diameter"},
        {"protocol": "UDP"},
        {},
    ]

    assert only_rule(ports=ports).ports == (
        PortRange(Protocol.TCP, 80, 80),
        PortRange(Protocol.TCP, 80, 90),
        NamedPortRef("diameter", Protocol.SCTP),
        EveryPortOf(Protocol.UDP),
        EveryPortOf(Protocol.TCP),
    )


def test_selectors_that_mean_the_same_are_equal() -> None:
    """The order of labels and expressions does not matter."""
    one = {"matchLabels": {"a": "x", "b": "y"}}
    other = {
        "matchExpressions": [{"key": "b", "operator": "In", "values": ["y"]}],
        "matchLabels": {"a": "x"},
    }

    assert decode({"podSelector": one}).pods == decode({"podSelector": other}).pods


BAD_RULES = {
    "peer without anything": {"from": [{}]},
    "peer of nothing": {"from": [None]},
    "block beside a selector": {"from": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]},
    "unknown kind of peer": {"from": [{"podSelector": {}, "serviceSelector": {}}]},
    "unknown operator": {
        "from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}}]
    },
    "In without values": {
        "from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}]
    },
    "Exists with values": {
        "from": [
            {
                "podSelector": {
                    "matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]
                }
            }
        ]
    },
    "block without prefix": {"from": [{"ipBlock": {"cidr": "10.0.0.0"}}]},
    "block with a mask in dots": {"from": [{"ipBlock": {"cidr": "10.0.0.0/255.0.0.0"}}]},
    "octets with leading zeros": {"from": [{"ipBlock": {"cidr": "010.0.0.0/8"}}]},
    "mapped block": {"from": [{"ipBlock": {"cidr": "::ffff:10.0.0.0/104"}}]},
    "block without cidr": {"from": [{"ipBlock": {}}]},
    "except elsewhere": {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}}]},
    "except of all": {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}]},
    "except of the other family": {
        "from": [{"ipBlock": {"cidr": "::/0", "except": ["10.0.0.0/8"]}}]
    },
    "unknown protocol": {"ports": [{"protocol": "ICMP"}]},
    "port zero": {"ports": [{"port": 0}]},
    "port too large": {"ports": [{"port": 65536}]},
    "number in quotes": {"ports": [{"port": "80"}]},
    "port that is a fraction": {"ports": [{"port": 80.5}]},
    "range that is upside down": {"ports": [{"port": 90, "endPort": 80}]},
    "endPort alone": {"ports": [{"endPort": 80}]},
    "endPort of a name": {"ports": [{"port": "http", "endPort": 80}]},
    "unknown field of a rule": {"action": "Deny"},
    "peers that are no list": {"from": {"podSelector": {}}},
}


@pytest.mark.parametrize("rule", BAD_RULES.values(), ids=BAD_RULES)
def test_a_rule_that_is_not_understood_makes_the_policy_deny(rule: Any) -> None:
    """The whole policy then allows nothing, and still selects and isolates what it says."""
    selector = {"matchLabels": {"a": "x"}}
    found = decode({"podSelector": selector, "ingress": [{}, rule], "policyTypes": ["Ingress"]})

    assert found.problem.startswith("spec.ingress[1]") or "unknown field" in found.problem
    assert found.rules == {IN: ()}
    assert found.pods == Selector((Requirement("a", Operator.IN, frozenset({"x"})),))


@pytest.mark.parametrize(
    "spec",
    [
        {"policyTypes": ["Ingress", "Sideways"]},
        {"policyTypes": "Ingress"},
        {"egress": {}, "ingress": []},
        {"egress": [{"to": 1}]},
    ],
)
def test_where_the_directions_are_not_clear_both_are_denied(spec: Any) -> None:
    """A policy that may isolate a direction does so."""
    found = decode(spec)

    assert found.problem
    assert found.rules == {IN: (), OUT: ()}


@pytest.mark.parametrize(
    "spec",
    [
        {"podSelector": {"matchLabels": {"a": 1}}, "policyTypes": ["Ingress"]},
        {"podSelector": {"matchLabel": {"a": "x"}}, "policyTypes": ["Ingress"]},
        {"podSelector": "app=a", "policyTypes": ["Egress"]},
        [],
        "spec",
    ],
)
def test_where_the_selector_is_not_clear_the_whole_namespace_is_denied(spec: Any) -> None:
    """Every pod of the namespace, in both directions."""
    found = decode(spec)

    assert "podSelector" in found.problem
    assert (found.pods, found.rules) == (EVERYTHING, {IN: (), OUT: ()})
