"""Rule by rule, what a policy means: small clusters, expectations written by hand, real packets.

:mod:`tests.property.story` says who is who.
"""

from __future__ import annotations

import pytest

from tests.property.drawn import Json
from tests.property.fleet.packets import Way
from tests.property.story import (
    BOTH,
    HERE4,
    HERE6,
    ICMP,
    NONE,
    SCTP,
    TCP,
    UDP,
    Story,
    labelled,
    pod,
    policy,
)

pytestmark = pytest.mark.kernel


def test_without_a_policy_everything_is_open(story: Story) -> None:
    """Nobody is isolated: TCP, UDP, SCTP and ICMP, to pods, nodes and outside."""
    for way in (TCP, UDP, SCTP, ICMP):
        assert story.open("a", "d", way) == BOTH
        assert story.open("d", "here", way) == BOTH
        assert story.open("here", "a", way) == BOTH


def test_a_named_port_is_each_pods_own(story: Story) -> None:
    """Pods give the same name to different numbers: each is reached at its own."""
    allow = {"from": [{"podSelector": labelled("a")}], "ports": [{"port": "http"}]}
    story(
        tenants={"b": pod("b", ("http", "TCP", 80)), "d": pod("d", ("http", "TCP", 81))},
        policy=policy(ingress=[allow]),
    )

    assert story.open("a", "b", TCP, 80) == BOTH
    assert story.open("a", "b", TCP, 81) == NONE
    assert story.open("a", "d", TCP, 81) == BOTH
    assert story.open("a", "d", TCP, 80) == NONE
    assert story.open("a", "e", TCP, 80) == NONE


def test_a_named_port_of_egress_is_the_peers(story: Story) -> None:
    """The destination's name counts: other pods, other numbers; an address outside has no names."""
    story(
        tenants={"b": pod("b", ("http", "TCP", 80)), "d": pod("d", ("http", "TCP", 90))},
        policy=policy(
            pods=labelled("a"), policyTypes=["Egress"], egress=[{"ports": [{"port": "http"}]}]
        ),
    )

    assert story.open("a", "b", TCP, 80) == BOTH
    assert story.open("a", "d", TCP, 90) == BOTH
    assert story.open("a", "d", TCP, 80) == NONE
    assert story.open("a", "here", TCP, 80) == NONE


def test_a_named_port_of_another_protocol_is_not_meant(story: Story) -> None:
    """The name and the protocol have to fit: dns over UDP does not open dns over TCP."""
    story(
        tenants={"b": pod("b", ("dns", "UDP", 80)), "d": pod("d", ("dns", "TCP", 80))},
        policy=policy(ingress=[{"ports": [{"port": "dns", "protocol": "UDP"}]}]),
    )

    assert story.open("a", "b", UDP) == BOTH
    assert story.open("a", "b", TCP) == NONE
    assert story.open("a", "d", TCP) == NONE
    assert story.open("a", "d", UDP) == NONE


def test_one_name_for_two_protocols_is_a_number_of_each(story: Story) -> None:
    """Two ports of a pod may have one name: the rule's protocol says which of them is meant."""
    over_udp: Json = {"port": "dns", "protocol": "UDP"}
    story(
        tenants={"b": pod("b", ("dns", "UDP", 80), ("dns", "TCP", 81))},
        policy=policy(ingress=[{"ports": [over_udp]}]),
    )
    assert story.open("a", "b", UDP, 80) == BOTH
    assert story.open("a", "b", TCP, 81) == NONE

    story(policy=policy(ingress=[{"ports": [over_udp, {"port": "dns"}]}]))

    assert story.open("a", "b", UDP, 80) == BOTH
    assert story.open("a", "b", TCP, 81) == BOTH
    assert story.open("a", "b", UDP, 81) == NONE
    assert story.open("a", "b", TCP, 80) == NONE


