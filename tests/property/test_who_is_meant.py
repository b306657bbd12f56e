"""Rule by rule, whom a policy means: what it selects, its peers and their named ports.

:mod:`tests.property.story` says who is who.
"""

from __future__ import annotations

import pytest

from tests.property.fleet.topology import SERVICES4, SERVICES6
from tests.property.story import (
    BOTH,
    BY_NAME,
    NAMES,
    NONE,
    TCP,
    UDP,
    Story,
    labelled,
    pod,
    policy,
)

pytestmark = pytest.mark.kernel


def test_rules_of_all_policies_add_up(story: Story) -> None:
    """Each policy allows what it allows, and none takes away what another one does."""
    story(
        policy=policy(pods=labelled("d"), ingress=[{"from": [{"podSelector": labelled("a")}]}]),
        beside=policy(
            name="other",
            ingress=[{"from": [{"podSelector": labelled("b")}], "ports": [{"port": 81}]}],
        ),
    )
    assert story.open("a", "d", UDP, 90) == BOTH
    assert story.open("b", "d", TCP, 81) == BOTH
    assert story.open("b", "d", TCP, 80) == NONE
    assert story.open("a", "e", TCP, 81) == NONE

    story(beside=policy(name="other"))

    assert story.open("a", "d", UDP, 90) == BOTH
    assert story.open("b", "d", TCP, 81) == NONE
    assert story.open("a", "e") == NONE


def test_an_empty_selector_selects_every_pod_of_the_namespace(story: Story) -> None:
    """Whatever their labels are, or without any; and none of another namespace."""
    story(tenants={"c": pod("c", namespace="green"), "e": pod("e", labels={})}, policy=policy())

    assert story.open("a", "d") == NONE
    assert story.open("a", "e") == NONE
    assert story.open("a", "c") == BOTH


def test_a_pod_selector_alone_means_the_policys_own_namespace(story: Story) -> None:
    """Pods of other namespaces with the same labels are not meant."""
    story(
        tenants={"a": pod("a", namespace="green"), "b": pod("a")},
        policy=policy(pods=labelled("d"), ingress=[{"from": [{"podSelector": labelled("a")}]}]),
    )

    assert story.open("b", "d") == BOTH
    assert story.open("a", "d") == NONE


def test_an_empty_pod_selector_of_a_peer_means_the_whole_namespace(story: Story) -> None:
    """Its own, where no namespaceSelector stands beside it; every pod, where an empty one does."""
    story(
        tenants={"a": pod("a", namespace="green"), "b": pod("b", labels={})},
        policy=policy(pods=labelled("d"), ingress=[{"from": [{"podSelector": {}}]}]),
    )
    assert story.open("b", "d") == BOTH
    assert story.open("a", "d") == NONE
    assert story.open("here", "d") == NONE

    story(
        policy=policy(
            pods=labelled("d"), ingress=[{"from": [{"podSelector": {}, "namespaceSelector": {}}]}]
        )
    )
    assert story.open("a", "d") == BOTH
    assert story.open("here", "d") == NONE


@pytest.mark.parametrize(
    ("expression", "meant"),
    [
        ({"operator": "In", "values": ["a", "b"]}, {"a", "b"}),
        ({"operator": "NotIn", "values": ["a"]}, {"b", "c"}),
        ({"operator": "Exists"}, {"a", "b"}),
        ({"operator": "DoesNotExist"}, {"c"}),
    ],
)
def test_every_operator_of_a_selector(
    story: Story, expression: dict[str, object], meant: set[str]
) -> None:
    """NotIn is met by pods without the label, too; as for peers, so for who is selected."""
    selector = {"matchExpressions": [{"key": "a", **expression}]}
    story(
        tenants={"c": pod("c", labels={"b": "c"})},
        policy=policy(pods=labelled("d"), ingress=[{"from": [{"podSelector": selector}]}]),
        beside=policy(name="other", pods=selector, policyTypes=["Ingress"]),
    )

    assert {name for name in "abc" if story.open(name, "d") == BOTH} == meant
    assert {name for name in "abc" if story.open("e", name) == NONE} == meant


def test_a_block_over_pods_means_their_addresses(story: Story) -> None:
    """Whatever their labels are, and by whatever way they come; another pod is not in it."""
    block = {"ipBlock": {"cidr": f"{BY_NAME[NAMES['a']].ip4}/32"}}
    story(policy=policy(pods=labelled("d"), ingress=[{"from": [block]}]))
    assert story.open("a", "d") == {4}
    assert story.open_by_service("a", "d") == {4}
    assert story.open("b", "d") == NONE

    story(tenants={"a": pod("other", namespace="green")})

    assert story.open("a", "d") == {4}


def test_a_services_address_is_in_no_block(story: Story) -> None:
    """A connection to a Service is judged by the pod behind it, and by its address alone."""
    ranges = (f"{SERVICES4}0/24", f"{SERVICES6}/64")
    services = [{"ipBlock": {"cidr": cidr}} for cidr in ranges]
    story(policy=policy(pods=labelled("a"), policyTypes=["Egress"], egress=[{"to": services}]))
    assert story.open_by_service("a", "d") == NONE

    behind = [{"ipBlock": {"cidr": f"{BY_NAME[NAMES['d']].ip4}/32"}}]
    story(policy=policy(pods=labelled("a"), policyTypes=["Egress"], egress=[{"to": behind}]))
    assert story.open_by_service("a", "d") == {4}


def test_sidecars_name_ports_and_other_init_containers_do_not(story: Story) -> None:
    """A sidecar runs as long as its pod does; an init container has ended before it serves."""
    init = [
        {"restartPolicy": "Always", "ports": [{"name": "http", "containerPort": 80}]},
        {"ports": [{"name": "http", "containerPort": 81}]},
    ]
    story(
        tenants={"d": pod("d", init=init)},
        policy=policy(pods=labelled("d"), ingress=[{"ports": [{"port": "http"}]}]),
    )

    assert story.open("a", "d", TCP, 80) == BOTH
    assert story.open("a", "d", TCP, 81) == NONE
