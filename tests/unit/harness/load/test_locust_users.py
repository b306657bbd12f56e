"""What locust's users do, seen by the servers that they visit on the loopback."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.load.locust import Crowd, Steps, parse

SERVICES = 60


class Services(ThreadingHTTPServer):
    """One server on many addresses, which notes the connections and the addresses asked."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        """Listen on every address of the loopback."""
        super().__init__(("0.0.0.0", 0), Answer)
        self.connections: list[Any] = []
        self.asked: set[str] = set()
        self.answered: list[str] = []
        self.pause = 0.0

    def urls(self) -> list[str]:
        """Return many addresses that this server answers on."""
        port = self.server_address[1]
        return [f"http://127.0.0.{number}:{port}/" for number in range(1, SERVICES + 1)]


class Answer(BaseHTTPRequestHandler):
    """Answers every request and keeps the connection."""

    protocol_version = "HTTP/1.1"
    server: Services

    def setup(self) -> None:
        """Note a connection."""
        super().setup()
        self.server.connections.append(self.client_address)

    def do_GET(self) -> None:
        """Note which address was asked."""
        self.server.asked.add(self.connection.getsockname()[0])
        time.sleep(self.server.pause)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.server.answered.append(self.path)
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def services() -> Iterator[Services]:
    """Serve until the test ends."""
    server = Services()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("processes", [1, 2])
def test_arrivals_reach_every_service_on_kept_connections(
    services: Services, tmp_path: Path, processes: int
) -> None:
    """Each step has requests, none fails, and a process keeps a connection to each Service."""
    steps = Steps(rates=(60, 120), each=3.0, processes=processes)
    crowd, prefix = Crowd(services.urls(), "", steps), tmp_path / "run"

    argv, env = crowd.argv(prefix), dict(crowd.env(prefix))
    subprocess.run(argv, env=env, check=True, timeout=60)

    report = parse(prefix, steps)
    assert report.failures == 0
    assert all(step.arrival.requests > 0 and step.busiest > 0 for step in report.steps)
    assert len(services.asked) == SERVICES
    assert SERVICES <= len(services.connections) <= 2 * SERVICES * processes


def test_slow_answers_do_not_hold_up_later_requests(services: Services, tmp_path: Path) -> None:
    """An open load: while nobody answers, requests are sent; what they waited is not omitted."""
    services.pause = 1.0
    steps = Steps(rates=(20,), each=3.0)
    crowd = Crowd(services.urls(), "", steps)
    prefix = tmp_path / "run"

    subprocess.run(crowd.argv(prefix), env=dict(crowd.env(prefix)), check=True, timeout=60)

    (step,) = parse(prefix, steps).steps
    assert step.arrival.requests > 2 * steps.each  # two users who waited would have sent so many
    assert step.arrival.percentiles_ms[50] >= 1000


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_answered_when_the_load_ends_is_counted(
    services: Services, tmp_path: Path, processes: int
) -> None:
    """Locust waits for the last answers, and for every process to tell what it counted."""
    services.pause = 1.0
    steps = Steps(rates=(40,), each=2.0, processes=processes)
    crowd = Crowd(services.urls(), "", steps)
    prefix = tmp_path / "run"

    subprocess.run(crowd.argv(prefix), env=dict(crowd.env(prefix)), check=True, timeout=60)

    entries = json.loads(prefix.with_name("run.json").read_text())
    counted = [entry["num_requests"] for entry in entries if entry["name"].endswith("arrival")]
    assert sum(counted) == len(services.answered) > 0
