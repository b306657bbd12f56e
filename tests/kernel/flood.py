"""Floods of packets through a lab's node: what is denied, what is allowed, and what became of it.

A datagram without an answer says little: a flood fills the queue of packets that wait for a core
(``netdev_max_backlog``) whenever that core is busy with others, and what does not fit is lost. So
what is allowed is counted in the kernel, where it enters the node and where it leaves it: between
the two there is no queue, and what is missing there was dropped by a rule.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.kernel.netlab import Lab, Namespace, Pod, wait_until

DENIED_UDP, ALLOWED_UDP, DENIED_TCP = 5082, 80, 5084
PAUSE, BURST = 0.001, 30
"""Seconds between two bursts, and datagrams in one: to meet every moment of a change."""

PATIENCE_SECONDS = 5.0
"""How long an answer may take: a core may be busy elsewhere."""

MOST_QUEUED = 1000
"""Packets that wait for a core at most (``netdev_max_backlog``)."""

WITNESS = ("netdev", "witness")
COUNTED = """
add counter netdev witness {way}_in
add counter netdev witness {way}_out
add chain netdev witness {way}_in {{ type filter hook ingress device "{enters}" priority -500; }}
add chain netdev witness {way}_out {{ type filter hook egress device "{leaves}" priority 500; }}
add rule netdev witness {way}_in {what} counter name {way}_in
add rule netdev witness {way}_out {what} counter name {way}_out
"""


@dataclass
class Flood:
    """What a flood has done: datagrams and SYNs that were sent, and how many of each arrived.

    ``swallowed`` are the packets, of those that are watched, that a rule of the node dropped.
    """

    sent: int = 0
    arrived: int = 0
    swallowed: int = 0


@contextmanager
def running(*work: object) -> Iterator[threading.Event]:
    """Run functions of an event, each in a thread, until the block ends; then set the event."""
    ended = threading.Event()
    threads = [threading.Thread(target=item, args=(ended,)) for item in work]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    try:
        yield ended
    finally:
        ended.set()
        for thread in threads:
            thread.join()


class DeniedFlow:
    """Datagrams and ever new connections from one pod to another, and what of them arrives."""

    def __init__(self, client: Namespace, server: Namespace, address: str) -> None:
        """Listen at ``server``; :meth:`send` sends from ``client``."""
        self.seen = Flood()
        self._client, self._address = client, address
        self._udp = server.call(_bound, socket.SOCK_DGRAM, DENIED_UDP)
        self._tcp = server.call(_bound, socket.SOCK_STREAM, DENIED_TCP)

    def send(self, ended: threading.Event) -> None:
        """Send until told to end."""
        udp = self._client.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        tries: list[socket.socket] = []
        while not ended.wait(PAUSE):
            for _ in range(BURST):  # what is denied leaves no connection: each is judged anew
                udp.sendto(b"no", (self._address, DENIED_UDP))
            tcp = self._client.call(socket.socket, socket.AF_INET, socket.SOCK_STREAM)
            tcp.setblocking(False)  # noqa: FBT003 - the standard library's signature
            with suppress(BlockingIOError):
                tcp.connect((self._address, DENIED_TCP))
            tries.append(tcp)
            self.seen.sent += BURST + 1
            if len(tries) > 100:
                tries.pop(0).close()
        for item in (udp, *tries):
            item.close()

    def receive(self, ended: threading.Event) -> None:
        """Count what arrives, until told to end."""
        while not ended.wait(PAUSE):
            with suppress(BlockingIOError):
                self._udp.recv(10)
                self.seen.arrived += 1
            with suppress(BlockingIOError):
                self._tcp.accept()[0].close()
                self.seen.arrived += 1

    def close(self) -> None:
        """Close the servers."""
        self._udp.close()
        self._tcp.close()


def _bound(kind: socket.SocketKind, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("0.0.0.0", port))
    sock.setblocking(False)  # noqa: FBT003 - as above
    if kind is socket.SOCK_STREAM:
        sock.listen(100)
    return sock


class Stubborn:
    """One connection on which datagrams follow each other as fast as can be."""

    def __init__(self, client: Namespace, server: Namespace, address: str) -> None:
        """Listen at ``server``; :meth:`send` sends from ``client``."""
        self.sent = 0
        self._client, self._address = client, address
        self._server = server.call(_bound, socket.SOCK_DGRAM, DENIED_UDP)

    def send(self, ended: threading.Event) -> None:
        """Send until told to end."""
        with self._client.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as udp:
            while not ended.is_set():
                udp.sendto(b"still", (self._address, DENIED_UDP))
                self.sent += 1

    def arrives(self) -> bool:
        """Whether any of the next datagrams arrives; those that have arrived do not count."""
        self._await_more()
        with suppress(BlockingIOError):
            while True:
                self._server.recv(10)
        self._await_more()
        with suppress(BlockingIOError):
            return bool(self._server.recv(10))
        return False

    def _await_more(self) -> None:
        before = self.sent
        wait_until(lambda: self.sent > before + 2 * MOST_QUEUED)

    def close(self) -> None:
        """Close the server."""
        self._server.close()


class Witness:
    """Counts what of one UDP flow enters the node, and what leaves it, there and back."""

    def __init__(self, lab: Lab, client: Pod, server: Pod) -> None:
        """Count from now on what ``client`` sends to the allowed port of ``server``."""
        self._node = lab.node
        there = COUNTED.format(
            way="asked",
            enters=client.port,
            leaves=server.port,
            what=f"ip saddr {client.ip4} ip daddr {server.ip4} udp dport {ALLOWED_UDP}",
        )
        back = COUNTED.format(
            way="answered",
            enters=server.port,
            leaves=client.port,
            what=f"ip saddr {server.ip4} ip daddr {client.ip4} udp sport {ALLOWED_UDP}",
        )
        table = " ".join(WITNESS)
        lab.node.run("nft", "-f", "-", text=f"add table {table}{there}{back}")

    def swallowed(self) -> int:
        """Return how many packets entered the node and never left it, and count no more."""
        listed = json.loads(self._node.run("nft", "-j", "list", "counters", "table", *WITNESS))
        self._node.run("nft", "delete", "table", *WITNESS)
        counters = [item["counter"] for item in listed["nftables"] if "counter" in item]
        seen = {counter["name"]: int(counter["packets"]) for counter in counters}
        return sum(seen[f"{way}_in"] - seen[f"{way}_out"] for way in ("asked", "answered"))


class AllowedFlow:
    """Datagrams that are always allowed: each is echoed, unless something lost it."""

    def __init__(self, client: Namespace, address: str) -> None:
        """Send from ``client`` to an echo server."""
        self.seen = Flood()
        self._client, self._address = client, address

    def send(self, ended: threading.Event) -> None:
        """Ask and wait for each answer, until told to end; half of them on new connections."""
        kept = self._client.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        while not ended.wait(PAUSE):
            new = self._client.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
            with new:
                for sock in (new, kept):
                    self._ask(sock)
        kept.close()

    def _ask(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE_SECONDS)
        self.seen.sent += 1
        sock.sendto(b"yes", (self._address, ALLOWED_UDP))
        with suppress(TimeoutError):
            sock.recv(10)
            self.seen.arrived += 1


@contextmanager
def flooded(lab: Lab) -> Iterator[tuple[DeniedFlow, AllowedFlow]]:
    """Send what is denied and what is allowed to the second pod, from the first and the third."""
    one, two, three = lab.pods
    denied = DeniedFlow(lab.spaces[one.name], lab.spaces[two.name], two.ip4)
    allowed = AllowedFlow(lab.spaces[three.name], two.ip4)
    witness = Witness(lab, three, two)
    with running(denied.send, denied.receive, allowed.send):
        wait_until(lambda: denied.seen.sent > 10 and allowed.seen.arrived > 5)
        yield denied, allowed
    denied.close()
    allowed.seen.swallowed = witness.swallowed()