def test_a_pod_without_the_named_port_is_reached_at_numbers_alone(story: Story) -> None:
    """Pods that one policy selects may differ by a name that says no new number to a network."""
    numbered = {"from": [{"ipBlock": {"cidr": HERE4}}], "ports": [{"port": 80}]}
    story(
        tenants={"a": pod("a", ("http", "TCP", 80)), "b": pod("b")},
        policy=policy(ingress=[numbered, {"ports": [{"port": "http"}]}]),
    )

    assert story.open("c", "a", TCP, 80) == BOTH
    assert story.open("c", "b", TCP, 80) == NONE
    assert story.open("here", "a", TCP, 80) == BOTH
    assert story.open("here", "b", TCP, 80) == {4}


def test_a_named_port_that_moves_takes_the_rule_along(story: Story) -> None:
    """A pod that is made again with another number is reached there, and no longer at the old."""
    allow = policy(ingress=[{"ports": [{"port": "http"}]}])
    story(tenants={"b": pod("b", ("http", "TCP", 80))}, policy=allow)
    assert story.open("a", "b", TCP, 80) == BOTH

    story(tenants={"b": pod("b", ("http", "TCP", 81))})

    assert story.open("a", "b", TCP, 80) == NONE
    assert story.open("a", "b", TCP, 81) == BOTH


def test_a_range_of_ports(story: Story) -> None:
    """endPort: both ends included, nothing beyond, for pods and for networks."""
    ports = [{"port": 80, "endPort": 81}]
    rules = [
        {"from": [{"podSelector": labelled("a")}], "ports": ports},
        {"from": [{"ipBlock": {"cidr": HERE4}}], "ports": ports},
    ]
    story(policy=policy(ingress=rules))

    for client, versions in (("a", BOTH), ("here", {4})):
        assert story.open(client, "d", TCP, 80) == versions
        assert story.open(client, "d", TCP, 81) == versions
        assert story.open(client, "d", TCP, 90) == NONE
        assert story.open(client, "d", UDP, 80) == NONE
    assert story.open("b", "d", TCP, 80) == NONE


def test_sctp_is_a_protocol_of_its_own(story: Story) -> None:
    """A port of SCTP opens neither TCP nor UDP, and theirs do not open SCTP."""
    story(policy=policy(ingress=[{"ports": [{"protocol": "SCTP", "port": 80}]}]))

    assert story.open("a", "d", SCTP, 80) == BOTH
    assert story.open("a", "d", SCTP, 81) == NONE
    assert story.open("a", "d", TCP, 80) == NONE
    assert story.open("a", "d", UDP, 80) == NONE
    assert story.open("a", "d", ICMP) == NONE


def test_a_protocol_without_a_port_is_all_of_it(story: Story) -> None:
    """Every port of UDP, and nothing of the others; a port without a protocol is TCP's."""
    story(policy=policy(ingress=[{"ports": [{"protocol": "UDP"}, {"port": 81}]}]))

    assert story.open("a", "d", UDP, 80) == BOTH
    assert story.open("a", "d", UDP, 90) == BOTH
    assert story.open("a", "d", TCP, 81) == BOTH
    assert story.open("a", "d", TCP, 80) == NONE
    assert story.open("a", "d", SCTP, 81) == NONE


def test_a_rule_without_ports_is_every_protocol(story: Story) -> None:
    """ICMP and SCTP included; who is not among its peers gets nothing, ICMP included."""
    story(policy=policy(ingress=[{"from": [{"podSelector": labelled("a")}]}]))

    for way in (TCP, UDP, SCTP, ICMP):
        assert story.open("a", "d", way) == BOTH
        assert story.open("b", "d", way) == NONE
        assert story.open("here", "d", way) == NONE


@pytest.mark.parametrize("empty", [{}, {"ingress": []}, {"ingress": None}])
def test_no_rules_deny_everything(story: Story, empty: Json) -> None:
    """Isolated where ingress is missing, empty or null, and nothing allowed."""
    story(policy=policy(pods=labelled("d"), **empty))

    assert story.open("a", "d") == NONE
    assert story.open("d", "a") == BOTH
    assert story.open("n2", "d") == BOTH
    assert story.open("d", "n2") == BOTH
    assert story.open("n1", "d") == NONE


