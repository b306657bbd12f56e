"""A stream of probes tells answers from silence, and its own slowness from either."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from harness.prober.stream import WAIT, Connections, Datagrams


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """Serve UDP echo on a free port of the loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                text, peer = server.recvfrom(64)
                if text == b"stop":
                    return
                server.sendto(text, peer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()
        server.sendto(b"stop", server.getsockname())
        thread.join()


def test_an_echo_that_waited_for_this_process_is_no_silence(echo: tuple[str, int]) -> None:
    """However long the process did not run, what was answered was answered."""
    seen: list[bool] = []
    with closing(Datagrams(echo, lambda _, answered: seen.append(answered))) as flow:
        flow.send(time.monotonic())
        time.sleep(2 * WAIT)  # the process does not run

        flow.listen(time.monotonic())

    assert seen == [True]


def test_silence_is_told_with_the_moment_of_sending() -> None:
    """A datagram that nobody echoes is denied as of when it was sent."""
    seen: list[tuple[float, bool]] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        told = Datagrams(silent.getsockname(), lambda at, answered: seen.append((at, answered)))
        with closing(told) as flow:
            sent = time.monotonic()
            flow.send(sent)
            deadline = sent + 30
            while not seen and time.monotonic() < deadline:
                flow.listen(time.monotonic() + 0.01)

    assert seen == [(sent, False)]


def test_a_connection_is_open_or_it_is_not() -> None:
    """A listener answers; where nobody listens the reset is a denial."""
    seen: list[bool] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        address: tuple[str, int] = server.getsockname()
        flow = Connections(address, lambda _, answered: seen.append(answered))
        _ask(flow, seen, 1)
    _ask(flow, seen, 2)

    assert seen == [True, False]


def _ask(flow: Connections, seen: list[bool], answers: int) -> None:
    flow.send(time.monotonic())
    deadline = time.monotonic() + 30
    while len(seen) < answers and time.monotonic() < deadline:
        flow.listen(time.monotonic() + 0.01)
