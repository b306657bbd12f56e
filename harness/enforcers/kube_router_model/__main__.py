"""The daemon of one node: ``python -m harness.enforcers.kube_router_model --kubeconfig F``.

It mirrors the cluster and rewrites the node's rules once a period, changed or not, as 0.2.0 does.
It says so in the words by which kube-router's own syncs are known, and serves ``/healthz`` where
kube-router does. Rules outlive it.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from harness.enforcers.daemonset import HEALTH_PORT
from harness.enforcers.kube_router_model.kernel import sync
from harness.enforcers.kube_router_model.layout import layout
from harness.enforcers.kube_router_model.mirror import Mirror

PERIOD = 1.0
"""Seconds between two syncs, the study's ``--iptables-sync-period``."""

FIRST_LIST_POLL = 0.02
"""Seconds between two looks whether every kind was listed."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the daemon is told; ``period`` in seconds, ``iptables`` is the command's name."""

    kubeconfig: Path
    node: str
    iptables: str = "iptables"
    period: float = PERIOD
    health_port: int = HEALTH_PORT


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the flags, then run until killed."""
    parser = argparse.ArgumentParser(prog="kube-router-0.2-model", allow_abbrev=False)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--iptables", default="iptables")
    parser.add_argument("--period", type=float, default=PERIOD)
    parser.add_argument("--health-port", type=int, default=HEALTH_PORT)
    given = vars(parser.parse_args(arguments))
    run(Settings(node=os.environ["NODE_NAME"], **given))


def run(settings: Settings) -> None:
    """Follow the cluster and sync once a period, for ever."""
    health = ThreadingHTTPServer(("", settings.health_port), Healthy)
    threading.Thread(target=health.serve_forever, daemon=True).start()
    mirror = Mirror(settings.kubeconfig, say)
    mirror.start()
    while True:
        pause = settings.period if sync_once(mirror, settings) else FIRST_LIST_POLL
        time.sleep(pause)


def sync_once(mirror: Mirror, settings: Settings) -> bool:
    """Sync, and say how long it took; false while the cluster is not known yet."""
    world = mirror.world()
    if world is None:
        return False
    start = time.monotonic()
    try:
        sync(layout(world, settings.node), settings.iptables)
    except OSError as problem:
        say(f"Aborting sync. {problem}")
    else:
        say(f"sync iptables took {time.monotonic() - start:.3f}s")
    return True


def say(line: str) -> None:
    """Write a line of log."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class Healthy(BaseHTTPRequestHandler):
    """Answers 200 from the first moment on."""

    def do_GET(self) -> None:
        """Say OK."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"OK\n")

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


if __name__ == "__main__":
    main()
