"""Services: judged by the true client and the true server, whatever NAT does in between."""

from __future__ import annotations

import socket

import pytest

from tests.kernel.netlab import NODE, OUTSIDE, Lab, Verdict, echoes
from tests.kernel.policies import TCP, compiled, egress, ingress, peer_ports, peers

pytestmark = pytest.mark.kernel

SERVICE = "10.96.0.1"
PROXY = """
table ip proxy {
    chain prerouting {
        type nat hook prerouting priority -100; policy accept;
        ip daddr 10.96.0.1 tcp dport 8080 dnat to 10.2.0.2:80
        ip daddr 10.96.0.1 udp dport 8080 dnat to 10.2.0.2:80
        ip daddr 192.168.7.1 tcp dport 30080 dnat to 10.2.0.2:80
    }
    chain output {
        type nat hook output priority -100; policy accept;
        ip daddr 10.96.0.1 tcp dport 8080 dnat to 10.2.0.2:80
    }
    chain postrouting {
        type nat hook postrouting priority 100; policy accept;
        ip saddr 10.2.0.2 ip daddr 10.2.0.2 masquerade
        ct original ip daddr 192.168.7.1 masquerade
    }
}
"""


@pytest.fixture(autouse=True)
def _service(lab: Lab) -> None:
    lab.node.run("nft", "-f", "-", text=PROXY)


def test_a_service_is_judged_by_its_backend_and_the_backends_port(lab: Lab) -> None:
    """The client reaches the Service where its policy allows the pod and port behind it."""
    one, _two, _ = lab.pods
    lab.sync(compiled(lab.pods, {2: [ingress(peer_ports([one], (TCP, 80)))]}))

    assert lab.probe("p1", SERVICE, 8080) is Verdict.OPEN
    assert lab.probe("p3", SERVICE, 8080) is Verdict.DROPPED
    assert lab.probe("p1", SERVICE, 8080, socket.SOCK_DGRAM) is Verdict.DROPPED
    assert lab.probe(OUTSIDE, SERVICE, 8080) is Verdict.DROPPED
    assert lab.probe(NODE, SERVICE, 8080) is Verdict.OPEN


def test_the_clients_egress_names_the_backend(lab: Lab) -> None:
    """An egress policy that allows the backend's pod and port allows the Service."""
    _, two, three = lab.pods
    allowed, other = egress(peer_ports([two], (TCP, 80))), egress(peers(three), "other")
    lab.sync(compiled(lab.pods, {1: [allowed], 3: [other]}))

    assert lab.probe("p1", SERVICE, 8080) is Verdict.OPEN
    assert lab.probe("p3", SERVICE, 8080) is Verdict.DROPPED
    assert lab.probe(OUTSIDE, SERVICE, 8080) is Verdict.OPEN


def test_a_node_port_shows_the_true_client(lab: Lab) -> None:
    """The client is judged by its own address though the node masquerades it afterwards."""
    two = lab.pods[1]
    lab.sync(compiled(lab.pods, {2: [ingress(peers("14.215.0.10"))]}))

    assert lab.probe(OUTSIDE, "192.168.7.1", 30080, source="14.215.0.10") is Verdict.OPEN
    assert lab.probe(OUTSIDE, "192.168.7.1", 30080, source="14.216.0.10") is Verdict.DROPPED
    assert lab.probe(OUTSIDE, two.ip4, 80, source="14.216.0.10") is Verdict.DROPPED


def test_a_pod_reaches_itself_through_its_service(lab: Lab) -> None:
    """Hairpin: a pod that is isolated both ways reaches itself, also through its Service."""
    two = lab.pods[1]
    if lab.wire.value == "bridged":
        lab.node.run("ip", "link", "set", "veth2", "type", "bridge_slave", "hairpin", "on")
    lab.sync(compiled(lab.pods, {2: [ingress(), egress()]}))

    assert lab.probe("p2", SERVICE, 8080) is Verdict.OPEN
    assert lab.probe("p2", two.ip4, 80) is Verdict.OPEN
    assert lab.probe("p2", lab.pods[0].ip4, 80) is Verdict.DROPPED
    assert lab.probe("p1", SERVICE, 8080) is Verdict.DROPPED


def test_a_connection_through_a_service_is_cut_by_a_tightening(lab: Lab) -> None:
    """Revocation looks behind the Service too."""
    one, _, three = lab.pods
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one, three))]}))
    with lab.connect("p1", SERVICE, 8080) as cut, lab.connect("p3", SERVICE, 8080) as kept:
        lab.sync(compiled(lab.pods, {2: [ingress(peers(three))]}))

        assert not echoes(cut)
        assert echoes(kept)
