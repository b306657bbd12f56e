"""Requests per second to a pod, with the rules in force and without, in one run side by side.

Client, node and pod are three network namespaces. A new connection for each request: the rules'
dearest case. Without the rules means that the table is dormant: it is there and asks nothing.
"""

from __future__ import annotations

import math
import os
import random
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from enforcer.nft.kernel import NftKernel
from enforcer.nft.transaction import DeleteTable, Transaction
from enforcer.ruleset.names import JUDGES
from enforcer.ruleset.plan import Plan
from harness.clusters.base import Completed
from harness.load.ab import Work, judge
from harness.stats import Bounds, estimate
from tests.bench.figures import Figure
from tests.bench.site import wait_for

PORT: Final = 8080
CONCURRENCY: Final = 4
GATEWAY: Final = "169.254.1.1"
CLIENT: Final = "14.1.1.1"
"""Outside the cluster, and in a block that the serving pod's policy allows."""

POD_SIDE: Final = "toserver"
"""The node's interface to the pod that serves."""

_POD, _OUTSIDE = (f"bench-{os.getpid()}-{name}" for name in ("pod", "outside"))
_NGINX: Final = """\
daemon off; master_process off; pid {folder}/pid; error_log {folder}/log crit;
events {{}}
http {{ access_log off; server {{ listen {port} backlog=1024; return 200 "ok"; }} }}
"""


@contextmanager
def wired(server: str, requests: int) -> Iterator[Work]:
    """Connect a pod with this address, and a client outside; yield the work for the client."""
    with ExitStack() as stack:
        for name, address, link in ((_POD, server, POD_SIDE), (_OUTSIDE, CLIENT, "uplink")):
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
            _connect(name, address, link)
            # With its namespace it would go, too, but later: the next size needs the name at once.
            stack.callback(_ip, "link", "del", link)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, port=PORT))
        argv = ["ip", "netns", "exec", _POD, "nginx", "-p", str(folder), "-c", "nginx.conf"]
        nginx = stack.enter_context(subprocess.Popen([*argv, "-e", str(folder / "log")]))
        stack.callback(nginx.terminate)
        url = f"http://{server}:{PORT}/"
        wait_for(lambda: _rate(Work(url, "", 1, 1)) > 0)
        yield Work(url, "", requests, CONCURRENCY)


def _connect(namespace: str, address: str, link: str) -> None:
    """Lead one route to a namespace, as CNIs that route do."""
    _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    _ip("link", "set", link, "up")
    _ip("address", "add", f"{GATEWAY}/32", "dev", link)
    _ip("route", "add", address, "dev", link)
    for command in (
        "link set lo up",
        "link set eth0 up",
        f"address add {address}/32 dev eth0",
        f"route add {GATEWAY} dev eth0",
        f"route add default via {GATEWAY} dev eth0",
    ):
        _ip("-n", namespace, *command.split())


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _rate(work: Work) -> float:
    """Return the requests per second of one run of ab; 0 where not all of them succeeded."""
    argv = ["ip", "netns", "exec", _OUTSIDE, *work.argv()]
    done = subprocess.run(argv, capture_output=True, check=False, text=True)
    run = judge(work, Completed(tuple(argv), done.returncode, done.stdout, done.stderr))
    return run.report.rps if run.report and not run.error else 0.0


def on_over_off(planned: Plan, work: Work, pairs: int) -> Iterator[float]:
    """Yield the log of the rate with the rules over the rate without, pair by pair."""
    kernel, coin = NftKernel(), random.Random(pairs)
    for transaction in planned.transactions:
        kernel.apply(transaction)
    try:
        for _ in range(pairs):
            rates = {}
            for on in coin.sample((True, False), 2):
                flags = "" if on else "{ flags dormant; }"
                tables = "; ".join(f"add table {id_} {flags}" for id_ in JUDGES.values())
                subprocess.run(["nft", tables], check=True)
                rates[on] = _rate(work)
            if not all(rates.values()):
                message = f"requests failed (rules on, off): {rates}"
                raise RuntimeError(message)
            yield math.log(rates[True] / rates[False])
    finally:
        kernel.apply(Transaction(tuple(map(DeleteTable, JUDGES.values()))))


def ratio(planned: Plan, work: Work, pairs: int) -> Bounds:
    """Return the log of the rate with the rules over the rate without, and its 95 % interval."""
    return Bounds.of(estimate([*on_over_off(planned, work, pairs)], seed=1))


def figures(name: str, found: Bounds) -> Iterator[Figure]:
    """Return a ratio and its 95 % interval, out of their logarithms."""
    yield Figure(name, math.exp(found.mean), "")
    yield Figure(f"{name}, low end of 95 %", math.exp(found.low), "")
    yield Figure(f"{name}, high end of 95 %", math.exp(found.high), "")
