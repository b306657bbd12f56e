"""A pod that starts is never open by accident, and sends from its own addresses only."""

from __future__ import annotations

import ipaddress
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from enforcer.model.changes import Object, Put
from enforcer.model.net import IPAddress, PortRange
from enforcer.model.objects import Key, Node
from enforcer.model.objects import Pod as KnownPod
from enforcer.policy.cluster import Cluster
from enforcer.policy.compile import compile_node
from enforcer.policy.compiled import Allowed, CompiledPolicy
from enforcer.ruleset.options import AntiSpoofing
from tests.kernel.netlab import OUTSIDE, Lab, Namespace, Pod, Verdict, Wire, wait_until
from tests.kernel.policies import TCP, compiled, ingress, peers

pytestmark = pytest.mark.kernel

WIRES = pytest.mark.parametrize("wire", list(Wire), ids=lambda wire: wire.value)
STARTS = 5
INSIDE = "14.215.0.10"


def without_networks(policy: CompiledPolicy) -> CompiledPolicy:
    """Return the policy of a node that does not tell its pod networks."""
    return replace(policy, pod_networks=())


@WIRES
@pytest.mark.parametrize("networks", ["known", "unknown"])
def test_a_starting_pod_reaches_nobody_before_it_is_known(wire: Wire, networks: str) -> None:
    """From before its first packet a pod's datagrams arrive nowhere until it is programmed."""
    with Lab(wire, pods=1 + STARTS) as lab:
        first, *starting = lab.pods
        if networks == "unknown":
            lab.options = replace(lab.options, pod_interfaces=("veth*", "br0"))
        for pod in starting:
            _stop(lab, pod)
        for count, pod in enumerate(starting, 1):
            lab.sync(_policy(lab.pods[:count], networks))
            with _arrivals(lab.spaces[first.name]) as arrived, _flood(lab, pod, first):
                _start(lab, pod)
                wait_until(lambda pod=pod: _sent(lab, pod) > 20)  # type: ignore[misc]
                assert arrived == []

                lab.sync(_policy(lab.pods[: count + 1], networks))
                wait_until(lambda arrived=arrived: len(set(arrived)) == 2)  # type: ignore[misc]


def _policy(pods: list[Pod], networks: str) -> CompiledPolicy:
    policy = compiled(pods)
    return policy if networks == "known" else without_networks(policy)


def test_an_interface_with_another_name_is_known_by_its_route() -> None:
    """Without pod networks a route to one address in another namespace leads to a pod.

    Until that pod is known it reaches nobody, nor one whose own policies let everybody in.
    """
    anybody = Allowed(ports=frozenset({PortRange(TCP, 80, 80)}))
    with Lab(Wire.ROUTED) as lab:
        for pod in lab.pods:
            lab.serve(pod.name, 80)
        one, two, three = lab.pods
        lab.sync(without_networks(compiled([one, two], {2: [ingress(anybody)]})))

        for address in (three.ip4, three.ip6):
            assert lab.probe("p1", address, 80) is Verdict.DROPPED
            assert lab.probe("node", address, 80) is Verdict.OPEN
        for address in (one.ip4, two.ip4, two.ip6):
            assert lab.probe("p3", address, 80) is Verdict.DROPPED
        assert lab.probe("p1", two.ip4, 80) is Verdict.OPEN


def test_without_pod_networks_services_and_the_outside_go_on(lab: Lab) -> None:
    """Known by their interfaces, pods reach backends, the outside and are reached from there."""
    one, two, _ = lab.pods
    lab.serve(OUTSIDE, 80)
    proxy = "add table ip proxy; add chain ip proxy pre { type nat hook prerouting priority -100; }"
    lab.node.run("nft", f"{proxy}; add rule ip proxy pre ip daddr 10.96.0.1 dnat to {two.ip4}")
    lab.sync(without_networks(compiled(lab.pods)))

    assert lab.probe("p1", "10.96.0.1", 80) is Verdict.OPEN
    assert lab.probe("p1", INSIDE, 80) is Verdict.OPEN
    assert lab.probe(OUTSIDE, one.ip4, 80) is Verdict.OPEN
    assert lab.probe(OUTSIDE, one.ip6, 80) is Verdict.OPEN


@WIRES
def test_ranges_that_the_cni_plugin_does_not_use_say_nothing(wire: Wire) -> None:
    """This node's pods are beyond its range, another node's pod is within it: as Calico has it.

    The other's is no unknown pod of ours, and a pod that starts here is one.
    """
    with Lab(wire) as lab:
        _far_pods_are_known_and_starting_ones_are_not(
            lab,
            _node("node", "10.3.0.0/24", "fd00:3::/64"),
            _node("other", "10.4.0.0/24", "fd00:4::/64"),
        )


def test_ranges_that_two_nodes_have_say_nothing() -> None:
    """All pods are within their Nodes' ranges, and another node's is within ours, too."""
    with Lab(Wire.ROUTED) as lab:
        _far_pods_are_known_and_starting_ones_are_not(
            lab,
            _node("node", "10.2.0.0/15", "fd00:2::/31"),
            _node("other", "10.3.0.0/24", "fd00:3::/64"),
        )


