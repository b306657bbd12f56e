"""Echo servers: they send back what they get, from the very address that it was sent to.

A datagram that asks for silence (:data:`harness.prober.hearing.ONE_WAY`) is noted instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from harness.clusters.base import Transport
from harness.prober.hearing import ONE_WAY, Hearing
from harness.prober.protocol import CloseServer, Serve
from harness.prober.sockets import IPPROTO_SCTP, Namespaces, is_ipv6, listen_at

_BACKLOG = 1024
# linux/in.h: struct in_pktinfo is interface, local address, header's destination
_IP_PKTINFO = 8
_IN_PKTINFO = struct.Struct("=I4s4s")

Close = Callable[[], None]


_KINDS = {
    Transport.TCP: (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    Transport.UDP: (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    Transport.SCTP: (socket.SOCK_STREAM, IPPROTO_SCTP),
}


async def start(namespaces: Namespaces, hearing: Hearing, wanted: Serve) -> Close:
    """Start an echo server and return what ends it; OSError where it cannot listen."""
    transport = Transport(wanted.protocol)
    if transport not in _KINDS:
        message = f"no echo server for protocol {wanted.protocol}"
        raise ValueError(message)
    made = namespaces.socket(wanted.netns, wanted.address, *_KINDS[transport])
    try:
        listen_at(made, wanted.address, wanted.port)
        if transport is Transport.UDP:
            return _start_datagrams(made, hearing)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, sock=made, backlog=_BACKLOG)
    except OSError:
        made.close()
        raise
    return server.close


@dataclass(slots=True)
class _Served:
    """A server, the namespace that it is in, and how many asked for it."""

    namespace: int
    close: Close
    users: int = 1


class Servers:
    """Every echo server, by where it listens."""

    def __init__(self, namespaces: Namespaces, hearing: Hearing) -> None:
        """Start with none."""
        self._namespaces = namespaces
        self._hearing = hearing
        self._served: dict[CloseServer, _Served] = {}

    async def open(self, wanted: Serve) -> None:
        """Serve, or take note of one more user; raises OSError where nobody can listen."""
        key = CloseServer(wanted.netns, wanted.address, wanted.port, wanted.protocol)
        namespace = self._namespaces.identity(wanted.netns)
        found = self._served.get(key)
        if found is not None and found.namespace == namespace:
            found.users += 1
            return
        self._stop(key)
        close = await start(self._namespaces, self._hearing, wanted)
        self._served[key] = _Served(namespace, close)

    def leave(self, key: CloseServer) -> None:
        """Have one user less; the last one's leaving stops the server."""
        found = self._served.get(key)
        if found is not None:
            found.users -= 1
            if not found.users:
                self._stop(key)

    def close_all(self, netns: str) -> None:
        """Stop every server of a namespace."""
        for key in [key for key in self._served if key.netns == netns]:
            self._stop(key)

    def _stop(self, key: CloseServer) -> None:
        found = self._served.pop(key, None)
        if found is not None:
            found.close()


_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"


class Echo(asyncio.Protocol):
    """A connection whose peer hears itself; who speaks HTTP hears its request as the body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        if isinstance(transport, asyncio.WriteTransport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        asks = data.startswith(b"GET ")
        self._transport.write(_ANSWER % (len(data), data) if asks else data)


def _start_datagrams(made: socket.socket, hearing: Hearing) -> Close:
    if is_ipv6(str(made.getsockname()[0])):
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        made.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    loop = asyncio.get_running_loop()
    loop.add_reader(made, _return_datagrams, made, hearing)

    def close() -> None:
        loop.remove_reader(made)
        made.close()

    return close


def _return_datagrams(made: socket.socket, hearing: Hearing) -> None:
    # Errors are the peers': an ICMP error that came back, a way that is closed. The server goes on.
    with contextlib.suppress(OSError):
        while True:
            data, ancillary, _, peer = made.recvmsg(65536, 256)
            if data.startswith(ONE_WAY):
                hearing.note(data)
                continue
            with contextlib.suppress(OSError):
                made.sendmsg([data], [_from_same(*message) for message in ancillary], 0, peer)


def _from_same(level: int, kind: int, data: bytes) -> tuple[int, int, bytes]:
    """Turn "it was sent to this address" into "send it from this address"."""
    if (level, kind) != (socket.IPPROTO_IP, _IP_PKTINFO):
        return level, kind, data
    _, _, destination = _IN_PKTINFO.unpack(data)
    return level, kind, _IN_PKTINFO.pack(0, destination, bytes(4))
