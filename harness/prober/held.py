"""Connections that stay open and are asked, later, whether they still carry bytes.

A question is a small HTTP request with a number that nobody has used before. An echo server
sends it back; nginx answers it, and answers as often as it was asked: so a late answer to an old
question is never taken for the answer to a new one.
"""

from __future__ import annotations

import errno
import os
import select

from harness.clusters.base import Outcome, Transport
from harness.prober import ways
from harness.prober.attempts import deadline, outcome_of
from harness.prober.protocol import Attempt
from harness.prober.sockets import Namespaces, close_at_once, retry_steadily
from harness.prober.waiting import ready, received

_RESPONSE = b"HTTP/1.1 "
"""How a status line begins; the request has the version at a line's end."""


class HeldConnection:
    """A connection that is kept, and the questions that it has been asked."""

    def __init__(self, namespaces: Namespaces, wanted: Attempt) -> None:
        """Make its socket; raises OSError or ValueError where that cannot be."""
        if wanted.protocol == Transport.UDP_ONE_WAY:
            message = "a one-way datagram has no connection to hold"
            raise ValueError(message)
        self._wanted = wanted
        self._identifier = int.from_bytes(os.urandom(2), "big")
        self._made = ways.prepare(namespaces, wanted)
        self._questions = 0
        self._heard = b""
        if wanted.protocol == Transport.TCP:
            retry_steadily(self._made)

    async def open(self, wait: float) -> Outcome:
        """Connect and ask a first question."""
        return await outcome_of(self._made, self._wanted, wait, self._open(deadline(wait)))

    async def ask(self, wait: float) -> Outcome:
        """Say whether it carries bytes in both directions, within ``wait`` seconds."""
        return await outcome_of(self._made, self._wanted, wait, self._exchange(deadline(wait)))

    def close(self) -> None:
        """End it at once, with a reset."""
        close_at_once(self._made)

    async def _open(self, until: float) -> None:
        if self._is_stream:
            await ways.handshake(self._made, self._wanted, until)
        await self._exchange(until)

    @property
    def _is_stream(self) -> bool:
        return self._wanted.protocol in {Transport.TCP, Transport.SCTP}

    async def _exchange(self, until: float) -> None:
        if self._is_stream:
            await self._question(until)
        elif self._wanted.protocol == Transport.ICMP:
            await ways.ping_as(self._identifier, self._made, self._wanted, until)
        else:
            await ways.echo(self._made, self._wanted, until)

    async def _question(self, until: float) -> None:
        mark = os.urandom(8).hex().encode()
        await ready(self._made, select.POLLOUT, until)
        self._made.send(b"GET /%b HTTP/1.1\r\nHost: prober\r\n\r\n" % mark)
        self._questions += 1
        while not self._answered(mark):
            data = await received(self._made, until)
            if not data:
                raise OSError(errno.ENOTCONN, "the server has closed the connection")
            self._heard += data

    def _answered(self, mark: bytes) -> bool:
        return mark in self._heard or self._heard.count(_RESPONSE) >= self._questions


class HeldConnections:
    """What one conversation with the agent holds."""

    def __init__(self, namespaces: Namespaces) -> None:
        """Start with none."""
        self._namespaces = namespaces
        self._held: dict[int, HeldConnection] = {}
        self._last = 0

    def make(self, wanted: Attempt) -> HeldConnection:
        """Make a connection that is not open yet; OSError or ValueError where that cannot be."""
        return HeldConnection(self._namespaces, wanted)

    def keep(self, connection: HeldConnection) -> int:
        """Keep an open connection; return its number."""
        self._last += 1
        self._held[self._last] = connection
        return self._last

    def find(self, number: int) -> HeldConnection | None:
        """Return a connection; None where there is none of this number."""
        return self._held.get(number)

    def release(self, number: int) -> None:
        """Close a connection; one that is not there is fine."""
        connection = self._held.pop(number, None)
        if connection is not None:
            connection.close()

    def release_all(self) -> None:
        """Close every connection."""
        for number in list(self._held):
            self.release(number)
