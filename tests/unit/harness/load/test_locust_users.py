"""What locust's users do, seen by the servers that they visit on the loopback."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.load.locust import Crowd

SERVICES = 60
USERS = 7


class Services(ThreadingHTTPServer):
    """One server on many addresses, which notes the connections and the addresses asked."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        """Listen on every address of the loopback."""
        super().__init__(("0.0.0.0", 0), Answer)
        self.connections: list[Any] = []
        self.asked: set[str] = set()


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
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
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


def test_users_share_the_services_out(services: Services, tmp_path: Path) -> None:
    """Every Service is visited, by one user over one connection: files do not run out."""
    port = services.server_address[1]
    urls = [f"http://127.0.0.{number}:{port}/" for number in range(1, SERVICES + 1)]
    crowd = Crowd(urls, "", USERS, 3)

    subprocess.run(crowd.argv(tmp_path / "run"), env=dict(crowd.env()), check=True, timeout=60)

    totals = json.loads((tmp_path / "run.json").read_text())
    assert sum(entry["num_failures"] for entry in totals) == 0
    assert len(services.asked) == SERVICES
    assert len(services.connections) == SERVICES
