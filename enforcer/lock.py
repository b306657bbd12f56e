"""One enforcer in a network namespace: two would undo each other's tables for ever.

The lock is an abstract Unix socket. It belongs to the network namespace, as the tables do; it
needs no file, and the kernel gives it free when its process ends, however that happens.
https://man7.org/linux/man-pages/man7/unix.7.html
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from enforcer.errors import SettingsError

_NAME = "\0npd-enforcer"
_CREDENTIALS = struct.Struct("=iII")  # struct ucred: process, user, group
_SECONDS = 1.0


@contextmanager
def held() -> Iterator[None]:
    """Hold the lock while the context lasts; SettingsError when another process has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        try:
            lock.bind(_NAME)
        except OSError as error:
            message = (
                f"another enforcer ({holder() or 'it has just ended'}) runs on this node; stop it"
            )
            raise SettingsError(message) from error
        lock.listen(1)
        yield


def holder() -> str:
    """Return who holds the lock, in words; empty when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as question:
        question.settimeout(_SECONDS)
        try:
            question.connect(_NAME)
        except ConnectionRefusedError:
            return ""
        except OSError:  # it does not take connections fast enough, but it is there
            return "its process cannot be told"
        found = question.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        process = _CREDENTIALS.unpack(found)[0]
        return f"process {process}" if process else "in another container"
