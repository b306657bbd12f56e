"""The builtin API server, filled before it serves: ``python -m tests.bench.server``."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
from ipaddress import IPv4Network

from harness.clusters.embedded.apiserver import defaults
from harness.clusters.embedded.apiserver.__main__ import serve
from harness.clusters.embedded.apiserver.allocate import ServiceAllocator
from harness.clusters.embedded.apiserver.registry import Registry
from harness.clusters.embedded.apiserver.resources import (
    KINDS,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
)
from harness.clusters.embedded.apiserver.store import Store
from tests.bench import world
from tests.bench.world import Size

HISTORY = 20_000
BURST = 1000


def main() -> None:
    """Fill a store and serve it until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen-fd", type=int, required=True)
    for field in ("pods", "policies", "local"):
        parser.add_argument(f"--{field}", type=int, required=True)
    options = parser.parse_args()
    size = Size(options.pods, options.policies, options.local)
    asyncio.run(_serve(size, options.listen_fd))


async def _serve(size: Size, listen_fd: int) -> None:
    registry = filled(size)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, _burst, registry.store, size)
    await serve(registry, [socket.socket(fileno=listen_fd)])


def _burst(store: Store, size: Size) -> None:
    """Change the labels of the last pods, all in one turn of the loop."""
    for number in range(max(size.pods - BURST, size.local), size.pods):
        record = store.get(PODS, (world.namespace_of(number, size), f"pod-{number}"))
        changed = record.fresh()
        labels = changed["metadata"]["labels"]
        labels["app"] = "idle" if labels["app"] != "idle" else f"app-{number % world.APPS}"
        store.put(PODS, changed)


def filled(size: Size) -> Registry:
    """Return a registry that holds a cluster of this size."""
    store = Store(KINDS, HISTORY)
    for kind, objects in (
        (NODES, world.nodes(size)),
        (NAMESPACES, world.namespaces(size)),
        (NETWORK_POLICIES, world.policies(size)),
        (PODS, world.pods(size)),
    ):
        for item in objects:
            defaults.fill(kind, item)
            store.put(kind, {"apiVersion": kind.api_version, "kind": kind.name, **item})
    return Registry(store, ServiceAllocator(IPv4Network("10.96.0.0/16")))


if __name__ == "__main__":
    main()
