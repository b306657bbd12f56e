from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from harness.enforcers import health


def _serve(listener: socket.socket, answers: list[bytes]) -> None:
    for answer in answers:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Return a socket that listens on a free port of the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def _answering(listener: socket.socket, *answers: bytes) -> int:
    threading.Thread(target=_serve, args=(listener, list(answers)), daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


def test_200_is_well(listener: socket.socket) -> None:
    """Nothing is left to say about a daemon that answers 200."""
    assert health.why_not(_answering(listener, b"HTTP/1.0 200 OK\r\n\r\nok"), "/readyz") == ""


def test_any_other_answer_is_told_with_its_body(listener: socket.socket) -> None:
    """The body says what is not ready yet."""
    port = _answering(listener, b"HTTP/1.1 503 Service Unavailable\r\n\r\nlisting pods\n")

    assert health.why_not(port, "/readyz") == f"/readyz on port {port} says 503 listing pods"


def test_what_is_not_http_is_not_well(listener: socket.socket) -> None:
    """Another program on the port is no daemon of ours."""
    port = _answering(listener, b"SSH-2.0-OpenSSH\r\n")

    assert "says 0" in health.why_not(port, "/healthz")


def test_silence_of_the_port_is_told(listener: socket.socket) -> None:
    """Nobody listens: the reason is the system's own."""
    port = listener.getsockname()[1]
    listener.close()

    assert "refused" in health.why_not(port, "/healthz")


def test_as_a_program_it_waits_for_the_daemon_to_get_well(listener: socket.socket) -> None:
    """Started in a node, it asks until the answer is 200 and ends with 0."""
    port = _answering(listener, b"HTTP/1.0 503 No\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n")

    argv = (sys.executable, "-I", "-S", health.__file__, str(port), "/readyz", "30")
    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_as_a_program_it_gives_up_with_the_last_answer(listener: socket.socket) -> None:
    """Out of patience, it ends with 1 and the reason."""
    port = _answering(listener, b"HTTP/1.0 503 No\r\n\r\nnot yet")

    argv = (sys.executable, "-I", "-S", health.__file__, str(port), "/readyz", "0")
    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert (done.returncode, "says 503 not yet" in done.stdout) == (1, True)
