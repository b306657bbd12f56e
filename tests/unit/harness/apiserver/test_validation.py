"""Validation finds what is wrong, and nothing else: the documented policies pass as they are."""

from __future__ import annotations

from typing import Any

import pytest

from harness.clusters.embedded.apiserver.defaults import fill
from harness.clusters.embedded.apiserver.resources import (
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    SERVICES,
    Kind,
)
from harness.clusters.embedded.apiserver.validation import validate


def wrong_fields(kind: Kind, **value: Any) -> list[str]:
    """Return the fields that are wrong, after defaults."""
    body = {"metadata": {"name": "a", "namespace": "n"}} | value
    fill(kind, body)
    return [cause.field for cause in validate(kind, body)]


@pytest.mark.parametrize(
    "spec",
    [
        {"ingress": [{"from": [{"podSelector": {}}]}], "podSelector": {}},
        {"podSelector": {}, "policyTypes": ["Ingress"]},
        {
            "ingress": [
                {
                    "from": [{"namespaceSelector": {"matchLabels": {"app": "nsb"}}}],
                    "ports": [{"protocol": "TCP", "port": 6379}],
                }
            ],
            "podSelector": {},
        },
        {"egress": [{"to": [{"ipBlock": {"cidr": "14.215.0.0/16"}}], "ports": [{"port": 5978}]}]},
        {"ingress": [{"from": [{"ipBlock": {"cidr": "::/0", "except": ["2001:db8::/32"]}}]}]},
        {"ingress": [{"ports": [{"protocol": "SCTP"}, {"port": "http"}]}, {}]},
        {"egress": [{"ports": [{"protocol": "UDP", "port": 1, "endPort": 65535}]}]},
        {"podSelector": {"matchExpressions": [{"key": "a/b", "operator": "Exists"}]}},
        {},
    ],
)
def test_a_right_policy_has_nothing_wrong(spec: Any) -> None:
    """All of NetworkPolicy v1 is accepted, whatever an enforcer makes of it."""
    assert wrong_fields(NETWORK_POLICIES, spec=spec) == []


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"ingress": [{"from": [{"ipBlock": {}}]}]}, "spec.ingress[0].from[0].ipBlock.cidr"),
        (
            {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.1"}}]}]},
            "spec.ingress[0].from[0].ipBlock.cidr",
        ),
        (
            {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}]}]},
            "spec.egress[0].to[0].ipBlock.except[0]",
        ),
        (
            {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]},
            "spec.egress[0].to[0]",
        ),
        ({"ingress": [{"ports": [{"port": "a--b"}]}]}, "spec.ingress[0].ports[0].port"),
        ({"ingress": [{"ports": [{"endPort": 9}]}]}, "spec.ingress[0].ports[0].endPort"),
        ({"podSelector": {"matchLabels": {"-a": "b"}}}, "spec.podSelector.matchLabels"),
        ({"podSelector": {"matchLabels": {"a": "b c"}}}, "spec.podSelector.matchLabels"),
        (
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            "spec.podSelector.matchExpressions[0].values",
        ),
    ],
)
def test_a_wrong_policy_is_named_by_field(spec: Any, field: str) -> None:
    """One mistake, one cause."""
    assert wrong_fields(NETWORK_POLICIES, spec=spec) == [field]


@pytest.mark.parametrize(
    ("kind", "name", "valid"),
    [
        (PODS, "a.b-c", True),
        (PODS, "A", False),
        (PODS, "a" * 254, False),
        (NODES, "node.example.com", True),
        (NAMESPACES, "a.b", False),
        (SERVICES, "1a", False),
        (SERVICES, "a1", True),
        (PODS, "a_b", False),
        (PODS, "a-", False),
    ],
)
def test_names_follow_their_kind(kind: Kind, name: str, valid: bool) -> None:
    """A pod's name is a subdomain, a namespace's a label, a service's begins with a letter."""
    found = wrong_fields(kind, metadata={"name": name, "namespace": "n"})

    assert ("metadata.name" not in found) is valid


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"ports": [{"port": 80}]}, []),
        ({"clusterIP": "None"}, []),
        ({"type": "ExternalName", "externalName": "example.com"}, []),
        ({}, ["spec.ports"]),
        ({"type": "ExternalName"}, ["spec.externalName"]),
        ({"type": "Load"}, ["spec.type", "spec.ports"]),
        (
            {"ports": [{"port": 80}, {"port": 80, "name": "a"}]},
            ["spec.ports[0].name", "spec.ports"],
        ),
        ({"ports": [{"port": 80, "protocol": "tcp"}]}, ["spec.ports[0].protocol"]),
        ({"ports": [{"port": 80, "targetPort": 70_000}]}, ["spec.ports[0].targetPort"]),
        (
            {
                "clusterIP": "10.96.0.1",
                "clusterIPs": ["10.96.0.1", "fd00::1"],
                "ports": [{"port": 80, "protocol": "TCP"}],
            },
            [],
        ),
        (
            {
                "clusterIP": "10.96.0.1",
                "clusterIPs": ["10.96.0.2", "10.96.0.1"],
                "ports": [{"port": 80, "protocol": "TCP"}],
            },
            ["spec.clusterIPs", "spec.clusterIPs"],
        ),
    ],
)
def test_services_are_checked(spec: Any, fields: list[str]) -> None:
    """Every mistake is found; a right service has none."""
    assert wrong_fields(SERVICES, spec=spec) == fields
