"""What happens to live connections, starting pods and restarts when the policy changes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from enforcer.nft import netlink
from enforcer.ruleset.options import DenyAction, ExistingConnections, UnknownPods
from tests.kernel.netlab import NODE, OUTSIDE, Lab, Namespace, Verdict, echoes, wait_until
from tests.kernel.policies import TCP, compiled, egress, ingress, peer_ports, peers

pytestmark = pytest.mark.kernel

ROUNDS = 12


def test_a_tightening_cuts_what_it_forbids_and_nothing_else(lab: Lab) -> None:
    """A connection that the new policy forbids is cut; one that it allows stays."""
    one, two, three = lab.pods
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one, three))]}))
    forbidden, allowed = lab.connect("p1", two.ip4, 80), lab.connect("p3", two.ip4, 80)
    outgoing = lab.connect("p2", three.ip6, 80)

    lab.sync(compiled(lab.pods, {2: [ingress(peers(three))]}))

    with forbidden, allowed, outgoing:
        assert not echoes(forbidden)
        assert echoes(allowed)
        assert echoes(outgoing)


def test_the_servers_half_of_a_revoked_connection_is_cut_too(lab: Lab) -> None:
    """What a server pushes to a client that is no longer allowed does not arrive."""
    _one, two, _ = lab.pods
    lab.sync(compiled(lab.pods))
    listener = lab.spaces["p2"].call(lambda: socket.create_server((two.ip4, 7000)))
    client = lab.spaces["p1"].call(lambda: socket.create_connection((two.ip4, 7000)))
    server = listener.accept()[0]
    with listener, client, server:
        client.settimeout(0.25)
        server.sendall(b"before")
        assert client.recv(100) == b"before"

        lab.sync(compiled(lab.pods, {1: [egress(peers("10.9.9.9"))]}))

        server.sendall(b"after")
        with pytest.raises(TimeoutError):
            client.recv(100)


def test_a_rejected_connection_stays_cut(lab: Lab) -> None:
    """The ICMP errors and resets of a rejection do not let the connection in again."""
    one, two, three = lab.pods
    lab.options = replace(lab.options, deny_action=DenyAction.REJECT)
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one, three))]}))
    with lab.connect("p1", two.ip4, 80) as forbidden, counted(lab.spaces["p2"], 82) as arrived:
        datagrams = lab.spaces["p1"].call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.sendto(b"before", (two.ip4, 82))
        wait_until(lambda: arrived() == 1)

        lab.sync(compiled(lab.pods, {2: [ingress(peers(three))]}))

        with datagrams:
            for _ in range(5):
                assert not echoes(forbidden)
                _send_quietly(datagrams, (two.ip4, 82))
        assert lab.probe("p1", two.ip4, 80) is Verdict.REFUSED
        assert lab.probe("p3", two.ip4, 80) is Verdict.OPEN
        # The kernel sends only so many ICMP errors a second.
        answers = {Verdict.REJECTED, Verdict.REFUSED}
        wait_until(lambda: lab.probe("p1", two.ip4, 80, socket.SOCK_DGRAM) in answers)
        assert arrived() == 1


def test_keep_leaves_live_connections_and_judges_new_ones(lab: Lab) -> None:
    """With existing-connections=keep a tightened policy judges new connections only."""
    one, two, three = lab.pods
    lab.options = replace(lab.options, existing=ExistingConnections.KEEP)
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one))]}))
    with lab.connect("p1", two.ip4, 80) as kept:
        lab.sync(compiled(lab.pods, {2: [ingress(peers(three))]}))

        assert echoes(kept)
        assert lab.probe("p1", two.ip4, 80) is Verdict.DROPPED
        assert lab.probe("p3", two.ip4, 80) is Verdict.OPEN


def test_an_address_that_moves_to_another_pod_takes_no_connection_along(lab: Lab) -> None:
    """When a pod goes its stamped connections are judged again, as those of a stranger."""
    one, two, _ = lab.pods
    lab.sync(compiled(lab.pods))
    with lab.connect("p1", two.ip4, 80) as left_over, lab.connect("p3", one.ip4, 80) as other:
        lab.sync(compiled([pod for pod in lab.pods if pod is not two]))

        assert not echoes(left_over)
        assert echoes(other)


def test_an_address_that_is_not_programmed_is_denied(lab: Lab) -> None:
    """A pod that the node was not told of reaches nobody and is reached by its node only."""
    one, two, three = lab.pods
    lab.sync(compiled([one, two]))

    for address in (three.ip4, three.ip6):
        assert lab.probe("p1", address, 80) is Verdict.DROPPED
        assert lab.probe(OUTSIDE, address, 80) is Verdict.DROPPED
        assert lab.probe(NODE, address, 80) is Verdict.OPEN
    assert lab.probe("p3", one.ip4, 80) is Verdict.DROPPED
    assert lab.probe("p1", two.ip4, 80) is Verdict.OPEN


def test_unknown_pods_may_be_allowed(lab: Lab) -> None:
    """With unknown-pods=allow an address that is not programmed is open."""
    one, two, three = lab.pods
    lab.options = replace(lab.options, unknown_pods=UnknownPods.ALLOW)
    lab.sync(compiled([one, two]))

    assert lab.probe("p1", three.ip4, 80) is Verdict.OPEN


def test_a_restart_without_changes_sends_nothing(lab: Lab) -> None:
    """What is read back from the kernel is what was written, whatever the restarted one wants."""
    one, two, _ = lab.pods
    policy = compiled(
        lab.pods, {1: [egress(peer_ports([two], (TCP, 80)))], 2: [ingress(peers(one))]}
    )
    lab.sync(policy)
    lab.probe("p1", two.ip4, 80)
    lab.sync(policy)
    before = lab.node.call(netlink.ruleset_generation)
    with lab.connect("p1", two.ip4, 80) as kept:
        lab.restart()

        assert lab.sync(policy).transactions == ()
        assert lab.node.call(netlink.ruleset_generation) == before
        assert echoes(kept)


def test_a_deleted_table_comes_back_with_an_epoch_that_nobody_carries(lab: Lab) -> None:
    """A table made anew does not trust stamps that an older one left."""
    one, two, _ = lab.pods
    first = lab.sync(compiled(lab.pods))
    with lab.connect("p1", two.ip4, 80) as forbidden, lab.connect("p1", two.ip6, 80):
        lab.node.run("nft", "delete", "table", "inet", "npd")
        lab.restart()

        again = lab.sync(compiled(lab.pods, {2: [ingress()]}))

        assert again.epoch != first.epoch
        assert not echoes(forbidden)
        assert lab.probe("p2", one.ip4, 80) is Verdict.OPEN


def test_a_new_class_under_a_flood_lets_nothing_through(lab: Lab) -> None:
    """Isolating a pod while datagrams of ever new clients arrive leaves none of them open."""
    _one, two, three = lab.pods
    lab.sync(compiled(lab.pods))
    with counted(lab.spaces["p2"], 82) as arrived:
        for number in range(ROUNDS):
            seen = arrived()
            with flood(lab.spaces["p1"], (two.ip4, 82)) as sockets:
                wait_until(lambda seen=seen: arrived() > seen)  # type: ignore[misc]
                lab.sync(compiled(lab.pods, {2: [ingress(peers(three), f"round-{number}")]}))
            # Datagrams that passed before the last transaction may still wait to be counted.
            closed = settled(lab.spaces["p3"], (two.ip4, 82), arrived)
            for sock in sockets:
                sock.sendto(b"again", (two.ip4, 82))
                sock.close()
            assert settled(lab.spaces["p3"], (two.ip4, 82), arrived) == closed
            lab.sync(compiled(lab.pods))


MARK = b"mark "


@dataclass
class Arrivals:
    """What has arrived at a port and was counted, marks apart."""

    others: int = 0
    marks: set[bytes] = field(default_factory=set)

    def __call__(self) -> int:
        """Return the number of datagrams that are no marks."""
        return self.others


def settled(friend: Namespace, target: tuple[str, int], arrived: Arrivals) -> int:
    """Return the count when all that waited has been counted: a friend's mark queues up last.

    It is sent until it is seen: a full queue loses what comes.
    """
    mark = MARK + str(len(arrived.marks)).encode()

    def seen(sock: socket.socket) -> bool:
        sock.sendto(mark, target)
        return mark in arrived.marks

    with friend.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        wait_until(lambda: seen(sock))
    return arrived()


@contextmanager
def counted(space: Namespace, port: int) -> Iterator[Arrivals]:
    """Count the datagrams that arrive at a port of a namespace."""
    sock = space.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", port))
    sock.settimeout(0.02)
    arrivals = Arrivals()
    ended = threading.Event()

    def receive() -> None:
        while not ended.is_set():
            try:
                received = sock.recv(100)
            except TimeoutError:
                continue
            if received.startswith(MARK):
                arrivals.marks.add(received)
            else:
                arrivals.others += 1

    thread = threading.Thread(target=receive)
    thread.start()
    try:
        yield arrivals
    finally:
        ended.set()
        thread.join()
        sock.close()


@contextmanager
def flood(space: Namespace, target: tuple[str, int]) -> Iterator[list[socket.socket]]:
    """Send datagrams, each from a new port, until the block ends; the sockets stay open."""
    sockets: list[socket.socket] = []
    ended = threading.Event()

    def send() -> None:
        while not ended.is_set() and len(sockets) < 2000:
            sock = space.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
            sockets.append(sock)
            sock.sendto(b"flood", target)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sockets
        ended.set()
        thread.join()
    finally:
        ended.set()
        thread.join()


def _send_quietly(sock: socket.socket, target: tuple[str, int]) -> None:
    try:
        sock.sendto(b"after", target)
    except OSError:
        return
