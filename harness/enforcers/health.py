"""Ask a daemon's HTTP endpoint whether it is well, from inside the node that it runs on.

A script of its own, ``python health.py PORT PATH SECONDS``, that needs the standard library
alone: it is started in the node's network namespace, asks again and again for a while, and ends
with 0 as soon as the answer is 200. Otherwise it prints what was answered last and ends with 1.
"""

from __future__ import annotations

import socket
import sys
import time

PAUSE = 0.02
"""Seconds between two questions."""

OK = 200


def status(answer: bytes) -> int:
    """Return the status code of an HTTP answer; 0 where it is none."""
    words = answer.split(maxsplit=2)
    is_http = len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit()
    return int(words[1]) if is_http else 0


def ask(port: int, path: str, timeout: float = 1.0) -> bytes:
    """Return the whole answer to a GET on this host; an OSError where nobody answers."""
    request = f"GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        connection.sendall(request.encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


def why_not(port: int, path: str) -> str:
    """Return nothing where the endpoint answers 200, else what was seen instead."""
    try:
        answer = ask(port, path)
    except OSError as error:
        return f"{path} on port {port}: {error}"
    if status(answer) == OK:
        return ""
    body = answer.partition(b"\r\n\r\n")[2].decode(errors="replace").strip()
    return f"{path} on port {port} says {status(answer)} {body}".rstrip()


def wait(port: int, path: str, seconds: float) -> str:
    """Ask until the answer is 200 or the time is over; return like :func:`why_not`."""
    end = time.monotonic() + seconds
    while (reason := why_not(port, path)) and time.monotonic() < end:
        time.sleep(PAUSE)
    return reason


if __name__ == "__main__":
    reason = wait(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
    sys.stdout.write(reason)
    sys.exit(1 if reason else 0)
