"""Probes without a pause: ``python -m harness.prober.stream new|established ADDRESS PORT RATE``.

``new`` opens a TCP connection for each probe, from a port of its own; ``established`` sends each
probe as a datagram of one and the same UDP flow, which conntrack holds for established from its
first reply on. Each probe is one line, written once its end is known: when it was sent (seconds of
the machine's monotonic clock, one for all network namespaces), then ``open`` or ``denied``.
Silence for :data:`WAIT` counts as denied, and so does an error. Probes go out by the clock, whether
earlier ones were answered or not; one that is late is sent at once, and none are made up for.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import selectors
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.prober.sockets import close_at_once

WAIT = 0.25
"""Seconds of silence that count as denied."""

_NUMBER_BYTES = 8


class Flow(enum.Enum):
    """What a probe is."""

    NEW = "new"
    ESTABLISHED = "established"


Tell = Callable[[float, bool], None]
"""Takes when a probe was sent, and whether it was answered."""


@dataclass(slots=True)
class Connections:
    """Each probe a TCP connection."""

    target: tuple[str, int]
    tell: Tell
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _open: dict[socket.socket, float] = field(default_factory=dict)

    def send(self, now: float) -> None:
        """Begin a connection."""
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        number = made.connect_ex(self.target)
        if number == errno.EINPROGRESS:
            self._open[made] = now
            self._selector.register(made, selectors.EVENT_WRITE)
            return
        close_at_once(made)
        self.tell(now, number == 0)

    def listen(self, until: float) -> None:
        """Take answers in until a moment, and give up what is silent for too long."""
        pause = max(0.0, until - time.monotonic())
        if not self._open:
            time.sleep(pause)
            return
        for key, _ in self._selector.select(pause):
            made = key.fileobj
            if isinstance(made, socket.socket):
                number = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                self._end(made, answered=number == 0)
        now = time.monotonic()
        for made in [one for one, sent in self._open.items() if now - sent > WAIT]:
            self._end(made, answered=False)

    def _end(self, made: socket.socket, *, answered: bool) -> None:
        self._selector.unregister(made)
        self.tell(self._open.pop(made), answered)
        close_at_once(made)


@dataclass(slots=True)
class Datagrams:
    """Each probe a datagram of one flow, numbered; the server echoes it."""

    target: tuple[str, int]
    tell: Tell
    _socket: socket.socket = field(init=False)
    _number: int = 0
    _sent: dict[bytes, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the flow's socket."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(self.target)

    def send(self, now: float) -> None:
        """Send the next number; an error of an earlier one is told by the kernel here."""
        self._number += 1
        text = self._number.to_bytes(_NUMBER_BYTES, "big")
        self._sent[text] = now
        try:
            self._socket.send(text)
        except OSError:
            self.tell(self._sent.pop(text), False)  # noqa: FBT003  # silent

    def listen(self, until: float) -> None:
        """Take echoes in until a moment, and give up what is silent for too long.

        What waits in the socket is taken in first, however late this process is: its own slowness
        is not the silence of others.
        """
        self._socket.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._receive()
        now = time.monotonic()
        for text in [one for one, sent in self._sent.items() if now - sent > WAIT]:
            self.tell(self._sent.pop(text), False)  # noqa: FBT003  # silent
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            with contextlib.suppress(TimeoutError):
                self._receive()

    def close(self) -> None:
        """Close the flow's socket."""
        self._socket.close()

    def _receive(self) -> None:
        try:
            text = self._socket.recv(64)
        except (BlockingIOError, TimeoutError):
            raise
        except OSError:
            return  # an ICMP error: the probe that it speaks of stays silent
        if text in self._sent:
            self.tell(self._sent.pop(text), True)  # noqa: FBT003  # answered


def run(probes: Connections | Datagrams, rate: float) -> None:
    """Send so many probes a second, until killed."""
    due = time.monotonic()
    while True:
        now = time.monotonic()
        if now >= due:
            probes.send(now)
            due = max(due + 1 / rate, now)
        probes.listen(due)


def tell(sent: float, answered: bool) -> None:  # noqa: FBT001  # as it is told
    """Write a probe's line."""
    sys.stdout.write(f"{sent:.6f} {'open' if answered else 'denied'}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> None:
    """Probe until killed."""
    flow, address, port, rate = arguments
    target = (address, int(port))
    match Flow(flow):
        case Flow.NEW:
            run(Connections(target, tell), float(rate))
        case Flow.ESTABLISHED:
            run(Datagrams(target, tell), float(rate))


if __name__ == "__main__":
    main(sys.argv[1:])
