"""The way to the prober's agent: send requests, get outcomes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from harness.clusters.base import IcmpError, Outcome, Verdict
from harness.errors import ClusterError
from harness.prober.protocol import (
    ENCODE,
    REPLIES,
    AskAll,
    Attempt,
    CloseServer,
    HoldAll,
    ProbeAll,
    Release,
    Reply,
    Request,
    Seen,
    Serve,
)
from harness.prober.sockets import short_path

_PATIENCE = 120.0
"""Seconds; beyond the probes' own waits, an agent that is silent for so long has failed."""
_PAUSE = 0.02
"""Seconds between two tries to connect to an agent that is about to listen."""
_BATCH = 20_000
"""Attempts in one request; more are sent in several."""


AnyAttempt = tuple[str, str | None, str, int, str]
"""An :class:`Attempt` as a plain tuple."""


class ProberClient:
    """A conversation with an agent. Its methods may be called from several threads."""

    def __init__(self, way: Path | str | socket.socket, patience: float = 10.0) -> None:
        """Connect to the agent that listens at a path, or will within ``patience`` seconds.

        Raises ClusterError if none does. A socket leads to an agent already.
        """
        self._turn = threading.Lock()
        if not isinstance(way, socket.socket):
            way = _connect(Path(way), time.monotonic() + patience)
        self._socket = way
        self._replies = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Hang up."""
        self.close()

    def close(self) -> None:
        """Hang up; echo servers stay as long as the agent lives."""
        self._replies.close()
        self._socket.close()

    def probe(
        self,
        probes: Iterable[Attempt | AnyAttempt],
        timeout: float = 0.25,
    ) -> list[Outcome]:
        """Try all of ``(netns, source, address, port, protocol)`` at once.

        Outcome ``i`` belongs to probe ``i``. ``timeout`` is in seconds: silence for so long is
        DROPPED. A probe that cannot be tried (no such namespace or source) is an ERROR of its own.
        """
        wanted = [Attempt(*probe) for probe in probes]
        batches = (wanted[at : at + _BATCH] for at in range(0, len(wanted), _BATCH))
        return [outcome for batch in batches for outcome in self._probe(batch, timeout)]

    def _probe(self, batch: list[Attempt], timeout: float) -> Sequence[Outcome]:
        reply = self._request(ProbeAll(batch, timeout), patience=len(batch) * timeout)
        return [_outcome(seen) for seen in reply.seen]

    def hold(
        self, probes: Iterable[Attempt | AnyAttempt], timeout: float = 0.25
    ) -> list[tuple[Outcome, int]]:
        """Open connections that stay; return how that ended and each one's number, 0 if it is not.

        They end with this client at the latest.
        """
        wanted = [Attempt(*probe) for probe in probes]
        reply = self._request(HoldAll(wanted, timeout), patience=len(wanted) * timeout)
        outcomes = [_outcome(seen) for seen in reply.seen]
        return list(zip(outcomes, reply.held, strict=True))

    def ask(self, held: Sequence[int], timeout: float = 0.25) -> list[Outcome]:
        """Ask held connections whether they still carry bytes, both ways."""
        reply = self._request(AskAll(list(held), timeout), patience=len(held) * timeout)
        return [_outcome(seen) for seen in reply.seen]

    def release(self, held: Sequence[int]) -> None:
        """Close held connections. Idempotent."""
        self._request(Release(list(held)))

    def serve(self, netns: str, address: str, port: int, protocol: str = "TCP") -> None:
        """Start an echo server (TCP, UDP or SCTP), or be one more user of it.

        ``address`` may be ``0.0.0.0`` or ``::`` and need not exist yet.
        """
        self._request(Serve(netns, address, port, protocol))

    def close_server(self, netns: str, address: str, port: int, protocol: str = "TCP") -> None:
        """Take back one :meth:`serve`; the last one stops the server. Idempotent."""
        self._request(CloseServer(netns, address, port, protocol))

    def _request(self, request: Request, patience: float = 0.0) -> Reply:
        with self._turn:
            self._socket.settimeout(patience + _PATIENCE)
            try:
                self._socket.sendall(ENCODE(request) + b"\n")
                line = self._replies.readline()
            except OSError as problem:
                message = f"the prober stopped answering: {problem}"
                raise ClusterError(message) from problem
        if not line:
            message = "the prober has gone away: its process ended"
            raise ClusterError(message)
        reply = REPLIES.decode(line)
        if reply.problem:
            message = f"the prober refused: {reply.problem}"
            raise ClusterError(message)
        return reply


def _outcome(seen: Seen) -> Outcome:
    icmp = None if seen.icmp is None else IcmpError(*seen.icmp)
    return Outcome(Verdict(seen.verdict), seen.seconds, seen.detail, seen.errno, icmp)


def _connect(path: Path, deadline: float) -> socket.socket:
    while True:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with short_path(path) as address:
                made.connect(address)
        except OSError as problem:
            made.close()
            if time.monotonic() > deadline:
                message = f"the prober does not answer at {path}: {problem}"
                raise ClusterError(message) from problem
            time.sleep(_PAUSE)
        else:
            return made
