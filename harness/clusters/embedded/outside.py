"""The outside host's own server: one real nginx that answers at each of its addresses.

It lets others listen at a single address (SO_REUSEPORT on both sides, socket(7)); the kernel
prefers them there.
"""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path

from harness.clusters.embedded.containers import nginx_config

PORTS = (80, 5978, 6379)
"""TCP ports that always answer outside: HTTP's, and those of the study's policies."""

_PATIENCE = 30.0
_RETRY_SECONDS = 0.005


def command(scratch: Path) -> tuple[str, ...]:
    """Return what starts it; its files are in ``scratch``."""
    path = scratch / "nginx-outside.conf"
    path.write_text(nginx_config(PORTS, options=" reuseport"))
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    return (nginx, "-e", "stderr", "-p", f"{scratch}/", "-c", str(path))


def wait_listening() -> None:
    """Return once every port takes connections, asked from the thread's network namespace."""
    deadline = time.monotonic() + _PATIENCE
    for port in PORTS:
        while not _connects(port):
            if time.monotonic() > deadline:
                message = f"the outside host's nginx does not listen on port {port}"
                raise TimeoutError(message)
            time.sleep(_RETRY_SECONDS)


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
