"""``python -m harness.clusters.embedded.apiserver --listen-fd N``: serve until SIGTERM.

The listening sockets are made by whoever starts this process, because a socket belongs to the
network namespace it was made in: one is for programs on the nodes, one for those outside.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
from collections.abc import Sequence
from ipaddress import ip_network

from aiohttp import web

from harness.clusters.embedded.apiserver.allocate import DEFAULT_SERVICE_CIDR, ServiceAllocator
from harness.clusters.embedded.apiserver.registry import Registry
from harness.clusters.embedded.apiserver.resources import KINDS
from harness.clusters.embedded.apiserver.scheduler import Scheduler
from harness.clusters.embedded.apiserver.server import Server
from harness.clusters.embedded.apiserver.store import DEFAULT_HISTORY, Store

BACKLOG = 1024


def main(argv: Sequence[str] | None = None) -> None:
    """Read the options and serve."""
    options = _parser().parse_args(argv)
    ranges = [ip_network(text) for text in options.service_cidr.split(",")]
    registry = Registry(Store(KINDS, options.history), ServiceAllocator(*ranges))
    asyncio.run(serve(registry, [socket.socket(fileno=fd) for fd in options.listen_fd]))


async def serve(registry: Registry, sockets: Sequence[socket.socket]) -> None:
    """Serve a registry on listening sockets, and schedule its pods, until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    runner = web.AppRunner(
        Server(registry).application(),
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=0.1,
    )
    await runner.setup()
    for listening in sockets:
        await web.SockSite(runner, listening, backlog=BACKLOG).start()
    scheduling = asyncio.create_task(Scheduler(registry.store).run())
    stopping = asyncio.create_task(stopped.wait())
    await asyncio.wait((scheduling, stopping), return_when=asyncio.FIRST_COMPLETED)
    await runner.cleanup()
    if scheduling.done():
        scheduling.result()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="apiserver", description="The builtin control plane.")
    parser.add_argument(
        "--listen-fd",
        type=int,
        action="append",
        required=True,
        help="file descriptor of an inherited TCP socket that is bound; may be repeated",
    )
    parser.add_argument(
        "--service-cidr",
        default=str(DEFAULT_SERVICE_CIDR),
        help="range of the ClusterIPs, or one for each IP family with a comma between",
    )
    parser.add_argument(
        "--history",
        type=int,
        default=DEFAULT_HISTORY,
        help="changes of each kind that a watch may resume from",
    )
    return parser


if __name__ == "__main__":
    main()
