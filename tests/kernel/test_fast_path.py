from __future__ import annotations

import select
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from threading import Event, Thread
from typing import Self

import pytest

from enforcer.links import NodeLinks
from enforcer.nft.kernel import NftKernel
from enforcer.node import NodeTables
from enforcer.policy.compiled import CompiledPolicy
from enforcer.ruleset.names import INET, TABLES
from enforcer.wiring import FastPath, SameNode, Wiring
from tests.kernel.netlab import OUTSIDE, Lab, Verdict, Wire, echoes, wait_until
from tests.kernel.policies import NOTHING, compiled, ingress, peers

pytestmark = [pytest.mark.kernel, pytest.mark.optional("@flowtables")]

DATAGRAM = socket.SOCK_DGRAM
INSIDE = "14.215.0.10"
QUEUED = 10_000  # more than a receiver's queue holds


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Return a node with three routed pods that serve on port 80, and the fast path on."""
    with Lab(Wire.ROUTED) as built:
        built.links.close()
        built.links = built.node.call(NodeLinks, SameNode.AUTO, (), FastPath.ON)
        for pod in built.pods:
            built.serve(pod.name, 80)
        yield built
        built.links.close()


def offloaded(lab: Lab) -> int:
    """Return how many connections the short cut holds."""
    return lab.node.run("cat", "/proc/net/nf_conntrack").count("[OFFLOAD]")


def connect_offloaded(lab: Lab, place: str, address: str) -> socket.socket:
    """Return a TCP connection that has taken the short cut."""
    before = offloaded(lab)
    sock = lab.connect(place, address, 80)

    def is_offloaded() -> bool:
        assert echoes(sock)
        return offloaded(lab) > before

    wait_until(is_offloaded)
    return sock


def test_an_established_connection_takes_the_short_cut(lab: Lab) -> None:
    """A judged connection goes past all rules, to pods and away from the node."""
    one, two, _ = lab.pods
    lab.serve(OUTSIDE, 80)
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one))]}))

    with connect_offloaded(lab, "p1", two.ip4) as near, connect_offloaded(lab, "p1", INSIDE) as far:
        packets = _forwarded(lab)
        for _ in range(20):
            assert echoes(near)
            assert echoes(far)
        assert _forwarded(lab) - packets < 20


@pytest.mark.parametrize("address", ["ip4", "ip6"])
def test_a_tightened_policy_takes_connections_back(lab: Lab, address: str) -> None:
    """What a policy forbids is cut at the next packet, however it went; the rest goes on."""
    one, two, three = lab.pods
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one, three))]}))
    with (
        connect_offloaded(lab, "p1", getattr(two, address)) as cut,
        connect_offloaded(lab, "p3", getattr(two, address)) as kept,
    ):
        lab.sync(compiled(lab.pods, {2: [ingress(peers(three))]}))

        assert not echoes(cut)
        assert echoes(kept)
        wait_until(lambda: echoes(kept) and offloaded(lab) > 0)


def test_no_datagram_slips_by_a_revocation(lab: Lab) -> None:
    """Under a flood none arrives that was sent after the policy was tightened, time and again."""
    one, two, _ = lab.pods
    allowed = compiled(lab.pods, {2: [ingress(peers(one))]})
    denied = compiled(lab.pods, {2: [ingress()]})
    with _Flood(lab, two.ip4) as flood:
        for _ in range(3):
            lab.sync(allowed)
            wait_until(lambda: flood.arrives() and offloaded(lab) > 0)

            lab.sync(denied)

            # What was on its way when the transaction was made is in the receiver's queue now.
            lab.node.run("sleep", "0.05")
            assert flood.drain() < QUEUED
            assert not flood.arrives()


def test_a_pods_address_takes_no_short_cut_along(lab: Lab) -> None:
    """The next pod with an address does not inherit the connections of the one that went."""
    one, two, _ = lab.pods
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one))]}))
    with connect_offloaded(lab, "p1", two.ip4) as sock:
        lab.sync(compiled([pod for pod in lab.pods if pod != two]))

        assert not echoes(sock)


def test_interfaces_join_and_leave(lab: Lab) -> None:
    """The short cut's interfaces are those of now; an interface that goes takes nothing along."""
    one, two, three = lab.pods
    policy = compiled(lab.pods, {2: [ingress(peers(one))]})
    lab.sync(policy)
    assert {"veth1", "veth2", "veth3", "up0"} == _devices(lab)

    with connect_offloaded(lab, "p1", two.ip4) as sock:
        lab.node.run("ip", "link", "del", f"veth{three.number}")
        lab.restart()
        lab.sync(policy)

        assert {"veth1", "veth2", "up0"} == _devices(lab)
        assert echoes(sock)


