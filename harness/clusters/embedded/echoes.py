"""Echo servers of pods: the prober's process holds them, for it hears what is not answered.

https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/#containerport-v1-core
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.clusters.embedded.containers import Nginx, Pause, workloads
from harness.clusters.embedded.log import say
from harness.prober.protocol import ENCODE, REPLIES, CloseAll, CloseServer, Reply, Serve
from harness.prober.sockets import short_path

Port = tuple[str, int]
"""Protocol and number."""


def echo_ports(pod: Mapping[str, Any]) -> tuple[Port, ...]:
    """Return the ports of a pod that nothing else serves: neither nginx nor a command."""
    return tuple(sorted(set(_echo_ports(pod))))


def _echo_ports(pod: Mapping[str, Any]) -> Iterator[Port]:
    containers = pod["spec"].get("containers") or ()
    for container, workload in zip(containers, workloads(dict(pod)), strict=True):
        if isinstance(workload, Nginx | Pause):
            for port in container.get("ports") or ():
                protocol = port.get("protocol", "TCP")
                if protocol != "TCP" or isinstance(workload, Pause):
                    yield protocol, int(port["containerPort"])


class Echoes:
    """The way to the prober's process."""

    def __init__(self, path: Path, addresses: Sequence[str]) -> None:
        """Listen at these addresses of each pod; ``path`` is the prober's socket."""
        self._path = path
        self._addresses = addresses
        self._turn = asyncio.Lock()
        self._way: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self, netns: str, ports: Sequence[Port]) -> None:
        """Serve ports in a namespace; one that cannot be served is logged, and refuses."""
        for protocol, number in ports:
            for address in self._addresses:
                reply = await self._ask(Serve(netns, address, number, protocol))
                if reply.problem:
                    say(f"{netns}: no echo server at {number}/{protocol}: {reply.problem}")

    async def close_all(self, netns: str) -> None:
        """Stop every server of a namespace that is to go."""
        await self._ask(CloseAll(netns))

    async def close(self, netns: str, ports: Sequence[Port]) -> None:
        """Stop serving."""
        for protocol, number in ports:
            for address in self._addresses:
                await self._ask(CloseServer(netns, address, number, protocol))

    async def _ask(self, request: Serve | CloseServer | CloseAll) -> Reply:
        async with self._turn:
            if self._way is None:
                with short_path(self._path) as path:
                    self._way = await asyncio.open_unix_connection(path)
            reader, writer = self._way
            writer.write(ENCODE(request) + b"\n")
            await writer.drain()
            return REPLIES.decode(await reader.readline())
