"""Runs commands where it is: ``python -m harness.clusters.kube.runner``, inside of a pod.

A line of JSON on standard input is a command, a line on standard output how it ended: one
``kubectl exec`` serves a whole run, where one for each command would cost a tenth of a second.
:class:`Runner` is the other end.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import msgspec

from harness.clusters.base import Completed
from harness.clusters.kube.talks import talk
from harness.errors import ClusterError

MODULE = "harness.clusters.kube.runner"
NOT_FOUND = 127
"""What a shell ends with where there is no such command."""

TIMED_OUT = 124
"""What timeout(1) ends with."""

_PATIENCE = 60.0
"""Seconds beyond a command's own time, after which the way to it is taken for broken."""


class Run(msgspec.Struct, frozen=True):
    """A command, without a shell; ``timeout`` is in seconds."""

    argv: list[str]
    timeout: float


class Ran(msgspec.Struct, frozen=True):
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


_ENCODE = msgspec.json.encode
_RUNS: msgspec.json.Decoder[Run] = msgspec.json.Decoder(Run)
_RAN: msgspec.json.Decoder[Ran] = msgspec.json.Decoder(Ran)


class Runner:
    """The way to a runner. Its method may be called from several threads."""

    def __init__(self, way: socket.socket) -> None:
        """Take the way to a runner that was started."""
        self._socket = way
        self._replies = way.makefile("rb")
        self._turn = threading.Lock()

    def run(self, argv: Sequence[str], timeout: float = 60.0) -> Completed:
        """Run a command and wait for it; ClusterError where the runner is gone."""
        with self._turn:
            self._socket.settimeout(timeout + _PATIENCE)
            try:
                self._socket.sendall(_ENCODE(Run(list(argv), timeout)) + b"\n")
                line = self._replies.readline()
            except OSError as error:
                raise ClusterError(f"no answer to {' '.join(argv)}: {error}") from error
        if not line:
            raise ClusterError(f"the pod in which {' '.join(argv)} was to run has gone away")
        ran = _RAN.decode(line)
        return Completed(tuple(argv), ran.returncode, ran.stdout, ran.stderr)


@contextlib.contextmanager
def runner(argv: Sequence[str]) -> Iterator[Runner]:
    """Start a runner by a command that leads into its pod, and give the way to it."""
    with talk((*argv, "python3", "-m", MODULE)) as way:
        yield Runner(way)


def carry_out(wanted: Run) -> Ran:
    """Run a command here."""
    try:
        done = subprocess.run(
            wanted.argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=wanted.timeout,
        )
    except OSError as error:
        return Ran(NOT_FOUND, "", f"{wanted.argv[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Ran(TIMED_OUT, "", f"{wanted.argv[0]} took longer than {wanted.timeout:g} s")
    return Ran(done.returncode, done.stdout, done.stderr)


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Carry out one command after the other, until who asks hangs up."""
    for line in requests:
        replies.write(_ENCODE(carry_out(_RUNS.decode(line))) + b"\n")
        replies.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
