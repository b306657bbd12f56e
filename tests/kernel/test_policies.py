"""What the essence of each documented policy does to real packets."""

from __future__ import annotations

import socket
from ipaddress import ip_network

import pytest

from enforcer.model.net import PortRange
from enforcer.policy.compiled import Allowed
from tests.kernel.netlab import NODE, OUTSIDE, Lab, Verdict
from tests.kernel.policies import (
    TCP,
    compiled,
    egress,
    ingress,
    network_port,
    peer_ports,
    peers,
)

pytestmark = pytest.mark.kernel

UDP_SOCKET = socket.SOCK_DGRAM
INSIDE, BESIDE = "14.215.0.10", "14.216.0.10"


def test_without_policies_everything_is_open(lab: Lab) -> None:
    """A rule set without isolated pods takes nothing away."""
    one, two, _ = lab.pods
    lab.serve(OUTSIDE, 80)
    lab.serve(NODE, 90, "192.168.7.1")
    lab.sync(compiled(lab.pods))

    for kind in (socket.SOCK_STREAM, UDP_SOCKET):
        assert lab.probe("p1", two.ip4, 80, kind) is Verdict.OPEN
        assert lab.probe("p1", two.ip6, 80, kind) is Verdict.OPEN
        assert lab.probe("p1", INSIDE, 80, kind) is Verdict.OPEN
        assert lab.probe(OUTSIDE, one.ip4, 80, kind) is Verdict.OPEN
        assert lab.probe(OUTSIDE, one.ip6, 80, kind) is Verdict.OPEN
        assert lab.probe(NODE, one.ip4, 80, kind) is Verdict.OPEN
        assert lab.probe("p1", "192.168.7.1", 90, kind) is Verdict.OPEN


def test_pods_of_a_namespace_reach_each_other_and_nobody_else_reaches_them(lab: Lab) -> None:
    """Policy 1: the peers of the same namespace are allowed on every port, nobody else is."""
    one, two, three = lab.pods
    friends = ingress(peers(one, two))
    lab.sync(compiled(lab.pods, {1: [friends], 2: [friends]}))

    for kind in (socket.SOCK_STREAM, UDP_SOCKET):
        for address in (two.ip4, two.ip6):
            assert lab.probe("p1", address, 80, kind) is Verdict.OPEN
            assert lab.probe("p3", address, 80, kind) is Verdict.DROPPED
            assert lab.probe(OUTSIDE, address, 80, kind) is Verdict.DROPPED
        assert lab.probe("p1", three.ip4, 80, kind) is Verdict.OPEN


def test_an_isolated_pod_is_reached_by_its_node_and_itself_only(lab: Lab) -> None:
    """Policy 2: nothing allowed; the own node and the pod itself always are."""
    one, two, _ = lab.pods
    lab.sync(compiled(lab.pods, {2: [ingress()]}))

    assert lab.probe("p1", two.ip4, 80) is Verdict.DROPPED
    assert lab.probe("p1", two.ip6, 80) is Verdict.DROPPED
    assert lab.probe("p2", two.ip4, 80) is Verdict.OPEN
    assert lab.probe(NODE, two.ip4, 80) is Verdict.OPEN
    assert lab.probe(NODE, two.ip6, 80) is Verdict.OPEN
    assert lab.probe("p2", one.ip4, 80) is Verdict.OPEN


def test_a_peer_is_allowed_on_its_port_only(lab: Lab) -> None:
    """Policy 3: one peer, one TCP port."""
    one, two, _ = lab.pods
    lab.sync(compiled(lab.pods, {2: [ingress(peer_ports([one, "10.3.0.10"], (TCP, 80)))]}))

    for address in (two.ip4, two.ip6):
        assert lab.probe("p1", address, 80) is Verdict.OPEN
        assert lab.probe("p1", address, 81) is Verdict.DROPPED
        assert lab.probe("p1", address, 80, UDP_SOCKET) is Verdict.DROPPED
        assert lab.probe("p3", address, 80) is Verdict.DROPPED
    assert lab.probe(OUTSIDE, two.ip4, 80, source="10.3.0.10") is Verdict.OPEN
    assert lab.probe(OUTSIDE, two.ip4, 80, source=INSIDE) is Verdict.DROPPED


