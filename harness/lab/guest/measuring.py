"""One cell: a network of its own, the cell's rules, a proof that they act, and ab's rate."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from harness.lab.guest import network, packets
from harness.lab.guest.network import ENDS, PORT, Ends, NetworkFailed, inside, run

RATE = re.compile(r"^Requests per second:\s+([\d.]+)", re.MULTILINE)
FAILED = re.compile(r"^(?:Failed|Non-2xx) \w+:\s+([1-9]\d*)", re.MULTILINE)
CONCURRENCY = 8
WARM_UP = 100
LEGS = 5
"""Runs of ab of which the median counts: work that the kernel does by the clock, such as a walk
through the conntrack table, falls into one of them or not."""

LISTENS = f":{PORT:04X} 00000000:0000 0A "
"""In /proc/net/tcp: whatever local address, no remote one, state TCP_LISTEN."""

ANSWERED = b"HTTP/1.1 200"
PATIENCE = 2.0  # seconds until a client counts as unanswered

SETTLE_SECONDS = 2.0
"""Of the guest's clock, which jumps over idle time: for work that the kernel has put off."""

NGINX = """
daemon off; master_process off; pid /tmp/nginx.pid; error_log stderr crit;
events { worker_connections 512; }
http { access_log off; keepalive_requests 1000000;
  client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
  server { listen 80; location / { return 200 "hello from a pod\\n"; } } }
"""


def measure(cell: Mapping[str, Any], share: Path) -> Iterator[dict[str, Any]]:
    """Yield one result for each load of a cell, with the reason where there is no rate."""
    waiting = [*cell["requests"], *(packets.LOADS if cell["packets"] else ())]
    try:
        network.build()
        _load(cell, share)
        with _server(cell):
            _prove(cell)
            time.sleep(SETTLE_SECONDS)
            for load, rate in _rates(cell):
                waiting.remove(load)
                yield _result(cell, load, rate)
    except NetworkFailed as failure:
        for load in waiting:
            yield _result(cell, load, 0.0, str(failure))
    finally:
        network.remove()


def _result(cell: Mapping[str, Any], load: str, rate: float, error: str = "") -> dict[str, Any]:
    return {"cell": cell["name"], "load": load, "rate": rate, "error": error}


def _load(cell: Mapping[str, Any], share: Path) -> None:
    for node, commands in cell["rules"].items():
        for command in commands:
            text = (share / command["input"]).read_text() if command["input"] else None
            run(*command["argv"], space=node, text=text)


def _ends(cell: Mapping[str, Any]) -> Ends:
    return ENDS[cell["points"]]


@contextmanager
def _server(cell: Mapping[str, Any]) -> Iterator[None]:
    config = Path("/tmp/nginx.conf")  # noqa: S108  # the guest's own, in memory
    config.write_text(NGINX)
    with inside(_ends(cell).server_space):
        server = subprocess.Popen(["nginx", "-c", str(config)], stdin=subprocess.DEVNULL)
    try:
        _await(server)
        yield
    finally:
        server.kill()
        server.wait()


def _await(server: subprocess.Popen[bytes]) -> None:
    """Return when the server listens; NetworkFailed when it has ended instead.

    Without a pause: the guest's clock jumps over pauses, also while a file of the host is awaited,
    so that any time would be over before a server on a busy host has read its files.
    """
    while not _listens(server.pid):
        if server.poll() is not None:
            message = "nginx ended before it listened"
            raise NetworkFailed(message)


def _listens(process: int) -> bool:
    try:
        return LISTENS in Path(f"/proc/{process}/net/tcp").read_text()
    except OSError:
        return False  # it is ending


def _prove(cell: Mapping[str, Any]) -> None:
    """Fail unless the allowed client is answered, and a stranger just where nothing enforces."""
    for _ in range(100):
        if _asks(cell, ""):
            break
        time.sleep(0.1)
    else:
        raise NetworkFailed("the server does not answer the allowed client")
    if cell["proves"] and cell["points"] == 1 and _asks(cell, network.STRANGER) is cell["enforces"]:
        what = "reaches the pod" if cell["enforces"] else "does not reach the pod"
        message = f"a client that the policy denies {what}"
        raise NetworkFailed(message)


def _asks(cell: Mapping[str, Any], source: str) -> bool:
    """Whether a client is answered, from an address of its own or from ``source``."""
    ends = _ends(cell)
    with inside(ends.client_space):
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with client:
        client.settimeout(PATIENCE)
        try:
            client.bind((source, 0))
            client.connect((ends.server, PORT))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return client.recv(len(ANSWERED)) == ANSWERED
        except OSError:
            return False


def _rates(cell: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield each load's rate. Packets come last: they shut the door to requests."""
    for load, requests in cell["requests"].items():
        yield load, _rate(cell, load, requests)
    if cell["packets"]:
        yield from packets.rates(_ends(cell), cell["packets"]).items()


def _rate(cell: Mapping[str, Any], load: str, requests: int) -> float:
    _leg(cell, load, WARM_UP)
    return median(_leg(cell, load, requests // LEGS) for _ in range(LEGS))


def _leg(cell: Mapping[str, Any], load: str, requests: int) -> float:
    said = _ab(cell, load, requests)
    found, failed = RATE.search(said), FAILED.search(said)
    if failed or not found:
        message = f"ab: {failed[0] if failed else said.strip()}"
        raise NetworkFailed(message)
    return float(found[1])


def _ab(cell: Mapping[str, Any], load: str, requests: int) -> str:
    ends = _ends(cell)
    keep = ("-k",) if load == "kept" else ()
    bound = ("-B", network.CLIENT) if cell["points"] == 1 else ()
    counts = ("-n", str(requests), "-c", str(CONCURRENCY))
    url = f"http://{ends.server}/"
    return run("ab", "-q", "-r", *keep, *bound, *counts, url, space=ends.client_space)