@pytest.mark.parametrize("rule", [{}, {"from": []}, {"ports": []}, {"from": None, "ports": None}])
def test_an_empty_rule_allows_everything(story: Story, rule: Json) -> None:
    """Peers and ports missing, empty or null: everybody, on everything."""
    story(policy=policy(ingress=[rule]))

    assert story.open("here", "d", ICMP) == BOTH
    assert story.open("a", "d", UDP, 90) == BOTH


@pytest.mark.parametrize(
    ("spec", "inbound", "outbound"),
    [
        ({"policyTypes": ["Egress"]}, BOTH, NONE),
        ({"policyTypes": ["Ingress"], "egress": [{"ports": [{"port": 81}]}]}, NONE, BOTH),
        ({"policyTypes": ["Ingress", "Egress"]}, NONE, NONE),
        ({"egress": [{"ports": [{"port": 81}]}]}, NONE, NONE),
        ({"policyTypes": [], "egress": []}, NONE, BOTH),
        ({}, NONE, BOTH),
    ],
)
def test_policy_types_and_their_defaults(
    story: Story, spec: Json, inbound: set[int], outbound: set[int]
) -> None:
    """Ingress always where nothing is said, Egress where there are egress rules."""
    story(policy=policy(pods=labelled("d"), **spec))

    assert story.open("a", "d") == inbound
    assert story.open("d", "a") == outbound


def test_families_are_apart(story: Story) -> None:
    """A block of one family says nothing of the other; a pod peer means both of its addresses."""
    story(policy=policy(ingress=[{"from": [{"ipBlock": {"cidr": HERE6}}]}]))
    assert story.open("here", "d") == {6}

    story(policy=policy(ingress=[{"from": [{"podSelector": labelled("a")}]}]))
    assert story.open("a", "d") == BOTH


def test_pods_of_one_family(story: Story) -> None:
    """A pod has the families of its status: the other address is nobody's, and is denied."""
    story(tenants={"a": pod("a", versions=(4,)), "d": pod("d", versions=(6,))})

    assert story.open("a", "b") == {4}
    assert story.open("d", "b") == {6}
    assert story.open("a", "d") == NONE


def test_what_is_excepted_is_not_in_a_block(story: Story) -> None:
    """Pods and hosts are in a block by their address, but for its excepts."""
    block = {"cidr": "0.0.0.0/0", "except": ["14.216.0.0/16", "10.1.0.2/32"]}
    story(policy=policy(pods=labelled("d"), ingress=[{"from": [{"ipBlock": block}]}]))

    assert story.open("here", "d") == {4}
    assert story.open("there", "d") == NONE
    assert story.open("a", "d") == {4}
    assert story.open("b", "d") == NONE


def test_pods_on_their_hosts_network_are_their_node(story: Story) -> None:
    """No policy selects them, no selector means them; a block with the node's address does."""
    host = pod("a")
    story(
        on_host={"n1": host},
        policy=policy(ingress=[{"from": [{"podSelector": labelled("a")}]}]),
    )
    assert story.open("n1", "d") == NONE
    assert story.open("b", "n1") == BOTH

    story(policy=policy(ingress=[{"from": [{"ipBlock": {"cidr": "172.20.1.1/32"}}]}]))
    assert story.open("n1", "d") == {4}


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_finished_pod_has_no_address(story: Story, phase: str) -> None:
    """It is nobody's peer any more, and its address is denied like one that no pod has."""
    allow = policy(pods=labelled("d"), ingress=[{"from": [{"podSelector": labelled("a")}]}])
    story(policy=allow)
    assert story.open("a", "d") == BOTH

    story(tenants={"a": pod("a", phase=phase)})

    assert story.open("a", "d") == NONE
    assert story.open("a", "e") == NONE


