"""What the harness and the supervisor say to each other, one JSON object a packet.

A connection carries one request. Answers: ``{"error": sentence}``, ``{"started": pid}`` with a
pidfd beside it, ``{"exited": code}`` (only when the request waits), ``{"status": {...}}``.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ClusterError

MAXIMUM = 1 << 17
"""Bytes of the largest packet; a command line has to fit."""

Packet = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """A program to start: in which named network namespace, and whether the client waits.

    A client that waits sends three descriptors for the program's input, output and errors, and
    the program ends with the connection. Otherwise output is appended to ``log``, and the
    program goes on until it is stopped or the cluster ends.
    """

    netns: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    log: str = ""
    cwd: str = "/"


def connect(path: Path) -> socket.socket:
    """Connect to a supervisor's socket."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        link.connect(str(path))
    except OSError as error:
        link.close()
        message = f"the cluster behind {path} does not answer ({error.strerror}): it is gone"
        raise ClusterError(message) from error
    return link


def send(link: socket.socket, packet: Packet, descriptors: Sequence[int] = ()) -> None:
    """Send a packet, with descriptors beside it."""
    data = json.dumps(packet).encode()
    if len(data) > MAXIMUM:
        message = f"a request of {len(data)} bytes is too long (at most {MAXIMUM})"
        raise ClusterError(message)
    socket.send_fds(link, [data], list(descriptors))


def receive(link: socket.socket) -> tuple[Packet, list[int]]:
    """Receive a packet and its descriptors; the packet is empty when the other side is gone."""
    try:
        data, descriptors, _, _ = socket.recv_fds(link, MAXIMUM, 3)
    except ConnectionResetError:
        return {}, []
    packet: Packet = json.loads(data) if data else {}
    return packet, list(descriptors)
