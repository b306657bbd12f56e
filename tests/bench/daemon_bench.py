"""The daemon as a whole: cold start, single changes, a burst, an idle minute."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench import world
from tests.bench.figures import Figure, spread
from tests.bench.site import Api, Commits, Daemon, Server, Watcher, api_server, wait_for
from tests.bench.world import Size

BURST: Final = 1000
SETTLE: Final = 0.2
BUCKETS: Final = "enforcer_event_to_kernel_seconds"


@dataclass(frozen=True, slots=True)
class Site:
    """A daemon that is in sync, and what is needed to watch it."""

    size: Size
    server: Server
    daemon: Daemon
    commits: Commits


@contextmanager
def site(size: Size) -> Iterator[tuple[Site, list[Figure]]]:
    """Start everything; yield it with the figures of the start."""
    commits = Commits()
    with api_server(size) as server, tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        with Daemon(server.port, Path(folder)) as daemon:
            daemon.wait_ready()
            loaded = commits.after(0) - started
            listed = loaded - daemon.since_first_request(started)
            usage = daemon.usage()
            yield (
                Site(size, server, daemon, commits),
                [
                    Figure("cold start: from the first list to the kernel", listed, "s", 2.0),
                    Figure("cold start: from the process's start to the kernel", loaded, "s"),
                    Figure("cold start: CPU, programs included", usage.cpu, "s"),
                    Figure("resident memory in sync", usage.resident, "MiB", 80.0),
                    Figure("resident memory at most", usage.peak, "MiB", 80.0),
                    Figure("elements", daemon.metric("enforcer_set_elements"), ""),
                ],
            )


def memory(site: Site) -> list[Figure]:
    """Return what the daemon holds after all that."""
    return [Figure("resident memory at the end", site.daemon.usage().resident, "MiB", 80.0)]


def changes(site: Site, rounds: int) -> list[Figure]:
    """Change one pod's label, then bring pods and take them away, one after the other."""
    api = Api(site.server.port)
    watcher = Watcher(site.server.port)
    time.sleep(SETTLE)  # the list that a watch begins with is no event
    before, cpu = site.daemon.histogram(BUCKETS), site.daemon.usage().cpu
    asked, heard = [], []
    for number in range(rounds):
        for change in (_label, _pod):
            sent, arrived, done = _timed(site, watcher, lambda: change(api, site.size, number))  # noqa: B023
            asked.append(done - sent)
            heard.append(arrived - sent)
    used = site.daemon.usage().cpu - cpu
    inside = site.daemon.histogram(BUCKETS).since(before)
    return [
        *spread("one change: event to kernel", map(float.__sub__, asked, heard), (5.0, 20.0)),
        *spread("one change: request to kernel", asked, None),
        *spread("one change: request to event, the API server's part", heard, None),
        Figure("one change: event to the kernel's answer, p50", inside.quantile(0.5), "ms"),
        Figure("one change: event to the kernel's answer, p99", inside.quantile(0.99), "ms"),
        Figure("one change: CPU of the daemon", 1000 * used / len(asked), "ms"),
    ]


def _timed(site: Site, watcher: Watcher, change: Callable[[], None]) -> tuple[float, float, float]:
    count = site.commits.count()
    sent = time.monotonic()
    change()
    done = site.commits.after(count)
    return sent, watcher.last, done


def _label(api: Api, size: Size, number: int) -> None:
    """Take the label that a policy of a local pod asks for from a peer, or give it back."""
    local = number // 2 % size.local
    peer = _peer_of(local, size)
    app = f"app-{world.app_of(peer, size)}" if number % 2 else "idle"
    api.label(world.namespace_of(peer, size), f"pod-{peer}", app=app)


def _peer_of(local: int, size: Size) -> int:
    """Return a pod elsewhere that the policy of a local pod allows."""
    namespace = world.namespace_of(local, size)
    app = (world.app_of(local, size) + 1) % world.APPS
    return next(
        number
        for number in range(size.local, size.pods)
        if world.namespace_of(number, size) == namespace and world.app_of(number, size) == app
    )


def _pod(api: Api, size: Size, number: int) -> None:
    """Give a pod elsewhere another address: one goes, one comes."""
    peer = _peer_of((number * 7 + 3) % size.local, size)
    address = f"10.250.{number // 250 % 250}.{number % 250 + 1}"
    path = f"/api/v1/namespaces/{world.namespace_of(peer, size)}/pods/pod-{peer}/status"
    api.send("PATCH", path, {"status": {"podIP": address, "podIPs": [{"ip": address}]}})


def burst(site: Site) -> list[Figure]:
    """Let a thousand pods change at once."""
    count = site.commits.count()
    started = time.monotonic()
    site.server.burst()
    done = site.commits.after(count, quiet=1.0)
    return [
        Figure(f"a burst of {BURST} pod events to the kernel", done - started, "s", 1.0),
        Figure("transactions that it took", site.commits.count() - count, ""),
    ]


def idle(site: Site, seconds: float) -> list[Figure]:
    """Let the daemon be."""
    before = site.daemon.busy()
    started = time.monotonic()
    wait_for(lambda: time.monotonic() - started >= seconds, seconds + 60)
    used = site.daemon.busy() - before
    share = 100 * used / (time.monotonic() - started)
    return [Figure(f"idle for {seconds:g} s: share of one core", share, "%", 0.2)]
