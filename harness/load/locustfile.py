"""What each locust user does: GET / of one Service of its share after another, without a pause.

The users share the Services out among them, so that there are no more open connections than
Services: a thousand for each user would be more than a process may have files.

Run by locust, never imported by the harness. ``NPD_TARGETS`` holds the URLs, separated by
spaces, ``NPD_SOURCE`` the address that connections come from.
"""

from __future__ import annotations

import itertools
import os

import gevent.socket  # type: ignore[import-untyped]
from geventhttpclient import connectionpool
from locust import FastHttpUser, task

TARGETS = os.environ["NPD_TARGETS"].split()
SOURCE = os.environ.get("NPD_SOURCE", "")
NUMBERS = itertools.count()


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
    """A client of its share of the Services, which keeps its connections open."""

    host = TARGETS[0]

    def on_start(self) -> None:
        """Take a share of the Services, or all of them where there are more users."""
        users = self.environment.parsed_options.num_users
        self.targets = itertools.cycle(TARGETS[next(NUMBERS) :: users] or TARGETS)

    @task
    def visit(self) -> None:
        """Ask the next service for its page."""
        self.client.get(next(self.targets), name="GET /")
