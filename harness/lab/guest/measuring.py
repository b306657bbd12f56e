"""One cell: a network of its own, the cell's rules, a proof that they act, and ab's rate."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from harness.lab.guest import network
from harness.lab.guest.network import NetworkFailed, run

RATE = re.compile(r"^Requests per second:\s+([\d.]+)", re.MULTILINE)
FAILED = re.compile(r"^(?:Failed|Non-2xx) \w+:\s+([1-9]\d*)", re.MULTILINE)
CONCURRENCY = 8
WARM_UP = 100
LEGS = 5
"""Runs of ab of which the median counts: work that the kernel does by the clock, such as a walk
through the conntrack table, falls into one of them or not."""

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
    try:
        network.build()
        _load(cell, share)
        with _server(cell):
            _prove(cell)
            time.sleep(SETTLE_SECONDS)
            for load, requests in cell["requests"].items():
                yield _result(cell, load, _rate(cell, load, requests))
    except NetworkFailed as failure:
        for load in cell["requests"]:
            yield _result(cell, load, 0.0, str(failure))
    finally:
        network.remove()


def _result(cell: Mapping[str, Any], load: str, rps: float, error: str = "") -> dict[str, Any]:
    return {"cell": cell["name"], "load": load, "rps": rps, "error": error}


def _load(cell: Mapping[str, Any], share: Path) -> None:
    for node, commands in cell["rules"].items():
        for command in commands:
            text = (share / command["input"]).read_text() if command["input"] else None
            run(*command["argv"], space=node, text=text)


@contextmanager
def _server(cell: Mapping[str, Any]) -> Iterator[None]:
    config = Path("/tmp/nginx.conf")  # noqa: S108  # the guest's own, in memory
    config.write_text(NGINX)
    space = "pod-b" if cell["points"] == len(network.NODES) else "pod-a"
    argv = ["ip", "netns", "exec", space, "nginx", "-c", str(config)]
    server = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        server.kill()
        server.wait()


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
    space, target = _ends(cell)
    bound = ("--interface", source) if source else ()
    argv = ("curl", "-sf", "-m", "2", "-o", "/dev/null", *bound, f"http://{target}/")
    try:
        run(*argv, space=space)
    except NetworkFailed:
        return False
    return True


def _ends(cell: Mapping[str, Any]) -> tuple[str, str]:
    one = ("outside", network.POD_A)
    return one if cell["points"] == 1 else ("pod-a", network.POD_B)


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
    space, target = _ends(cell)
    keep = ("-k",) if load == "kept" else ()
    bound = ("-B", network.CLIENT) if cell["points"] == 1 else ()
    counts = ("-n", str(requests), "-c", str(CONCURRENCY))
    return run("ab", "-q", "-r", *keep, *bound, *counts, f"http://{target}/", space=space)
