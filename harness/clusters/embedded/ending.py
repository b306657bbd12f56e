"""The end of a cluster, seen from the host: the last process of its PID namespace has gone.

When PID 1 of a namespace ends the kernel kills all others and has one of PID 1's threads wait for
them; the process itself may look dead (a zombie) meanwhile. Its ``pidfd`` does not: it becomes
readable when the last of those threads has gone, and with it the namespace (pidfd_open(2),
pid_namespaces(7)).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path

from harness.clusters.base import Tell
from harness.errors import ClusterError

_POLL_SECONDS = 0.5
_STEP = "processes ended"


class Tree:
    """PID 1 of a PID namespace, and everything in it; one that is gone already has nothing."""

    def __init__(self, pid: int, started: int) -> None:
        """Find the process of this pid that started then (clock ticks since boot)."""
        self._pid = pid
        self._pidfd = -1
        self._namespace = ""
        with contextlib.suppress(OSError, OverflowError):
            self._pidfd = os.pidfd_open(pid)
            if _started(pid) != started:
                self.close()
            self._namespace = _namespace_of(pid)
        self._of = len(self.members())
        """How many processes it had: some go as soon as it is told to end."""

    def close(self) -> None:
        """Let go of it; it goes on. Idempotent."""
        descriptor, self._pidfd = self._pidfd, -1
        if descriptor >= 0:
            os.close(descriptor)

    def end(self, orderly: float, killed: float, tell: Tell) -> None:
        """Wait until nothing is left of it, and kill it where that takes too long.

        It has ``orderly`` seconds to begin, and is given up when for ``killed`` seconds nothing
        more has ended.
        """
        if self._is_gone_within(orderly, tell):
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        if not self._is_gone_within(killed, tell):
            message = f"process {self._pid} does not end, not even by SIGKILL"
            raise ClusterError(message)

    def members(self) -> list[int]:
        """Return the processes of the namespace, by their pids on the host."""
        if not self._namespace:
            return []
        pids = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
        return [pid for pid in pids if _namespace_of(pid) == self._namespace]

    def _is_gone_within(self, patience: float, tell: Tell) -> bool:
        """Wait for its end; False when for ``patience`` seconds nothing more has ended."""
        left = of = self._of
        deadline = time.monotonic() + patience
        while not self._is_gone():
            tell(_STEP, of - left, of)
            before, left = left, min(left, len(self.members()))
            if left < before:
                deadline = time.monotonic() + patience
            elif time.monotonic() > deadline:
                return False
        tell(_STEP, of, of)
        return True

    def _is_gone(self) -> bool:
        """Wait a moment for its end."""
        if self._pidfd < 0:
            return True
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(_POLL_SECONDS * 1000))


def _started(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def _namespace_of(pid: int) -> str:
    """Return the name of a process's PID namespace; "" where it cannot be told (any more)."""
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    return ""
