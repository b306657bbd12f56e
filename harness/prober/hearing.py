"""What servers heard and did not answer: how a datagram is known to have arrived without a reply.

Client and server are sockets of one process, so the server's side is asked directly.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

ONE_WAY = b"no answer, please: "
"""A datagram that begins so is noted by an echo server, and not sent back."""


class Hearing:
    """The datagrams that somebody waits for."""

    def __init__(self) -> None:
        """Start with none."""
        self._expected: dict[bytes, asyncio.Future[None]] = {}

    @contextlib.contextmanager
    def expect(self, nonce: bytes) -> Iterator[asyncio.Future[None]]:
        """Give what is done once a server has heard this nonce."""
        heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._expected[nonce] = heard
        try:
            yield heard
        finally:
            del self._expected[nonce]
            heard.cancel()

    def note(self, datagram: bytes) -> None:
        """Take note of a datagram that begins with :data:`ONE_WAY`."""
        heard = self._expected.get(datagram.removeprefix(ONE_WAY))
        if heard is not None and not heard.done():
            heard.set_result(None)
