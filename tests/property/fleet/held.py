"""TCP connections that stay open while policies change: cut when they have to be, and only then."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

MOST: Final = 48
WORD: Final = struct.Struct("!I")
PATIENCE: Final = 10.0


class Held:
    """Both ends of connections, by the index of the probe that opened them."""

    def __init__(self, barrier: Callable[[], None]) -> None:
        """Take what makes sure that all that was sent has arrived."""
        self._barrier = barrier
        self._pairs: dict[int, tuple[socket.socket, socket.socket]] = {}
        self._asked = 0

    def wants(self, index: int) -> bool:
        """Whether to hold one more: of each kind of connection some, all over the matrix."""
        self._asked += 1
        return len(self._pairs) < MOST and index not in self._pairs and self._asked % 7 == 0

    def add(self, index: int, client: socket.socket, server: socket.socket) -> None:
        """Hold a connection."""
        self._pairs[index] = (client, server)

    def let_go(self, indexes: Collection[int]) -> None:
        """Let connections go about which nothing is promised."""
        for index in [index for index in self._pairs if index in indexes]:
            self._drop(index)

    def check(self, allowed: Collection[int], turn: int) -> tuple[list[int], list[int]]:
        """Speak on each connection, in even turns the client first, else the server.

        Returns who was cut though allowed, and who got through though denied. Connections that
        are not allowed any more are let go.
        """
        speakers = {
            index: pair if turn % 2 == 0 else pair[::-1] for index, pair in self._pairs.items()
        }
        word = WORD.pack(turn)
        for speaker, _ in speakers.values():
            with contextlib.suppress(OSError):
                speaker.send(word)
        self._barrier()
        heard = {index for index, (_, other) in speakers.items() if _hears(other, word)}
        cut = {index for index in speakers if index in allowed} - heard
        cut -= self._late(cut, speakers, word)
        leaked = sorted(index for index in heard if index not in allowed)
        for index in [index for index in self._pairs if index not in allowed or index in cut]:
            self._drop(index)
        return sorted(cut), leaked

    def close(self) -> None:
        """Let all go."""
        for index in list(self._pairs):
            self._drop(index)

    def _late(
        self,
        missing: set[int],
        speakers: Mapping[int, tuple[socket.socket, socket.socket]],
        word: bytes,
    ) -> set[int]:
        found: set[int] = set()
        deadline = time.monotonic() + PATIENCE
        while missing - found and time.monotonic() < deadline:
            time.sleep(0.005)
            found |= {index for index in missing - found if _hears(speakers[index][1], word)}
        return found

    def _drop(self, index: int) -> None:
        for sock in self._pairs.pop(index):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()


def _hears(sock: socket.socket, word: bytes) -> bool:
    try:
        return word in sock.recv(4096)
    except OSError:
        return False
