"""Child processes of a parent that has thousands: one reaper, no descriptor for each.

A ``pidfd`` for each pod would make the descriptor table of every later child as large as the
parent's; ``subprocess`` and a reaper would take each other's exits away. So every child of the
supervisor and of the node agent is started here, in the namespaces of the calling thread.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Exited = Callable[[int], None]
"""Told the exit code of a child; minus the signal's number when a signal ended it."""

Started = Callable[[int], None]
"""Told the pid of a child that is there for certain: the moment to open a ``pidfd`` of it."""

_FIRST_FREE = 64


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: arguments, environment, and which descriptors the child gets as 0, 1, 2, ..."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    descriptors: Sequence[int] = ()


class Children:
    """Starts children and tells how each one ended. Thread-safe."""

    def __init__(self) -> None:
        """Start with no children; :meth:`reap` has to be called on SIGCHLD."""
        self._lock = threading.Lock()
        self._waiting: dict[int, Exited] = {}

    def start(
        self,
        program: Program,
        exited: Exited = lambda _: None,
        started: Started = lambda _: None,
    ) -> int:
        """Start a program in the calling thread's namespaces; return its pid.

        ``started`` is called before anyone can reap the child, however soon it ends; ``exited``
        is called by whoever calls :meth:`reap`. The child leads a process group of its own, with
        no signal blocked or ignored.
        """
        highest = max(_FIRST_FREE, len(program.descriptors))
        moved = [_above(highest, descriptor) for descriptor in program.descriptors]
        actions: list[Any] = [
            (os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(moved)
        ]
        try:
            with self._lock:
                pid = os.posix_spawnp(
                    program.argv[0],
                    list(program.argv),
                    dict(program.env),
                    file_actions=actions,
                    setpgroup=0,
                    setsigmask=[],
                    setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGXFSZ],
                )
                self._waiting[pid] = exited
                started(pid)
        finally:
            for descriptor in moved:
                os.close(descriptor)
        return pid

    def reap(self) -> None:
        """Take note of every child that has ended, orphans included."""
        with self._lock:
            ended = [(self._waiting.pop(pid, None), code) for pid, code in self._ended()]
        for exited, code in ended:
            if exited is not None:
                exited(code)

    def _ended(self) -> list[tuple[int, int]]:
        ended: list[tuple[int, int]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            if pid == 0:
                return ended
            ended.append((pid, os.waitstatus_to_exitcode(status)))


def _above(lowest: int, descriptor: int) -> int:
    """Return a copy of a descriptor that no ``dup2`` of the child's can hit."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest)
