"""A node whose judged connections take the short cut, and traffic to try it with."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Final, Self

from enforcer.links import NodeLinks
from enforcer.wiring import FastPath, SameNode
from tests.kernel.netlab import (
    OUTSIDE,
    SILENCE_SECONDS,
    Lab,
    Namespace,
    Wire,
    echoes,
    wait_until,
)

INSIDE: Final = "14.215.0.10"
QUEUED: Final = 10_000  # more than a receiver's queue holds
LOADED_PORT: Final = 82
_DATAGRAMS: Final = 20
_PAUSE_SECONDS: Final = 0.01
_PATIENCE_SECONDS: Final = 30.0
_SIZE: Final = 65536


@contextmanager
def fast_lab() -> Iterator[Lab]:
    """Build a node with three routed pods that serve on port 80, the fast path on, under load."""
    with Lab(Wire.ROUTED) as lab:
        lab.links.close()
        lab.links = lab.node.call(NodeLinks, SameNode.AUTO, (), FastPath.ON)
        for pod in lab.pods:
            lab.serve(pod.name, 80)
        lab.serve(OUTSIDE, LOADED_PORT)
        with _Load(lab):
            yield lab
        lab.links.close()


def entry(lab: Lab, sock: socket.socket) -> str:
    """Return what conntrack says of a socket's connection; empty where it knows none."""
    port = f"{sock.getsockname()[1]} "
    known = lab.node.run("cat", "/proc/net/nf_conntrack").splitlines()
    return next((line for line in known if line.partition("sport=")[2].startswith(port)), "")


def is_offloaded(lab: Lab, sock: socket.socket) -> bool:
    """Whether a socket's connection takes the short cut."""
    return "[OFFLOAD]" in entry(lab, sock)


def connect_offloaded(
    lab: Lab, place: str, address: str, port: int = 80, source: str = ""
) -> socket.socket:
    """Return a TCP connection that has taken the short cut."""
    sock = lab.connect(place, address, port, source)

    def goes_fast() -> bool:
        assert echoes(sock)
        return is_offloaded(lab, sock)

    wait_until(goes_fast)
    return sock


class Counter:
    """Counts in a namespace what arrives there from an address."""

    def __init__(self, lab: Lab, place: str, source: str) -> None:
        """Begin at 0."""
        self._space = lab.spaces[place]
        family = "ip6" if ":" in source else "ip"
        self._space.run(
            "nft",
            "add table inet arrived; "
            "add chain inet arrived c { type filter hook prerouting priority -500; };"
            f"add rule inet arrived c {family} saddr {source} counter",
        )

    def packets(self) -> int:
        """Return how many have arrived."""
        words = self._space.run("nft", "list", "chain", "inet", "arrived", "c").split()
        return int(words[words.index("packets") + 1])


class Flood:
    """Datagrams from pod 1 to an echo server, as fast as they go; the answers are counted."""

    def __init__(self, lab: Lab, address: str) -> None:
        """Aim at port 80 of an address; entering the context starts it."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = lab.spaces["p1"].call(socket.socket, family, socket.SOCK_DGRAM)
        self.socket.settimeout(SILENCE_SECONDS)
        self.socket.connect((address, 80))
        self._ended = Event()
        self._thread = Thread(target=self._send)

    def __enter__(self) -> Self:
        """Begin to send."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        self._thread.join()
        self.socket.close()

    def pause(self) -> None:
        """Send no more."""
        self._ended.set()
        self._thread.join()

    def arrives(self) -> bool:
        """Whether an answer comes."""
        try:
            return bool(self.socket.recv(100))
        except OSError:
            return False

    def drain(self) -> int:
        """Take what has come, and say how many; no more than QUEUED."""
        for number in range(QUEUED):
            if not select.select([self.socket], [], [], 0)[0]:
                return number
            self.socket.recv(100)
        return QUEUED

    def _send(self) -> None:
        while not self._ended.wait(0.002):
            try:
                self.socket.send(b"hello")
            except OSError:
                continue  # an ICMP error, or no way there at the moment


class Stream:
    """One TCP connection from pod 1 that carries as much as it can to a listener of pod 2."""

    def __init__(self, lab: Lab, address: str, port: int = 7000) -> None:
        """Connect; entering the context begins to send."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = lab.spaces["p2"].call(
            lambda: socket.create_server((address, port), family=family)
        )
        self.client = lab.spaces["p1"].call(lambda: socket.create_connection((address, port)))
        with listener:
            self._server = listener.accept()[0]
        self._threads = (Thread(target=self._send), Thread(target=self._receive))
        self._ended = Event()
        for sock in (self.client, self._server):
            sock.settimeout(0.2)

    def __enter__(self) -> Self:
        """Begin to send."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self.client.close()
        self._server.close()

    def _send(self) -> None:
        while not self._ended.is_set():
            try:
                self.client.send(bytes(_SIZE))
            except OSError:
                continue

    def _receive(self) -> None:
        while not self._ended.is_set():
            try:
                self._server.recv(_SIZE)
            except OSError:
                continue


class _Load:
    """Work that a node has beside: from pod 1 to a host outside, allowed all the time.

    A connection that is kept, one after the other that is new, and datagrams. None may fail.
    """

    def __init__(self, lab: Lab) -> None:
        self._space = Namespace(lab.spaces["p1"].name)
        self._ended = Event()
        self._failed = self._done = 0
        self._thread = Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._space.close()
        if kind is None:
            assert self._done > 0
            assert self._failed == 0, f"{self._failed} of {self._done} requests beside failed"

    def _work(self) -> None:
        try:
            with (
                self._connect() as kept,
                self._space.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
            ):
                while not self._ended.wait(_PAUSE_SECONDS) or not self._done:
                    self._round(kept, datagrams)
        except OSError:
            self._failed += 1

    def _round(self, kept: socket.socket, datagrams: socket.socket) -> None:
        with self._connect() as new:
            self._failed += not echoes(kept)
            self._failed += not echoes(new)
        for _ in range(_DATAGRAMS):
            datagrams.sendto(b"beside", (INSIDE, LOADED_PORT))
        self._done += 1

    def _connect(self) -> socket.socket:
        where = (INSIDE, LOADED_PORT)
        return self._space.call(socket.create_connection, where, _PATIENCE_SECONDS)