def test_egress_to_a_network_on_a_port(lab: Lab) -> None:
    """Policy 4: out to 14.215.0.0/16 on one TCP port, nowhere else; ingress stays open."""
    one, two, _ = lab.pods
    lab.serve(OUTSIDE, 5978)
    lab.serve(OUTSIDE, 5979)
    lab.sync(compiled(lab.pods, {1: [egress(network_port("14.215.0.0/16", TCP, 5978))]}))

    assert lab.probe("p1", INSIDE, 5978) is Verdict.OPEN
    assert lab.probe("p1", INSIDE, 5979) is Verdict.DROPPED
    assert lab.probe("p1", BESIDE, 5978) is Verdict.DROPPED
    assert lab.probe("p1", two.ip4, 80) is Verdict.DROPPED
    assert lab.probe("p1", two.ip6, 80) is Verdict.DROPPED
    assert lab.probe("p2", BESIDE, 5978) is Verdict.OPEN
    assert lab.probe("p2", one.ip4, 80) is Verdict.OPEN


def test_ingress_from_a_network_on_a_port(lab: Lab) -> None:
    """Policy 5: in from 14.215.0.0/16 on port 80, from nobody else."""
    one = lab.pods[0]
    lab.sync(compiled(lab.pods, {1: [ingress(network_port("14.215.0.0/16", TCP, 80))]}))

    assert lab.probe(OUTSIDE, one.ip4, 80, source=INSIDE) is Verdict.OPEN
    assert lab.probe(OUTSIDE, one.ip4, 81, source=INSIDE) is Verdict.DROPPED
    assert lab.probe(OUTSIDE, one.ip4, 80, source=BESIDE) is Verdict.DROPPED
    assert lab.probe("p2", one.ip4, 80) is Verdict.DROPPED


def test_the_clients_egress_and_the_servers_ingress_must_both_allow(lab: Lab) -> None:
    """An allowed egress does not end the way before the server's ingress is asked."""
    one, two, three = lab.pods
    lab.sync(
        compiled(lab.pods, {1: [egress(peers(two, three))], 2: [ingress(peers(three), "other")]})
    )

    assert lab.probe("p1", two.ip4, 80) is Verdict.DROPPED
    assert lab.probe("p1", three.ip4, 80) is Verdict.OPEN
    assert lab.probe("p3", two.ip4, 80) is Verdict.OPEN
    assert lab.probe("p3", one.ip4, 80) is Verdict.OPEN


def test_every_kind_of_lookup_allows(lab: Lab) -> None:
    """Open ports, ranges of ports, whole networks and excepts are each enough to be allowed."""
    one = lab.pods[0]
    allowed = Allowed(
        ports=frozenset({PortRange(TCP, 70, 80)}),
        networks=frozenset({ip_network("14.216.0.0/17"), ip_network("fd00:4::/64")}),
        network_ports=frozenset({(ip_network("14.215.0.0/16"), PortRange(TCP, 81, 82))}),
    )
    lab.sync(compiled(lab.pods, {1: [ingress(allowed)]}))

    assert lab.probe("p2", one.ip4, 80) is Verdict.OPEN
    assert lab.probe("p2", one.ip6, 80) is Verdict.OPEN
    assert lab.probe("p2", one.ip4, 81) is Verdict.DROPPED
    assert lab.probe(OUTSIDE, one.ip4, 81, source=INSIDE) is Verdict.OPEN
    assert lab.probe(OUTSIDE, one.ip4, 81, UDP_SOCKET, source=INSIDE) is Verdict.DROPPED
    assert lab.probe(OUTSIDE, one.ip4, 81, UDP_SOCKET, source=BESIDE) is Verdict.OPEN
    assert lab.probe(OUTSIDE, one.ip6, 81, source="fd00:4::10") is Verdict.OPEN
    assert lab.probe(OUTSIDE, one.ip6, 81, source="fd00:3::10") is Verdict.DROPPED