def test_an_address_is_its_new_pods(story: Story) -> None:
    """What its last pod might does not count; connections of that one do not live on."""
    allow = policy(pods=labelled("d"), ingress=[{"from": [{"podSelector": labelled("a")}]}])
    story(policy=allow)
    assert story.open("a", "d", Way.OLD_UDP) == BOTH

    story(tenants={"a": pod("stranger", life="b")})

    assert story.open("a", "d") == NONE
    assert story.open("a", "d", Way.OLD_UDP) == NONE
    assert story.open("a", "e") == BOTH


def test_a_pod_without_an_address_yet(story: Story) -> None:
    """It breaks nothing, and is judged from the moment that it has one."""
    allow = policy(pods=labelled("d"), ingress=[{"from": [{"podSelector": labelled("a")}]}])
    story(tenants={"a": pod("a", versions=())}, policy=allow)
    assert story.open("a", "d") == NONE

    story(tenants={"a": pod("a")})

    assert story.open("a", "d") == BOTH


def test_a_label_of_a_pod_changes(story: Story) -> None:
    """As a peer and as the one that is selected: at once, and open connections with it."""
    allow = policy(pods=labelled("d"), ingress=[{"from": [{"podSelector": labelled("a")}]}])
    story(policy=allow)
    assert story.open("b", "d") == NONE

    story(tenants={"b": pod("a"), "a": pod("b")})
    assert story.open("b", "d") == BOTH
    assert story.open("a", "d", Way.OLD_UDP) == NONE

    story(tenants={"d": pod("free")})
    assert story.open("c", "d") == BOTH


def test_a_label_of_a_namespace_changes(story: Story) -> None:
    """Its pods become peers, and stop being peers, at once."""
    peer = {"namespaceSelector": {"matchLabels": {"b": "x"}}}
    allow = policy(pods=labelled("d"), ingress=[{"from": [peer]}])
    story(tenants={"a": pod("a", namespace="green")}, policy=allow)
    assert story.open("a", "d") == BOTH
    assert story.open("b", "d") == NONE

    story(namespaces={"green": {}, "blue": {"b": "x"}})

    assert story.open("a", "d") == NONE
    assert story.open("b", "d") == BOTH


def test_a_namespace_is_known_by_its_name(story: Story) -> None:
    """kubernetes.io/metadata.name is a label that every namespace has."""
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "green"}}}
    story(
        tenants={"a": pod("a", namespace="green")},
        policy=policy(pods=labelled("d"), ingress=[{"from": [peer]}]),
    )

    assert story.open("a", "d") == BOTH
    assert story.open("b", "d") == NONE


def test_a_namespace_that_goes_and_comes_back(story: Story) -> None:
    """Its policies and pods go with it; what comes back under its name is judged anew."""
    story(
        tenants={"a": pod("a", namespace="green")},
        policy=policy(namespace="green", policyTypes=["Ingress", "Egress"]),
    )
    assert story.open("b", "a") == NONE

    story(namespaces={"green": None})
    assert story.open("b", "a") == NONE

    story(namespaces={"green": {}}, policy=None)
    assert story.open("b", "a") == BOTH


def test_both_selectors_of_a_peer_have_to_match(story: Story) -> None:
    """In one peer they are AND, in two peers OR."""
    namespaces = {"namespaceSelector": {"matchLabels": {"b": "x"}}}
    pods = {"podSelector": labelled("a")}
    green = {"a": pod("a", namespace="green"), "b": pod("b", namespace="green")}
    story(tenants=green, policy=policy(ingress=[{"from": [{**namespaces, **pods}]}]))
    assert story.open("a", "d") == BOTH
    assert story.open("b", "d") == NONE

    story(policy=policy(ingress=[{"from": [namespaces, pods]}]))
    assert story.open("b", "d") == BOTH
    assert story.open("c", "d") == NONE
