"""What each locust user does: GET / of one Service after another, without a pause.

Run by locust, never imported by the harness. ``NPD_TARGETS`` holds the URLs, separated by
spaces, ``NPD_SOURCE`` the address that connections come from.
"""

from __future__ import annotations

import itertools
import os
import random

import gevent.socket  # type: ignore[import-untyped]
from geventhttpclient import connectionpool
from locust import FastHttpUser, task

TARGETS = os.environ["NPD_TARGETS"].split()
SOURCE = os.environ.get("NPD_SOURCE", "")


def _bound_socket(
    _pool: connectionpool.ConnectionPool, family: int, kind: int, protocol: int
) -> gevent.socket.socket:
    made = gevent.socket.socket(family, kind, protocol)
    if SOURCE:
        made.bind((SOURCE, 0))
    return made


# The HTTP library names no option for the source address, only this method to override.
setattr(connectionpool.ConnectionPool, "_create_tcp_socket", _bound_socket)  # noqa: B010  # typed as a method


class Visitor(FastHttpUser):
    """A client of all services, which keeps its connections open."""

    host = TARGETS[0]

    def on_start(self) -> None:
        """Start at a service of one's own, so that users do not walk in step."""
        first = random.randrange(len(TARGETS))  # noqa: S311  # spreads load, guards nothing
        self.targets = itertools.cycle(TARGETS[first:] + TARGETS[:first])

    @task
    def visit(self) -> None:
        """Ask the next service for its page."""
        self.client.get(next(self.targets), name="GET /")