def test_an_interface_that_cannot_join_spoils_nothing(lab: Lab) -> None:
    """The rules are in the kernel, without a short cut, where an interface is not to be had."""
    one, two, three = lab.pods
    tables = lab.node.call(NodeTables, NftKernel(), lab.options, _Ghost(lab.links))

    lab.node.call(tables.sync, compiled(lab.pods, {2: [ingress(peers(one))]}))

    assert _devices(lab) == set()
    assert lab.probe("p1", two.ip4, 80) is Verdict.OPEN
    assert lab.probe(three.name, two.ip4, 80) is Verdict.DROPPED


def test_a_connection_through_a_service_takes_the_short_cut(lab: Lab) -> None:
    """Translated addresses stay translated, and revocation judges the true backend."""
    one, two, _ = lab.pods
    lab.node.run(
        "nft",
        "add table ip nat; add chain ip nat pre { type nat hook prerouting priority -100; };"
        f"add rule ip nat pre ip daddr 10.96.0.1 dnat to {two.ip4}",
    )
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one))]}))
    with connect_offloaded(lab, "p1", "10.96.0.1") as sock:
        lab.sync(compiled(lab.pods, {2: [ingress(NOTHING)]}))

        assert not echoes(sock)


def test_a_packet_that_is_too_long_goes_the_long_way(lab: Lab) -> None:
    """Who sends more than the next link carries is told so, on the short cut, too."""
    one, _, _ = lab.pods
    lab.serve(OUTSIDE, 80)
    lab.sync(compiled(lab.pods))
    with connect_offloaded(lab, one.name, INSIDE) as sock:
        lab.node.run("ip", "link", "set", "up0", "mtu", "1300")
        message = bytes(4000)
        sock.sendall(message)
        received = 0
        while received < len(message):
            received += len(sock.recv(4096))


def _forwarded(lab: Lab) -> int:
    """Return how many packets a chain behind ours has seen since it was made."""
    known = lab.node.run("nft", "list", "tables").splitlines()
    if "table inet seen" not in known:
        lab.node.run(
            "nft",
            "add table inet seen; "
            "add chain inet seen f { type filter hook forward priority 10; };"
            "add rule inet seen f counter",
        )
    words = lab.node.run("nft", "list", "chain", "inet", "seen", "f").split()
    return int(words[words.index("packets") + 1])


def _devices(lab: Lab) -> set[str]:
    tables = lab.node.call(lambda: NftKernel().read(TABLES))
    return {device for item in tables.tables[INET].flowtables.values() for device in item.devices}


class _Ghost:
    """Links of which one has gone since it was looked at."""

    def __init__(self, links: NodeLinks) -> None:
        self._links = links

    def connect(self, policy: CompiledPolicy) -> Wiring:
        wiring = self._links.connect(policy)
        return replace(wiring, fast=wiring.fast | {"ghost0"})

    def confirm(self) -> Mapping[str, str]:
        return self._links.confirm()

    def changed(self) -> bool:
        return self._links.changed()


class _Flood:
    """Datagrams from pod 1 to an echo server, as fast as they go; the answers are counted."""

    def __init__(self, lab: Lab, address: str) -> None:
        self._socket = lab.spaces["p1"].call(socket.socket, socket.AF_INET, DATAGRAM)
        self._socket.settimeout(0.3)
        self._socket.connect((address, 80))
        self._ended = Event()
        self._thread = Thread(target=self._send)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def arrives(self) -> bool:
        """Whether an answer comes."""
        try:
            return bool(self._socket.recv(100))
        except TimeoutError:
            return False

    def drain(self) -> int:
        """Take what has come, and say how many; no more than QUEUED."""
        for number in range(QUEUED):
            if not select.select([self._socket], [], [], 0)[0]:
                return number
            self._socket.recv(100)
        return QUEUED

    def _send(self) -> None:
        while not self._ended.wait(0.002):
            self._socket.send(b"hello")