def _far_pods_are_known_and_starting_ones_are_not(lab: Lab, *nodes: Node) -> None:
    lab.options = replace(lab.options, pod_interfaces=("veth*", "br0"))
    for place in (OUTSIDE, *(pod.name for pod in lab.pods)):
        lab.serve(place, 80)
    cluster = Cluster()
    objects: list[Object] = [*nodes, FAR, *map(_known, lab.pods[:2])]
    for item in objects:
        cluster.apply(Put(item))
    lab.sync(compile_node(cluster, "node"))

    one, _, three = lab.pods
    for far, near in zip(FAR.addresses, (one.ip4, one.ip6), strict=True):
        assert lab.probe("p1", str(far), 80) is Verdict.OPEN
        assert lab.probe(OUTSIDE, near, 80, source=str(far)) is Verdict.OPEN
        assert lab.probe("p2", near, 80) is Verdict.OPEN
        assert lab.probe("p3", near, 80) is Verdict.DROPPED
    for address in (three.ip4, three.ip6):
        assert lab.probe("p1", address, 80) is Verdict.DROPPED


def _known(pod: Pod) -> KnownPod:
    return KnownPod(Key("ns", pod.name), "node", {}, _addresses(pod.ip4, pod.ip6))


def _addresses(*texts: str) -> tuple[IPAddress, ...]:
    return tuple(map(ipaddress.ip_address, texts))


def _node(name: str, *ranges: str) -> Node:
    return Node(name, (), tuple(map(ipaddress.ip_network, ranges)))


FAR = KnownPod(Key("ns", "far"), "other", {}, _addresses("10.3.0.10", "fd00:3::10"))


def test_anti_spoofing_can_be_switched_off(lab: Lab) -> None:
    """With anti-spoofing=off a pod's datagrams arrive in another's name."""
    one, two, three = lab.pods
    policy = compiled(lab.pods, {2: [ingress(peers(INSIDE))]})
    with _arrivals(lab.spaces[two.name]) as arrived:
        lab.sync(policy)
        _claim(lab, one, INSIDE, two)
        lab.sync(compiled(lab.pods))
        _until_heard(lab, three, two, arrived)
        assert INSIDE not in arrived

        lab.options = replace(lab.options, anti_spoofing=AntiSpoofing.OFF)
        lab.sync(policy)
        wait_until(lambda: _claim(lab, one, INSIDE, two) in arrived)


def test_pods_that_forward_for_others_can_be_named(lab: Lab) -> None:
    """A pod that is named sends in others' names; one that is not still cannot."""
    one, two, three = lab.pods
    lab.show_packets(lab.links.same_node, forwarding=["ns/p1", "vpn/*"])
    policy = compiled(lab.pods, {2: [ingress(peers(INSIDE, "14.216.0.10"))]})
    with _arrivals(lab.spaces[two.name]) as arrived:
        lab.sync(policy)
        for _ in range(5):
            _claim(lab, three, "14.216.0.10", two)
        wait_until(lambda: _claim(lab, one, INSIDE, two) in arrived)

    assert "14.216.0.10" not in arrived


def _claim(lab: Lab, pod: Pod, source: str, target: Pod) -> str:
    """Send a datagram from a pod in another's name, and return that."""
    space = lab.spaces[pod.name]
    space.run("ip", "addr", "replace", f"{source}/32", "dev", "lo")
    with space.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.sendto(b"claim", (target.ip4, 9999))
    return source


def _until_heard(lab: Lab, pod: Pod, target: Pod, arrived: list[str]) -> None:
    """Wait until what was sent before has arrived, or never will."""
    with lab.spaces[pod.name].call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock:

        def heard() -> bool:
            sock.sendto(b"end", (target.ip4, 9999))
            return pod.ip4 in arrived

        wait_until(heard)


@contextmanager
def _arrivals(space: Namespace) -> Iterator[list[str]]:
    """Collect the senders of datagrams to port 9999, of both families."""
    found: list[str] = []
    ended = threading.Event()
    sock = space.call(socket.socket, socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind(("::", 9999))
    sock.settimeout(0.02)

    def receive() -> None:
        while not ended.is_set():
            try:
                sender = ipaddress.IPv6Address(sock.recvfrom(100)[1][0])
            except TimeoutError:
                continue
            found.append(str(sender.ipv4_mapped or sender))

    thread = threading.Thread(target=receive)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
        sock.close()


@contextmanager
def _flood(lab: Lab, pod: Pod, target: Pod) -> Iterator[None]:
    """Send datagrams of both families from a pod, also while it is not wired yet."""
    ended = threading.Event()
    kinds = ((socket.AF_INET, target.ip4), (socket.AF_INET6, target.ip6))

    def send() -> None:
        sockets = [
            (lab.spaces[pod.name].call(socket.socket, kind, socket.SOCK_DGRAM), address)
            for kind, address in kinds
        ]
        while not ended.wait(0.002):
            for sock, address in sockets:
                try:
                    sock.sendto(b"early", (address, 9999))
                except OSError:
                    continue  # no route yet
        for sock, _ in sockets:
            sock.close()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _stop(lab: Lab, pod: Pod) -> None:
    lab.node.run("ip", "link", "set", f"veth{pod.number}", "down")


def _start(lab: Lab, pod: Pod) -> None:
    """Do what a CNI plugin does last: the node's end comes up, and the routes with it."""
    lines = lab.port_setup(pod)
    text = "".join(f"{line}\n" for line in lines).replace("route add", "route replace")
    lab.node.run("ip", "-batch", "-", text=text)


def _sent(lab: Lab, pod: Pod) -> int:
    """Return how many packets have come from a pod to its node."""
    listing = json.loads(lab.node.run("ip", "-j", "-s", "link", "show", f"veth{pod.number}"))
    return int(listing[0]["stats64"]["rx"]["packets"])
