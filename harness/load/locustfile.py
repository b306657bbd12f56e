"""What locust does: arrivals by the clock, whether or not earlier requests were answered.

An open model: each user is :data:`PER_USER` arrivals a second, evenly spaced from a random start,
over all Services in turn; the shape takes so many users that they make the rate of a step. The
steps begin when the users of the first one are there in every process, and locust ends when every
process has told what it counted: on a busy machine either takes seconds. Each request is counted
twice. *service* is from its being sent to its answer; *arrival* from the moment at which it was
due, what this process was late with included, so that nothing is omitted where answers are slow
(coordinated omission). Each process writes what CPU time it has taken when a step begins.

Run by locust, never imported by the harness. ``NPD_TARGETS`` holds the URLs, separated by spaces,
``NPD_RATES`` the arrivals a second of each step, ``NPD_STEP_SECONDS`` how long a step is,
``NPD_SOURCE`` the address that connections come from, ``NPD_CPU`` a folder.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gevent.pool  # type: ignore[import-untyped]
import gevent.socket  # type: ignore[import-untyped]
from geventhttpclient import connectionpool
from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, LoadTestShape, events, task

TARGETS = os.environ["NPD_TARGETS"].split()
RATES = [int(rate) for rate in os.environ["NPD_RATES"].split()]
STEP_SECONDS = float(os.environ["NPD_STEP_SECONDS"])
SOURCE = os.environ.get("NPD_SOURCE", "")
CPU = Path(os.environ["NPD_CPU"])

PER_USER = 10
"""Arrivals a second of each user."""

SILENCE = 10.0
"""Seconds without an answer that make a failure; so long does locust wait at the end."""

STEP = "step"
"""The message that the shape sends to every process when a step begins, and when the last ends."""


BEFORE = -1
"""The step while the first users come; nobody reads what is counted then."""


class Now:
    """The step that this process is in."""

    step = BEFORE


def _bound_socket(
    _pool: connectionpool.ConnectionPool, family: int, kind: int, protocol: int
) -> gevent.socket.socket:
    made = gevent.socket.socket(family, kind, protocol)
    if SOURCE:
        made.bind((SOURCE, 0))
    return made


# The HTTP library names no option for the source address, only this method to override.
setattr(connectionpool.ConnectionPool, "_create_tcp_socket", _bound_socket)  # noqa: B010  # typed as a method


def begin(step: int) -> None:
    """Enter a step, and write the CPU time that went before it."""
    Now.step = step
    with (CPU / f"{os.getpid()}.txt").open("a") as file:
        file.write(f"{step} {time.monotonic():.3f} {time.process_time():.3f}\n")


@events.init.add_listener  # type: ignore[untyped-decorator]
def _listen(environment: Any, **_: Any) -> None:
    def heard(msg: Any, **_: Any) -> None:
        begin(int(msg.data))

    environment.runner.register_message(STEP, heard)


class Steps(LoadTestShape):
    """One rate after another, each for the same time; then the end."""

    step = BEFORE
    told: set[str] = set()  # noqa: RUF012  # locust makes one shape
    """The workers that have told what they counted since their last users went."""

    def tick(self) -> tuple[int, float] | None:
        """Return the users of now and how many may be added a second; None: it is over."""
        if self.step == BEFORE:
            if self.present() < users(0):
                return users(0), users(0)
            self.reset_time()  # type: ignore[no-untyped-call]
        passed: float = self.get_run_time()  # type: ignore[no-untyped-call]
        self.enter(min(len(RATES), int(passed / STEP_SECONDS)))
        if self.step < len(RATES):
            return users(self.step), users(self.step)
        return None if self.all_told() else (0, users(-1))

    def enter(self, step: int) -> None:
        """Tell every process that a step begins, or that the last has ended."""
        if step != self.step and self.runner is not None:
            self.step = step
            self.told.clear()
            self.runner.send_message(STEP, step)

    def all_told(self) -> bool:
        """Whether nobody is there any more, and what they did is counted here."""
        workers = getattr(self.runner, "clients", {})
        return self.present() == 0 and {*workers} <= self.told

    def present(self) -> int:
        """Return how many users there are in all processes, as far as these have told."""
        return self.runner.user_count if self.runner is not None else 0


def users(step: int) -> int:
    """Return how many users make the rate of a step."""
    return RATES[step] // PER_USER


@events.worker_report.add_listener  # type: ignore[untyped-decorator]
def _hear(client_id: str, data: Mapping[str, Any], **_: Any) -> None:
    if data["user_count"] == 0:
        Steps.told.add(client_id)


class Visitors(FastHttpUser):
    """Some clients, each of which comes once; all of a process share the kept connections."""

    host = TARGETS[0]
    targets = itertools.cycle(TARGETS)
    client_pool = HTTPClientPool(concurrency=len(TARGETS))
    connection_timeout = network_timeout = SILENCE

    def on_start(self) -> None:
        """Draw when the first one comes."""
        self.visits = gevent.pool.Group()
        self.due = time.monotonic() + random.random() / PER_USER  # noqa: S311  # no secret

    def on_stop(self) -> None:
        """Wait for those who are still there."""
        self.visits.join(timeout=SILENCE)

    def wait_time(self) -> float:
        """Return the seconds until the next one is due: none where this process is late."""
        return max(0.0, self.due - time.monotonic())

    @task
    def arrive(self) -> None:
        """Let the one come who is due, and wait for nobody."""
        if self.due <= time.monotonic():
            self.visits.spawn(self.visit, next(self.targets), self.due, Now.step)
            self.due += 1 / PER_USER

    def visit(self, url: str, due: float, step: int) -> None:
        """Ask a Service for its page, and count it from both moments."""
        with self.client.get(url, name=f"{step} service", catch_response=True) as response:
            pass  # which counts it
        self.environment.events.request.fire(
            request_type="GET",
            name=f"{step} arrival",
            response_time=1000 * (time.monotonic() - due),
            response_length=0,
            exception=response.request_meta["exception"],
            context={},
        )
