"""The outside host's own server: one real nginx that answers at each of its addresses.

It lets others listen at a single address (SO_REUSEPORT on both sides, socket(7)); the kernel
prefers them there.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

from harness.clusters.embedded.addresses import (
    FABRIC_NETWORK,
    FABRIC_NETWORK6,
    POD_NETWORK,
    POD_NETWORK6,
)
from harness.clusters.embedded.containers import nginx_config
from harness.clusters.public import PUBLIC_NETWORKS, PUBLIC_NETWORKS6

PORTS = (80, 5978, 6379)
"""TCP ports that always answer outside: HTTP's, and those of the study's policies."""

_LOCAL6 = ("fe80::/10", "ff00::/8")
"""Link-local and multicast: how IPv6 itself speaks on a link."""

_PATIENCE = 30.0
_RETRY_SECONDS = 0.005


def reject_the_rest() -> None:
    """Answer packets to nobody's addresses with an ICMP error, each of them.

    The unreachable route would do so only now and then: its errors have a limit of their own,
    which is the whole machine's (route/error_cost), beside icmp_ratemask.
    """
    known = ", ".join(map(str, (FABRIC_NETWORK, POD_NETWORK, *PUBLIC_NETWORKS)))
    known6 = ", ".join(map(str, (FABRIC_NETWORK6, POD_NETWORK6, *_LOCAL6, *PUBLIC_NETWORKS6)))
    rules = f"""\
table inet outside {{
  chain nobody {{
    type filter hook prerouting priority 0;
    iifname "eth0" ip daddr != {{ {known} }} reject with icmp type net-unreachable
    iifname "eth0" ip6 daddr != {{ {known6} }} reject with icmpv6 type no-route
  }}
}}
"""
    subprocess.run(("nft", "-f", "-"), input=rules, text=True, check=True)


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
