"""What happens to live connections, starting pods and restarts when the policy changes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest

from enforcer.model.net import Family
from enforcer.nft import netlink
from enforcer.nft.diff import diff
from enforcer.nft.kernel import NftKernel
from enforcer.policy.compiled import CompiledPolicy
from enforcer.ruleset.lower import lower
from enforcer.ruleset.options import DenyAction, ExistingConnections, UnknownPods
from enforcer.ruleset.plan import plan
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


@pytest.mark.parametrize("version", [4, 6])
def test_keep_does_not_pass_a_pods_connections_on_to_the_next_one(lab: Lab, version: int) -> None:
    """With existing-connections=keep an address takes no connection along, in one step or two."""
    one, two, three = lab.pods
    address = two.ip4 if version == 4 else two.ip6
    lab.options = replace(lab.options, existing=ExistingConnections.KEEP)
    closed = {2: [ingress(peers(three))]}
    for steps in (1, 2):
        lab.sync(owned_by(f"first-{steps}", compiled(lab.pods)))
        with (
            lab.connect("p1", address, 80) as left_over,
            lab.connect("p3", one.ip4, 80) as other,
        ):
            lab.sync(owned_by(f"first-{steps}", compiled(lab.pods, closed)))
            assert echoes(left_over)

            if steps == 2:
                lab.sync(owned_by("", compiled([one, three])))
            lab.restart()
            lab.sync(owned_by(f"second-{steps}", compiled(lab.pods, closed)))

            assert not echoes(left_over)
            assert echoes(other)
            assert lab.probe("p1", address, 80) is Verdict.DROPPED
        lab.restart()
        assert lab.sync(owned_by(f"second-{steps}", compiled(lab.pods, closed))).transactions == ()


def test_who_begins_to_keep_passes_no_connections_on_either(lab: Lab) -> None:
    """From revoke to keep: an address that found another pod meanwhile takes none along."""
    one, two, three = lab.pods
    lab.sync(owned_by("first", compiled(lab.pods)))
    with lab.connect("p1", two.ip4, 80) as left_over, lab.connect("p3", one.ip4, 80) as other:
        lab.restart()
        lab.options = replace(lab.options, existing=ExistingConnections.KEEP)
        lab.sync(owned_by("second", compiled(lab.pods, {2: [ingress(peers(three))]})))

        assert not echoes(left_over)
        assert echoes(other)


def owned_by(uid: str, policy: CompiledPolicy) -> CompiledPolicy:
    """Return a policy whose second pod has this UID."""
    pods = tuple(replace(pod, uid=uid) if pod.key.name == "p2" else pod for pod in policy.pods)
    return replace(policy, pods=pods)


def test_keep_forgets_even_if_it_was_killed_halfway(lab: Lab) -> None:
    """The owners change last: who dies before conntrack has forgotten does it at the next start."""
    _one, two, three = lab.pods
    lab.options = replace(lab.options, existing=ExistingConnections.KEEP)
    closed = compiled(lab.pods, {2: [ingress(peers(three))]})
    lab.sync(owned_by("first", compiled(lab.pods)))
    with lab.connect("p1", two.ip4, 80) as left_over:
        planned = plan(lab.have, owned_by("second", closed), lab.wiring(closed), lab.options)
        for transaction in planned.transactions:
            lab.node.call(NftKernel().apply, transaction)
        assert echoes(left_over)

        lab.restart()
        lab.sync(owned_by("second", closed))

        assert not echoes(left_over)


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


def test_the_epochs_wrap_around_past_one_that_is_still_in_use(lab: Lab) -> None:
    """After the last number comes the first that no entry carries, and no old stamp is believed."""
    _one, two, three = lab.pods
    lab.options = replace(lab.options, mark_mask=0xFF000000)
    open_, closed = compiled(lab.pods), compiled(lab.pods, {2: [ingress(peers(three))]})
    assert lab.sync(open_).epochs[Family.IPV4] == 1
    with lab.connect("p1", two.ip4, 80) as old, lab.connect("p1", two.ip6, 80) as old6:
        last = dict.fromkeys(Family, 255)
        want = lower(open_, lab.wiring(open_), last, lab.options, lab.have)
        for transaction in diff(lab.have, want):
            lab.node.call(NftKernel().apply, transaction)
        lab.restart()

        assert lab.sync(closed).epochs[Family.IPV4] == 2
        assert not echoes(old)
        assert not echoes(old6)
        assert lab.probe("p3", two.ip4, 80) is Verdict.OPEN


def test_a_deleted_table_comes_back_with_an_epoch_that_nobody_carries(lab: Lab) -> None:
    """A table made anew does not trust stamps that an older one left."""
    one, two, _ = lab.pods
    first = lab.sync(compiled(lab.pods))
    with lab.connect("p1", two.ip4, 80) as forbidden, lab.connect("p1", two.ip6, 80):
        lab.node.run("nft", "delete", "table", "ip", "npd")
        lab.restart()

        again = lab.sync(compiled(lab.pods, {2: [ingress()]}))

        assert again.epochs[Family.IPV4] != first.epochs[Family.IPV4]
        assert not echoes(forbidden)
        assert lab.probe("p2", one.ip4, 80) is Verdict.OPEN


def test_still_allowed_requests_never_notice_a_hundred_tightenings(lab: Lab) -> None:
    """A keep-alive client makes 10,000 requests across 100 new epochs, and none fails."""
    one, two, three = lab.pods
    others = [f"10.9.0.{number}" for number in range(1, 101)]
    with lab.connect("p1", two.ip4, 80) as first, lab.connect("p1", two.ip6, 80) as second:
        client = Requests((first, second))
        epochs = set()
        for number in range(100):
            allowed = peers(one, three, *others[number:])
            epochs.add(lab.sync(compiled(lab.pods, {2: [ingress(allowed)]})).epochs[Family.IPV4])
        client.finish()

    assert len(epochs) == 100
    assert client.failed == 0
    assert client.done >= Requests.FEWEST


class Requests:
    """Sends requests over open connections, one after the other, in the background."""

    FEWEST: ClassVar = 10_000

    def __init__(self, connections: Sequence[socket.socket]) -> None:
        """Start to send."""
        self.done = self.failed = 0
        self._connections = connections
        self._ended = threading.Event()
        for sock in connections:
            sock.settimeout(5)
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def finish(self) -> None:
        """Go on until there were enough."""
        self._ended.set()
        self._thread.join()

    def _send(self) -> None:
        while self.done < self.FEWEST or not self._ended.is_set():
            self.failed += not echoes(self._connections[self.done % len(self._connections)])
            self.done += 1


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
